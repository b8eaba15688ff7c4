//! How the CA is spoken to: HTTPS only, one connection for each request, and nothing takes for ever.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::now_unix;
use crate::parse_bundle_pem;
use crate::tls::{explain, provider};

/// From the first packet to the last byte of the answer.
const REQUEST_MAX: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 1 << 20;
const HTTPS_PORT: u16 = 443;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("kvorum/", env!("CARGO_PKG_VERSION")));

type Answered = Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>>;

/// Speaks to one CA. Clones share what they learn.
#[derive(Clone)]
pub(super) struct CaClient {
    tls: TlsConnector,
    /// The latest time that the CA gave with a refusal.
    retry_after_unix: Arc<Mutex<Option<i64>>>,
}

impl CaClient {
    /// With these authorities, or the system's.
    pub(super) fn new(ca_pem: Option<&[u8]>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match ca_pem {
            Some(pem) => {
                for root in parse_bundle_pem(pem).map_err(|error| error.to_string())? {
                    roots.add(root).map_err(|error| error.to_string())?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err("there is no authority to verify the CA's own HTTPS by: apt-get install ca-certificates, or \
                        name a file with its authority"
                .to_owned());
        }
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            retry_after_unix: Arc::default(),
        })
    }

    /// When the CA wants to be asked again, if it has said so since the last call.
    pub(super) fn take_retry_after(&self) -> Option<i64> {
        self.retry_after_unix
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    async fn exchange(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let (host, port) = place(request.uri())?;
        let words = |error: String| Error::Other(format!("{host}:{port}: {error}").into());
        let whole = self.speak(host.clone(), port, request);
        let answer = match tokio::time::timeout(REQUEST_MAX, whole).await {
            Ok(answer) => answer.map_err(|error| words(error.to_string()))?,
            Err(_) => {
                return Err(words(format!(
                    "no answer within {} s",
                    REQUEST_MAX.as_secs()
                )));
            }
        };
        if !answer.status().is_success() {
            let wanted = answer.headers().get(RETRY_AFTER).and_then(seconds_or_date);
            if let Some(wanted) = wanted {
                *self
                    .retry_after_unix
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(wanted);
            }
        }
        Ok(BytesResponse::from(answer))
    }

    async fn speak(
        &self,
        host: String,
        port: u16,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, Box<dyn StdError + Send + Sync>> {
        let name = ServerName::try_from(host.clone())?;
        let socket = TcpStream::connect((host.as_str(), port)).await?;
        let stream = self.tls.connect(name, socket).await.map_err(plain)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let answer = async {
            let (head, body) = sender
                .send_request(in_origin_form(request, &host, port)?)
                .await?
                .into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await?
                .to_bytes();
            Ok::<_, Box<dyn StdError + Send + Sync>>(Response::from_parts(head, Full::new(body)))
        };
        // The connection is driven here and not in a task, so that it ends with the request.
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            answer = answer.as_mut() => answer,
            ended = connection.as_mut() => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error.into()),
            },
        }
    }
}

impl HttpClient for CaClient {
    fn request(&self, request: Request<BodyWrapper<Bytes>>) -> Answered {
        Box::pin(self.clone().exchange(request))
    }
}

fn place(uri: &Uri) -> Result<(String, u16), Error> {
    let host = uri.host().unwrap_or_default();
    if uri.scheme_str() != Some("https") || host.is_empty() {
        return Err(Error::Other(
            format!("the CA gave {uri}, which is not an https:// URL").into(),
        ));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(HTTPS_PORT)))
}

fn in_origin_form(
    mut request: Request<BodyWrapper<Bytes>>,
    host: &str,
    port: u16,
) -> Result<Request<BodyWrapper<Bytes>>, http::Error> {
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str())
        .parse::<Uri>()?;
    *request.uri_mut() = path;
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let host = if port == HTTPS_PORT {
        host
    } else {
        format!("{host}:{port}")
    };
    request
        .headers_mut()
        .insert(HOST, HeaderValue::try_from(host)?);
    request.headers_mut().insert(USER_AGENT, AGENT);
    Ok(request)
}

fn plain(error: io::Error) -> io::Error {
    let words = match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        // What is said about our own certificates would mislead here.
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("its own certificate is not valid: {why}")
        }
        Some(other) => explain(other),
        None => return error,
    };
    io::Error::new(error.kind(), words)
}

fn seconds_or_date(value: &HeaderValue) -> Option<i64> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(now_unix().saturating_add(i64::from(seconds)));
    }
    let date: SystemTime = httpdate::parse_http_date(text).ok()?;
    i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_wait_is_read_in_both_of_its_forms() {
        let read = |text: &'static str| seconds_or_date(&HeaderValue::from_static(text));
        let wait = read("120").expect("seconds") - now_unix();
        assert!((119..=121).contains(&wait), "{wait}");
        assert_eq!(read("Fri, 15 Jan 2027 08:00:00 GMT"), Some(1_800_000_000));
        for wrong in ["", "-1", "soon", "99999999999999999999"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_is_fetched_without_tls() {
        for (uri, expected) in [
            ("https://ca.example/dir", Some(("ca.example", 443))),
            ("https://[::1]:14000/dir", Some(("::1", 14000))),
            ("http://ca.example/dir", None),
            ("/dir", None),
        ] {
            let found = place(&uri.parse().expect("a URI")).ok();
            assert_eq!(
                found,
                expected.map(|(host, port)| (host.to_owned(), port)),
                "{uri}"
            );
        }
        CaClient::new(Some(b""))
            .map(drop)
            .expect_err("no authority");
    }
}
