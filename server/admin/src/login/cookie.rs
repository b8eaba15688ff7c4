//! The cookie that carries a session's id.

use axum::http::{HeaderMap, HeaderValue, header};

/// Where a session's id travels.
pub(super) struct Cookie {
    name: &'static str,
    attributes: &'static str,
}

impl Cookie {
    /// Over TLS the browser itself sees to it that only this host, over TLS, sets or gets it. Plain HTTP is for loopback
    /// and for tests; no browser takes the prefix there.
    pub(super) fn new(https: bool) -> Self {
        if https {
            Self {
                name: "__Host-kvorum",
                attributes: "Path=/; Secure; HttpOnly; SameSite=Strict",
            }
        } else {
            Self {
                name: "kvorum-session",
                attributes: "Path=/; HttpOnly; SameSite=Strict",
            }
        }
    }

    /// The id that a request carries; none if there are two, of which one was planted.
    pub(super) fn read<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let lines = headers.get_all(header::COOKIE).iter();
        let pairs = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'));
        let mut values = pairs.filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == self.name).then_some(value)
        });
        let value = values.next()?;
        let is_id = value.len() == 2 * super::SESSION_ID_BYTES
            && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        (values.next().is_none() && is_id).then_some(value)
    }

    /// Without an end: it goes when the browser goes, and the session ends by itself.
    pub(super) fn set(&self, id: &str) -> Option<HeaderValue> {
        let mut value =
            HeaderValue::try_from(format!("{}={id}; {}", self.name, self.attributes)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Takes the cookie away.
    pub(super) fn clear(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("{}=; Max-Age=0; {}", self.name, self.attributes)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_str(line).expect("a header");
            headers.append(header::COOKIE, value);
        }
        Cookie::new(true).read(&headers).is_some()
    }

    #[test]
    fn only_one_whole_id_is_an_id() {
        let id = format!("__Host-kvorum={}", "a1".repeat(32));
        assert!(read(&[&id]));
        assert!(read(&[&format!("theme=dark; {id}; x=y")]));
        assert!(!read(&[&id, &id]));
        assert!(!read(&[&format!("{id}; {id}")]));
        assert!(!read(&["__Host-kvorum=a1"]));
        assert!(!read(&[&format!("__Host-kvorum={}", "zz".repeat(32))]));
        assert!(!read(&[&format!("kvorum-session={}", "a1".repeat(32))]));
        assert!(!read(&[]));
    }
}
