//! Byte strings on the wire: always base64, and readable where they can be.

use serde::{Deserialize, Serialize};

use crate::base64;

/// Bytes of a key or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Octets {
    /// The bytes, in padded standard base64. This is the truth.
    pub base64: String,
    /// The same bytes as text, if they are UTF-8. For people and `curl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Octets {
    /// Wraps bytes for the wire.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            base64: base64::encode(bytes),
            text: std::str::from_utf8(bytes).ok().map(str::to_owned),
        }
    }

    /// The bytes; empty if the sender's base64 is broken.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match &self.text {
            Some(text) => text.clone().into_bytes(),
            None => base64::decode(&self.base64).unwrap_or_default(),
        }
    }
}
