//! The setting `--auth-token`: `simple`, or `jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE,ttl=10m`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::TokenKind;
use super::jwt::{Jwt, SignMethod};
use super::keys::KeyError;

/// How long a JWT is good, unless the setting says otherwise.
const JWT_TTL: Duration = Duration::from_secs(300);

/// What is wrong with the setting. Its text never repeats what is in a file.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// Neither of the two kinds.
    #[error(
        "{0:?} is no kind of token: say simple, or jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE"
    )]
    Kind(String),
    /// An option that is no `name=value`, or is there twice, or nobody knows.
    #[error(
        "{0:?} is no option here: sign-method, pub-key, priv-key and ttl are, each once, as name=value"
    )]
    Option(String),
    /// The way to sign is missing or unknown.
    #[error("sign-method={0:?} is not known: say one of {names}", names = method_names())]
    Method(String),
    /// The time is no time.
    #[error("ttl={0:?} is no time above zero: say it as 10m or 1h30m")]
    Ttl(String),
    /// A key file cannot be read.
    #[error("{file}: {error}")]
    File {
        /// The file.
        file: String,
        /// Why not.
        error: io::Error,
    },
    /// The keys do not serve.
    #[error("{0}")]
    Key(#[from] KeyError),
}

fn method_names() -> String {
    SignMethod::ALL.map(|(_, name)| name).join(" ")
}

impl TokenKind {
    /// Reads the setting, and the files that it names.
    ///
    /// # Errors
    ///
    /// What is wrong, and what to say instead.
    pub fn from_setting(text: &str) -> Result<Self, SettingError> {
        let mut parts = text.split(',');
        match parts.next().unwrap_or_default() {
            "simple" => match parts.next() {
                None => Ok(Self::Simple),
                Some(option) => Err(SettingError::Option(option.to_owned())),
            },
            "jwt" => Ok(Self::Jwt(Arc::new(jwt(parts)?))),
            other => Err(SettingError::Kind(other.to_owned())),
        }
    }
}

fn jwt<'a>(parts: impl Iterator<Item = &'a str>) -> Result<Jwt, SettingError> {
    let [mut method, mut public, mut private, mut ttl] = [None; 4];
    for part in parts {
        let refused = || SettingError::Option(part.to_owned());
        let (name, value) = part.split_once('=').ok_or_else(refused)?;
        let place = match name {
            "sign-method" => &mut method,
            "pub-key" => &mut public,
            "priv-key" => &mut private,
            "ttl" => &mut ttl,
            _ => return Err(refused()),
        };
        if place.replace(value).is_some() {
            return Err(refused());
        }
    }
    let named = method.unwrap_or_default();
    let method = SignMethod::named(named).ok_or_else(|| SettingError::Method(named.to_owned()))?;
    let ttl = match ttl {
        None => JWT_TTL,
        Some(text) => duration(text).ok_or_else(|| SettingError::Ttl(text.to_owned()))?,
    };
    let (public, private) = (read(public)?, read(private)?);
    Ok(Jwt::new(
        method,
        public.as_deref(),
        private.as_deref(),
        ttl,
    )?)
}

fn read(file: Option<&str>) -> Result<Option<Vec<u8>>, SettingError> {
    let Some(file) = file else {
        return Ok(None);
    };
    let read = std::fs::read(Path::new(file));
    read.map(Some).map_err(|error| SettingError::File {
        file: file.to_owned(),
        error,
    })
}

/// A time as Go writes it: numbers and units, at least a second in all.
fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let number: u32 = number.parse().ok()?;
        let unit_s = match unit {
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            _ => return None,
        };
        total = total.checked_add(Duration::from_secs(unit_s).checked_mul(number)?)?;
        rest = after;
    }
    (!total.is_zero()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_writes_them() {
        for (text, seconds) in [("10m", 600), ("1h30m", 5400), ("45s", 45), ("1m0s", 60)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "0s",
            "10",
            "m",
            "-1m",
            "1.5h",
            "1m2",
            "99999999999h",
            "1ms",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_say_instead() {
        assert!(matches!(
            TokenKind::from_setting("simple"),
            Ok(TokenKind::Simple)
        ));
        for (text, told) in [
            ("", "say simple"),
            ("none", "say simple"),
            ("simple,ttl=1m", "no option"),
            ("jwt", "sign-method=\"\" is not known"),
            ("jwt,sign-method=ES512", "say one of HS256"),
            ("jwt,sign-method=HS256,ttl=never", "10m"),
            ("jwt,sign-method=HS256,ttl=1m,ttl=2m", "each once"),
            ("jwt,sign-method=HS256,key=x", "no option"),
            ("jwt,sign-method=HS256,priv-key", "no option"),
            ("jwt,sign-method=HS256", "name one with priv-key"),
            (
                "jwt,sign-method=RS256,priv-key=/nowhere/key",
                "/nowhere/key",
            ),
        ] {
            let refused = TokenKind::from_setting(text).expect_err(text).to_string();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }

    #[test]
    fn keys_are_read_from_their_files() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tokens/jwt");
        let file = |name| here.join(name).display().to_string();
        let text = format!(
            "jwt,pub-key={},priv-key={},sign-method=RS256,ttl=10m",
            file("rsa_test_public.pem"),
            file("rsa_test_key.pem")
        );
        assert!(matches!(
            TokenKind::from_setting(&text),
            Ok(TokenKind::Jwt(_))
        ));
        let text = format!(
            "jwt,priv-key={},sign-method=ES256",
            file("rsa_test_key.pem")
        );
        assert!(matches!(
            TokenKind::from_setting(&text),
            Err(SettingError::Key(KeyError::Private))
        ));
    }
}
