//! `/metrics`: Prometheus text, compressed if the scraper takes that.

use std::{
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use kvorum_member::Handle;

use super::{HttpEndpoints, go_error, text};
use crate::{
    metrics::{EdgeMetrics, text::render},
    shares::OwnPlace,
};

const PROMETHEUS_TEXT: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
const GZIP: HeaderValue = HeaderValue::from_static("gzip");

/// Counts a scrape while it lasts.
struct InFlight(Arc<EdgeMetrics>);

impl InFlight {
    fn new(metrics: &Arc<EdgeMetrics>) -> Self {
        metrics.scrapes.in_flight.inc();
        Self(Arc::clone(metrics))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.scrapes.in_flight.dec();
    }
}

impl HttpEndpoints {
    /// Some thousand lines: made on a thread of their own, so that no client waits for them.
    pub(super) async fn scrape(
        &self,
        headers: &HeaderMap,
        place: Option<OwnPlace>,
    ) -> Response<Bytes> {
        let handle = self.handle.clone();
        let gzip = accepts_gzip(headers);
        let in_flight = InFlight::new(&self.metrics);
        let made = tokio::task::spawn_blocking(move || {
            // The work goes on when its scraper is gone.
            let _place = place;
            body(&handle, gzip)
        });
        let made = made.await;
        drop(in_flight);
        match made {
            Ok(Ok(body)) => {
                self.metrics.scrapes.done("200");
                let mut response = text(StatusCode::OK, PROMETHEUS_TEXT, body);
                if gzip {
                    response
                        .headers_mut()
                        .insert(header::CONTENT_ENCODING, GZIP);
                }
                response
            }
            Ok(Err(error)) => self.broken(&error),
            // The runtime ends, and takes its threads with it.
            Err(error) => self.broken(&error),
        }
    }

    fn broken(&self, error: &dyn std::error::Error) -> Response<Bytes> {
        self.metrics.scrapes.done("500");
        let message = format!("An error has occurred while serving metrics:\n\n{error}");
        go_error(StatusCode::INTERNAL_SERVER_ERROR, &message)
    }
}

fn body(handle: &Handle, gzip: bool) -> io::Result<Bytes> {
    let text = render(&handle.gather());
    if !gzip {
        return Ok(text.into());
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(16 * 1024), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?.into())
}

/// True if `Accept-Encoding` names gzip, or anything, without a quality of 0.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter();
    let mut items = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    items.any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        named && !matches!(quality.map(str::parse::<f32>), Some(Ok(0.0)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let accepts = |list: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(list));
            accepts_gzip(&headers)
        };
        assert!(accepts("gzip"));
        assert!(accepts("zstd, deflate;q=0.5, GZIP;q=0.1"));
        assert!(accepts("*"));
        assert!(!accepts("gzip;q=0"));
        assert!(!accepts("zstd"));
        assert!(!accepts(""));
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
