//! Who may use HTTP on the client listeners, and whether the JSON gateway is there.

use kvorum_v3rpc::Access;

use super::keys;
use super::reader::{Reader, split};

/// What stands for "all".
const ANY: &str = "*";

/// Reads the three keys.
pub(super) fn read(reader: &mut Reader) -> Option<Access> {
    let gateway = reader.flag(keys::ENABLE_GRPC_GATEWAY);
    let origins = reader.read(keys::CORS, |text| split(text).map(origin).collect());
    let hosts = reader.read(keys::HOST_WHITELIST, |text| split(text).map(host).collect());
    Some(Access {
        gateway: gateway?,
        origins: origins?,
        hosts: hosts?,
    })
}

/// As browsers send it: scheme, host, and the port if it is not the usual one.
fn origin(text: &str) -> Result<String, String> {
    if text == ANY {
        return Ok(ANY.to_owned());
    }
    let host = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"))
        .ok_or_else(|| {
            format!("{text:?} is no origin: write `{ANY}`, or one such as https://app.example")
        })?;
    if host.is_empty() || host.contains(['/', '?', '#', '@']) || !is_printable(host) {
        return Err(format!(
            "{text:?} is no origin: nothing but a host and a port stands behind the scheme"
        ));
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, String> {
    if text.contains('/') || !is_printable(text) {
        return Err(format!(
            "{text:?} is no host name: write it as it stands in a URL, without scheme and port"
        ));
    }
    if text
        .rsplit_once(':')
        .is_some_and(|(name, _)| !name.contains(':'))
    {
        return Err(format!("{text:?} has a port: write the name alone"));
    }
    Ok(text.to_owned())
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_what_browsers_send() {
        for good in [
            "*",
            "http://a.example",
            "https://a.example:8443",
            "http://[::1]:80",
        ] {
            assert_eq!(origin(good), Ok(good.to_owned()));
        }
        for (bad, part) in [
            ("a.example", "is no origin: write `*`"),
            ("ftp://a", "is no origin: write `*`"),
            ("https://", "nothing but a host"),
            ("https://a/", "nothing but a host"),
            ("https://u@a", "nothing but a host"),
        ] {
            let text = origin(bad).expect_err(bad);
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn hosts_are_names_alone() {
        for good in ["*", "localhost", "127.0.0.1", "::1"] {
            assert_eq!(host(good), Ok(good.to_owned()));
        }
        for (bad, part) in [
            ("http://a", "is no host name"),
            ("a b", "is no host name"),
            ("localhost:2379", "has a port"),
        ] {
            let text = host(bad).expect_err(bad);
            assert!(text.contains(part), "{text}");
        }
    }
}
