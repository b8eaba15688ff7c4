//! The rows of the trust state in the meta table.

use bytes::Bytes;
use kvorum_proto::kvorumpb::{
    JoinToken, TrustAck, TrustCertificate, TrustDenial, TrustHead, TrustRoot,
};
use prost::Message;

use super::Trust;
use crate::backend::SideChange;
use crate::types::MemberId;

/// Meta keys of the trust state start with this.
const PREFIX: &str = "trust/";
pub(super) const HEAD: &str = "trust/head";
const ROOT: &str = "trust/root/";
const TOKEN: &str = "trust/token/";
const SERIAL: &str = "trust/denied-serial/";
const USER: &str = "trust/denied-user/";
const CERTIFICATE: &str = "trust/certificate/";
const ACK: &str = "trust/member/";

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// One row of the state, by what it is and its key.
pub(super) enum Row<'a> {
    Root(u64),
    Token(&'a [u8]),
    Serial(&'a [u8]),
    User(&'a str),
    Certificate(&'a [u8]),
    Ack(MemberId),
}

impl Row<'_> {
    fn name(&self) -> String {
        match self {
            Self::Root(id) => format!("{ROOT}{id:016x}"),
            Self::Token(id) => format!("{TOKEN}{}", hex(id)),
            Self::Serial(serial) => format!("{SERIAL}{}", hex(serial)),
            Self::User(user) => format!("{USER}{user}"),
            Self::Certificate(serial) => format!("{CERTIFICATE}{}", hex(serial)),
            Self::Ack(id) => format!("{ACK}{:016x}", id.0),
        }
    }

    pub(super) fn put(&self, value: &impl Message) -> SideChange {
        SideChange::MetaPut(self.name(), value.encode_to_vec().into())
    }

    pub(super) fn delete(&self) -> SideChange {
        SideChange::MetaDelete(self.name())
    }
}

impl Trust {
    /// Takes a row back from the state store. False if it belongs to somebody else.
    pub fn restore(&mut self, key: &str, value: &Bytes) -> bool {
        if !key.starts_with(PREFIX) {
            return false;
        }
        let value = value.clone();
        if key == HEAD {
            self.head = TrustHead::decode(value).unwrap_or_default();
        } else if key.starts_with(ROOT) {
            let row = TrustRoot::decode(value).ok();
            self.roots.extend(row.map(|root| (root.id, root)));
        } else if key.starts_with(TOKEN) {
            let row = JoinToken::decode(value).ok();
            self.tokens
                .extend(row.map(|token| (token.id.clone(), token)));
        } else if key.starts_with(CERTIFICATE) {
            let row = TrustCertificate::decode(value).ok();
            let row = row.map(|certificate| (certificate.serial.clone(), certificate));
            self.certificates.extend(row);
        } else if key.starts_with(ACK) {
            let row = TrustAck::decode(value).ok();
            self.acks
                .extend(row.map(|ack| (MemberId(ack.member_id), ack)));
        } else if key.starts_with(SERIAL) || key.starts_with(USER) {
            self.restore_denial(TrustDenial::decode(value).unwrap_or_default());
        }
        true
    }

    fn restore_denial(&mut self, denial: TrustDenial) {
        use kvorum_proto::kvorumpb::trust_denial::Subject;
        match denial.subject.clone() {
            Some(Subject::Serial(serial)) => drop(self.denied_serials.insert(serial, denial)),
            Some(Subject::User(user)) => drop(self.denied_users.insert(user, denial)),
            None => {}
        }
    }
}
