//! The wire types of the admin API, shared by the server and the browser.
//!
//! Plain serde types and the encoding of byte strings, nothing else: the crate builds for the server's target and for
//! wasm32 alike. Ids travel as hexadecimal text because JSON readers round large integers; keys and values travel as
//! base64, with the text beside it where the bytes are UTF-8.

#![warn(missing_docs)]

mod access;
mod authority;
pub mod base64;
mod error;
mod event;
mod keys;
mod octets;
mod overview;

pub use access::{
    AccountRow, Audit, AuditEvent, Login, Nothing, PasswordChange, Secret, Security, SessionEnd,
    SessionRow, SessionState, Setup, SetupCheck, SetupLink,
};
pub use authority::{
    Authority, CertificateFor, CertificateRow, DenialRow, Denied, OwnAuthority, PublicCertificate,
    RootRow, Rotate, Rotation, RotationStage, TokenFor, TokenMade, TokenRevoke, TokenRow,
    TokenState, TokenWish,
};
pub use error::{ErrorBody, ErrorCode};
pub use event::Event;
pub use keys::{Change, Folder, KeyHistory, KeyListing, KeyRow, KeyVersion, KeyView};
pub use octets::Octets;
pub use overview::{Alarm, Identity, Overview, Quantiles, Raft, Sample, Store};

#[cfg(test)]
mod tests;
