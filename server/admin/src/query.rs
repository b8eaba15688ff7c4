//! Reads the parameters of the key routes and says exactly which one is wrong.

use kvorum_api::base64;
use serde::Deserialize;

use crate::error::ApiError;
use crate::source::ListRequest;

/// Most lines a page may have.
pub(crate) const LIMIT_MAX: usize = 1000;
const LIMIT_DEFAULT: usize = 100;
/// Longest prefix, cursor or key accepted; longer ones cannot come from the console's own listings.
const KEY_BYTES_MAX: usize = 64 * 1024;

/// Parameters of `/admin/v1/keys`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeysQuery {
    /// Text; for bytes that are no text use `prefix64`.
    prefix: Option<String>,
    /// Base64.
    prefix64: Option<String>,
    delimiter: Option<String>,
    cursor: Option<String>,
    limit: Option<String>,
    revision: Option<String>,
}

/// Parameters of `/admin/v1/key` and `/admin/v1/key/history`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyQuery {
    /// URL-safe base64.
    key: Option<String>,
    revision: Option<String>,
}

impl KeysQuery {
    pub(crate) fn parse(self) -> Result<ListRequest, ApiError> {
        let prefix = match (self.prefix, self.prefix64) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid(
                    "prefix and prefix64 exclude each other; send one",
                ));
            }
            (Some(text), None) => text.into_bytes(),
            (None, Some(coded)) => bytes("prefix64", &coded)?,
            (None, None) => Vec::new(),
        };
        let from = self
            .cursor
            .map_or(Ok(Vec::new()), |coded| bytes("cursor", &coded))?;
        if !from.is_empty() && !from.starts_with(&prefix) {
            return Err(ApiError::invalid(
                "cursor belongs to another prefix; start at the first page",
            ));
        }
        if prefix.len() > KEY_BYTES_MAX {
            return Err(too_long("prefix", prefix.len()));
        }
        Ok(ListRequest {
            prefix,
            delimiter: self.delimiter.unwrap_or_default().into_bytes(),
            from,
            limit: limit(self.limit.as_deref())?,
            revision: revision(self.revision.as_deref())?,
        })
    }
}

impl KeyQuery {
    pub(crate) fn parse(self) -> Result<(Vec<u8>, i64), ApiError> {
        let coded = self
            .key
            .ok_or_else(|| ApiError::invalid("key is missing; send it as base64"))?;
        let key = bytes("key", &coded)?;
        if key.is_empty() {
            return Err(ApiError::invalid(
                "key is empty; a key has at least one byte",
            ));
        }
        Ok((key, revision(self.revision.as_deref())?))
    }
}

fn bytes(name: &str, coded: &str) -> Result<Vec<u8>, ApiError> {
    let bytes = base64::decode(coded)
        .ok_or_else(|| ApiError::invalid(format!("{name} is not base64: {coded:?}")))?;
    if bytes.len() > KEY_BYTES_MAX {
        Err(too_long(name, bytes.len()))
    } else {
        Ok(bytes)
    }
}

fn too_long(name: &str, len: usize) -> ApiError {
    ApiError::invalid(format!(
        "{name} has {len} bytes; at most {KEY_BYTES_MAX} are accepted"
    ))
}

fn limit(text: Option<&str>) -> Result<usize, ApiError> {
    let Some(text) = text else {
        return Ok(LIMIT_DEFAULT);
    };
    text.parse()
        .ok()
        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        .ok_or_else(|| {
            ApiError::invalid(format!(
                "limit is {text:?}; it must be a number from 1 to {LIMIT_MAX}"
            ))
        })
}

fn revision(text: Option<&str>) -> Result<i64, ApiError> {
    let Some(text) = text else { return Ok(0) };
    text.parse()
        .ok()
        .filter(|revision| *revision >= 0)
        .ok_or_else(|| {
            ApiError::invalid(format!(
                "revision is {text:?}; it must be a number from 0, 0 meaning newest"
            ))
        })
}
