//! The rows of the trust state in the meta table.

use std::collections::BTreeSet;

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

    /// All that is kept, as changes of an empty meta table; nothing where there is no authority.
    #[must_use]
    pub fn rows(&self) -> Vec<SideChange> {
        if !self.is_ready() {
            return Vec::new();
        }
        let head = self.head.encode_to_vec().into();
        let mut rows = vec![SideChange::MetaPut(HEAD.into(), head)];
        rows.extend(self.roots.values().map(|root| Row::Root(root.id).put(root)));
        rows.extend(self.tokens.iter().map(|(id, t)| Row::Token(id).put(t)));
        let certificates = self.certificates.iter();
        rows.extend(certificates.map(|(serial, c)| Row::Certificate(serial).put(c)));
        let serials = self.denied_serials.iter();
        rows.extend(serials.map(|(serial, denial)| Row::Serial(serial).put(denial)));
        let users = self.denied_users.iter();
        rows.extend(users.map(|(user, denial)| Row::User(user).put(denial)));
        rows.extend(self.acks.iter().map(|(id, ack)| Row::Ack(*id).put(ack)));
        rows
    }

    /// What a cluster takes along that goes on from a snapshot of this one: who is trusted and who is not, and a rotation
    /// where it stands. Not what members told, since its members are others; and no tokens, since one that was used
    /// after the snapshot would be good a second time.
    #[must_use]
    pub fn carried_over(&self) -> Self {
        let mut next = self.clone();
        next.tokens.clear();
        next.acks.clear();
        // Its members are others, and know nothing of those who were removed here.
        for denial in self.denied_serials() {
            next.restore_denial(denial.clone());
        }
        next.note_removed(&BTreeSet::new());
        if let Some(rotation) = &mut next.head.rotation {
            rotation.without_members.clear();
            rotation.without_unreached = false;
        }
        next
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
