//! Which browsers may come: the rules on `Host` and `Origin`, as etcd has them.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};

use super::reply::ReplyBody;

/// What stands for "any".
const ANY: &str = "*";

/// Who may use HTTP on the client listeners, and whether the JSON gateway is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Serve `/v3/` (`--enable-grpc-gateway`).
    pub gateway: bool,
    /// Origins whose pages may read answers (`--cors`); `*` or nothing for all.
    pub origins: Vec<String>,
    /// Names by which this member may be called without TLS (`--host-whitelist`); `*` or nothing for all.
    pub hosts: Vec<String>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            gateway: true,
            origins: vec![ANY.to_owned()],
            hosts: vec![ANY.to_owned()],
        }
    }
}

impl Access {
    /// The refusal of a request that calls this member by a name that is not its own: a page of someone else's, whose
    /// name was made to point here.
    pub(super) fn refuse_host(&self, request: &Request<()>) -> Option<Response<ReplyBody>> {
        let host = host_name(request.uri(), request.headers());
        if allows(&self.hosts, &host) {
            return None;
        }
        tracing::warn!(
            host,
            "rejecting HTTP request to prevent DNS rebinding attacks"
        );
        Some(refusal(StatusCode::MISDIRECTED_REQUEST, misdirected(&host)))
    }

    /// What tells a browser that the page behind the request may read the answer.
    pub(super) fn cors(&self, headers: &HeaderMap) -> Option<[(HeaderName, HeaderValue); 3]> {
        let any = HeaderValue::from_static(ANY);
        let origin = if allows(&self.origins, ANY) {
            any
        } else {
            let origin = headers.get(header::ORIGIN)?;
            let named = origin.to_str().ok()?;
            if !allows(&self.origins, named) {
                return None;
            }
            origin.clone()
        };
        Some([
            (
                header::ACCESS_CONTROL_ALLOW_METHODS,
                HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
            ),
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, origin),
            (
                header::ACCESS_CONTROL_ALLOW_HEADERS,
                HeaderValue::from_static("accept, content-type, authorization"),
            ),
        ])
    }
}

/// The refusal of a caller whose certificate names a user: over HTTP a name counts for nothing. The text is etcd's.
pub(super) fn refuse_common_name() -> Response<ReplyBody> {
    let text = "CommonName of client sending a request against gateway will be ignored and not used as expected\n";
    refusal(StatusCode::BAD_REQUEST, text.to_owned())
}

/// What Go's `http.Error` sends.
fn refusal(status: StatusCode, text: String) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::whole(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn allows(list: &[String], wanted: &str) -> bool {
    list.is_empty() || list.iter().any(|known| known == ANY || known == wanted)
}

/// The name in `Host`, without its port.
fn host_name(uri: &Uri, headers: &HeaderMap) -> String {
    let host = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or_default(),
    };
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let name = match bracketed {
        Some((address, port)) if port.starts_with(':') => address,
        Some(_) => host,
        None => match host.split_once(':') {
            Some((name, port)) if !port.contains(':') => name,
            _ => host,
        },
    };
    name.to_owned()
}

fn misdirected(host: &str) -> String {
    format!(
        "\nkvorum received your request, but the Host header was unrecognized.\n\n\
         To fix this, choose one of the following options:\n\
         - Enable TLS, then any HTTPS request will be allowed.\n\
         - Add the hostname you want to use to the whitelist in settings.\n  \
         - e.g. kvorum --host-whitelist {host:?}\n\n\
         This requirement has been added to help prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(origins: &[&str], hosts: &[&str]) -> Access {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        Access {
            gateway: true,
            origins: owned(origins),
            hosts: owned(hosts),
        }
    }

    fn request(host: &str) -> Request<()> {
        let builder = Request::builder().uri("/v3/kv/range");
        builder.header("host", host).body(()).expect("a request")
    }

    #[test]
    fn hosts_are_names_without_ports() {
        for (host, name) in [
            ("localhost:2379", "localhost"),
            ("localhost", "localhost"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("[::1]:2379", "::1"),
            ("[::1]", "[::1]"),
            ("a:b:c", "a:b:c"),
            ("", ""),
        ] {
            let request = request(host);
            assert_eq!(host_name(request.uri(), request.headers()), name, "{host}");
        }
    }

    #[test]
    fn a_host_that_is_not_listed_is_misdirected() {
        let access = access(&["*"], &["localhost"]);
        assert!(access.refuse_host(&request("localhost:9")).is_none());
        let refusal = access
            .refuse_host(&request("evil.example:9"))
            .expect("refused");
        assert_eq!(refusal.status(), 421);
        assert!(
            self::access(&[], &[])
                .refuse_host(&request("any"))
                .is_none()
        );
        assert!(Access::default().refuse_host(&request("any")).is_none());
    }

    #[test]
    fn an_origin_is_told_only_what_concerns_it() {
        let mut headers = HeaderMap::new();
        let origin = |access: &Access, headers: &HeaderMap| {
            access.cors(headers).map(|cors| cors[1].1.clone())
        };
        assert_eq!(origin(&Access::default(), &headers).expect("all"), "*");
        let one = access(&["https://a.example"], &["*"]);
        assert_eq!(origin(&one, &headers), None);
        headers.insert("origin", HeaderValue::from_static("https://a.example"));
        assert_eq!(origin(&one, &headers).expect("listed"), "https://a.example");
        headers.insert("origin", HeaderValue::from_static("https://b.example"));
        assert_eq!(origin(&one, &headers), None);
    }
}
