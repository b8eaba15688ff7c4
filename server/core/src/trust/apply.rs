//! Changes of the trust state, one at a time; each is refused as a whole or done as a whole.

use bytes::Bytes;
use kvorum_proto::kvorumpb::{
    IssuerChange, TrustAck, TrustCertificate, TrustDenial, TrustInit, TrustIssuer, TrustOp,
    trust_denial::Subject, trust_op::Op,
};
use prost::Message as _;

use super::kept::{HEAD, Row};
use super::rotation::DER_BYTES;
use super::tokens::NAME_BYTES;
use super::{Stage, Trust, TrustRefused};
use crate::backend::SideChange;
use crate::membership::Members;
use crate::reply::Reply;
use crate::types::MemberId;

const DOMAIN_BYTES: usize = 16;
/// Longest serial number. (RFC 5280, 4.1.2.2)
const SERIAL_BYTES: usize = 20;
/// Certificates of clients, and denials, that are kept.
const ROWS_MAX: usize = 1 << 16;
/// So many certificates are replaced by one.
const REPLACES_MAX: usize = 64;

impl Trust {
    /// Applies a change. What is to be kept is noted; after a refusal there is nothing to keep.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn apply(
        &mut self,
        change: &TrustOp,
        members: &Members,
        notes: &mut Vec<SideChange>,
    ) -> Result<Reply, TrustRefused> {
        let op = change.op.as_ref().ok_or(TrustRefused::Malformed)?;
        if !self.is_ready() && !matches!(op, Op::Init(_)) {
            return Err(TrustRefused::NotReady);
        }
        let now_unix_s = change.now_unix_s;
        let authority = self.head.clone();
        let reply = self.carry_out(op, members, now_unix_s, notes)?;
        self.forget_acks(members, notes);
        if self.head != authority {
            self.head.authority += 1;
            let head = self.head.encode_to_vec().into();
            notes.push(SideChange::MetaPut(HEAD.into(), head));
        }
        Ok(reply)
    }

    fn carry_out(
        &mut self,
        op: &Op,
        members: &Members,
        now_unix_s: i64,
        notes: &mut Vec<SideChange>,
    ) -> Result<Reply, TrustRefused> {
        match op {
            Op::Init(init) => self.init(init, now_unix_s, notes)?,
            Op::TokenCreate(token) => self.create_token(token, now_unix_s, notes)?,
            Op::TokenRevoke(id) => self.revoke_token(id, notes)?,
            Op::TokenBurn(burn) => {
                let token = self.burn_token(burn, now_unix_s, notes)?;
                return Ok(Reply::TokenBurned(Box::new(token)));
            }
            Op::TokenIssued(issued) => self.note_issued(issued, notes)?,
            Op::Deny(denial) => self.deny(denial, now_unix_s, notes)?,
            Op::Allow(denial) => self.allow(denial, notes)?,
            Op::Issued(certificate) => self.note_certificate(certificate, now_unix_s, notes)?,
            Op::Issuer(change) => self.change_issuer(change, members, now_unix_s)?,
            Op::RotationBegin(begin) => self.begin_rotation(begin, now_unix_s, notes)?,
            Op::RotationForce(force) => self.force_rotation(force)?,
            Op::RotationDrop(drop) => {
                self.drop_old_root(drop.after, members, now_unix_s, notes)?;
            }
            Op::Ack(ack) => self.take_ack(ack, members, notes),
            Op::Forget(_) => self.forget(now_unix_s, notes),
            Op::Seen(seen) => self.note_seen(seen, now_unix_s, notes)?,
        }
        Ok(Reply::Done)
    }

    /// A change of the authority must follow the one that its proposer knew.
    pub(super) fn follows(&self, after: u64) -> Result<(), TrustRefused> {
        match after == self.head.authority {
            true => Ok(()),
            false => Err(TrustRefused::Stale),
        }
    }

    fn init(
        &mut self,
        init: &TrustInit,
        now_unix_s: i64,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), TrustRefused> {
        if self.is_ready() {
            return Err(TrustRefused::Exists);
        }
        let issuer = init.issuer.as_ref().filter(|issuer| is_issuer(issuer));
        let (true, Some(issuer)) = (
            init.domain.len() == DOMAIN_BYTES
                && is_der(&init.root_der)
                && is_der(&init.sealed_root_key),
            issuer,
        ) else {
            return Err(TrustRefused::Malformed);
        };
        self.head.domain = init.domain.clone();
        let root = self.add_root(&init.root_der, &init.sealed_root_key, now_unix_s, notes);
        self.head.issuer = Some(TrustIssuer {
            root,
            since_unix_s: now_unix_s,
            ..issuer.clone()
        });
        Ok(())
    }

    fn change_issuer(
        &mut self,
        change: &IssuerChange,
        members: &Members,
        now_unix_s: i64,
    ) -> Result<(), TrustRefused> {
        self.follows(change.after)?;
        let issuer = change.issuer.as_ref().filter(|issuer| is_issuer(issuer));
        let issuer = issuer.ok_or(TrustRefused::Malformed)?;
        let old = self.head.issuer.as_ref().map_or(0, |issuer| issuer.root);
        let stage = self.progress(members, now_unix_s).stage;
        // To the new root only when all trust it, and never back.
        let may = match self.rotation() {
            Some(r) if issuer.root == r.new_root => stage > Stage::Bundle,
            _ => issuer.root == old,
        };
        if !may {
            return Err(TrustRefused::RotationWaits);
        }
        // Renewing the issuer of the same root does not begin the grace period anew.
        let since = self.head.issuer.as_ref().filter(|i| i.root == issuer.root);
        let since_unix_s = since.map_or(now_unix_s, |i| i.since_unix_s);
        self.head.issuer = Some(TrustIssuer {
            since_unix_s,
            ..issuer.clone()
        });
        Ok(())
    }

    fn deny(
        &mut self,
        denial: &TrustDenial,
        now_unix_s: i64,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), TrustRefused> {
        if self.denied_serials.len() + self.denied_users.len() >= ROWS_MAX {
            return Err(TrustRefused::TooMany);
        }
        let not_after_unix_s = match &denial.subject {
            Some(Subject::Serial(serial)) => self.not_after(serial, now_unix_s),
            _ => 0,
        };
        let denial = TrustDenial {
            since_unix_s: now_unix_s,
            not_after_unix_s,
            ..denial.clone()
        };
        if denial.denied_by.len() > NAME_BYTES {
            return Err(TrustRefused::Malformed);
        }
        match denial.subject.clone() {
            Some(Subject::Serial(serial)) if is_serial(&serial) => {
                notes.push(Row::Serial(&serial).put(&denial));
                self.denied_serials.insert(serial, denial);
            }
            Some(Subject::User(user)) if !user.is_empty() && user.len() <= NAME_BYTES => {
                notes.push(Row::User(&user).put(&denial));
                self.denied_users.insert(user, denial);
            }
            _ => return Err(TrustRefused::Malformed),
        }
        Ok(())
    }

    fn allow(
        &mut self,
        denial: &TrustDenial,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), TrustRefused> {
        let row = match &denial.subject {
            Some(Subject::Serial(serial)) if self.is_evicted(serial) => {
                return Err(TrustRefused::MemberRemoved);
            }
            Some(Subject::Serial(serial)) => {
                let was = self.denied_serials.remove(serial);
                was.map(|_| Row::Serial(serial))
            }
            Some(Subject::User(user)) => {
                let was = self.denied_users.remove(user);
                was.map(|_| Row::User(user))
            }
            None => return Err(TrustRefused::Malformed),
        };
        notes.push(row.ok_or(TrustRefused::NotDenied)?.delete());
        Ok(())
    }

    fn note_certificate(
        &mut self,
        certificate: &TrustCertificate,
        now_unix_s: i64,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), TrustRefused> {
        let fits = is_serial(&certificate.serial)
            && certificate.subject.len() <= NAME_BYTES
            && certificate.issued_by.len() <= NAME_BYTES
            && certificate.not_after_unix_s > now_unix_s
            && certificate.replaces.len() <= REPLACES_MAX
            && certificate.replaces.iter().all(is_serial)
            && self.roots.contains_key(&certificate.root);
        if !fits {
            return Err(TrustRefused::Malformed);
        }
        if self.certificates.len() >= ROWS_MAX {
            return Err(TrustRefused::TooMany);
        }
        let certificate = TrustCertificate {
            issued_unix_s: now_unix_s,
            seen_unix_s: 0,
            ..certificate.clone()
        };
        notes.push(Row::Certificate(&certificate.serial).put(&certificate));
        let serial = certificate.serial.clone();
        self.certificates.insert(serial, certificate);
        self.find_evicted();
        Ok(())
    }

    /// Whoever is no member any more has nothing to tell, and nobody waits for it.
    fn take_ack(&mut self, ack: &TrustAck, members: &Members, notes: &mut Vec<SideChange>) {
        let id = MemberId(ack.member_id);
        let fits = ack.serial.len() <= SERIAL_BYTES;
        if members.get(id).is_some() && fits && self.acks.get(&id) != Some(ack) {
            notes.push(Row::Ack(id).put(ack));
            self.acks.insert(id, ack.clone());
        }
    }

    /// Whoever is no member any more is not waited for.
    fn forget_acks(&mut self, members: &Members, notes: &mut Vec<SideChange>) {
        self.acks.retain(|id, _| {
            let stays = members.get(*id).is_some();
            if !stays {
                notes.push(Row::Ack(*id).delete());
            }
            stays
        });
    }
}

fn is_der(der: &Bytes) -> bool {
    (1..=DER_BYTES).contains(&der.len())
}

fn is_serial(serial: &Bytes) -> bool {
    (1..=SERIAL_BYTES).contains(&serial.len())
}

fn is_issuer(issuer: &TrustIssuer) -> bool {
    is_der(&issuer.der)
        && is_der(&issuer.sealed_key)
        && issuer.cross_der.len() <= DER_BYTES
        && issuer.not_after_unix_s > issuer.not_before_unix_s
}
