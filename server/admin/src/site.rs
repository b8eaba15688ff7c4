//! The embedded console: compressed copies, cache headers, and the page itself for every address inside the app.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Hashed names never change their content.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// The page itself is asked for again each time; mostly the answer is "not modified".
const REVALIDATE: &str = "no-cache";
const PAGE: &str = "index.html";

/// A file of the console, as the build script found it.
struct Asset {
    name: &'static str,
    etag: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

/// Answers everything that is not the API: a file by its name, the page for any other address without a dot.
pub(crate) async fn serve(uri: Uri, headers: HeaderMap) -> Response {
    let name = uri.path().trim_start_matches('/');
    let named = ASSETS
        .iter()
        .find(|asset| asset.name == name && name != PAGE);
    let page = || ASSETS.iter().find(|asset| asset.name == PAGE);
    let is_route = !name.rsplit('/').next().unwrap_or_default().contains('.') || name == PAGE;
    match named {
        Some(asset) => asset.respond(&headers, IMMUTABLE),
        None if is_route => match page() {
            Some(page) => page.respond(&headers, REVALIDATE),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

impl Asset {
    fn respond(&self, request: &HeaderMap, caching: &'static str) -> Response {
        let (bytes, encoding) = self.pick(request);
        let known = request
            .get(header::IF_NONE_MATCH)
            .and_then(|tags| tags.to_str().ok());
        let unchanged = known.is_some_and(|tags| {
            tags.split(',')
                .any(|tag| tag.trim().trim_start_matches("W/") == self.etag || tag.trim() == "*")
        });
        let mut response = if unchanged {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            Response::new(Body::from(bytes))
        };
        let mut set = |name: HeaderName, value: &'static str| {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        };
        // Weak by nature: one tag stands for all encodings of the same content.
        set(header::ETAG, self.etag);
        set(header::CACHE_CONTROL, caching);
        set(header::VARY, "accept-encoding");
        if !unchanged {
            set(header::CONTENT_TYPE, content_type(self.name));
            if let Some(encoding) = encoding {
                set(header::CONTENT_ENCODING, encoding);
            }
        }
        response
    }

    /// The smallest copy that the client takes.
    fn pick(&self, request: &HeaderMap) -> (&'static [u8], Option<&'static str>) {
        let accepted = request
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok());
        let accepted = accepted.unwrap_or_default();
        match (self.brotli, self.gzip) {
            (Some(bytes), _) if accepts(accepted, "br") => (bytes, Some("br")),
            (_, Some(bytes)) if accepts(accepted, "gzip") => (bytes, Some("gzip")),
            _ => (self.plain, None),
        }
    }
}

/// True if an Accept-Encoding list names `encoding` without refusing it by `q=0`.
fn accepts(list: &str, encoding: &str) -> bool {
    list.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(encoding));
        let quality = parts
            .find_map(|part| part.strip_prefix("q="))
            .map(str::parse::<f32>);
        named && !matches!(quality, Some(Ok(0.0)))
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::accepts;

    #[test]
    fn an_encoding_counts_unless_it_is_refused() {
        assert!(accepts("gzip, deflate, br;q=0.9", "br"));
        assert!(!accepts("gzip, br;q=0", "br"));
        assert!(!accepts("", "gzip"));
        assert!(!accepts("brotli", "br"));
    }
}
