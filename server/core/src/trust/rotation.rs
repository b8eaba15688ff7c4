//! The change of the root. Where it stands follows from facts that are replicated anyway, so whoever leads goes on where
//! the one before stopped, whatever crashed.

use std::collections::BTreeSet;

use bytes::Bytes;
use kvorum_proto::kvorumpb::{RotationBegin, RotationForce, TrustAck, TrustRoot, TrustRotation};

use super::in_use::OldCertificate;
use super::kept::Row;
use super::tokens::NAME_BYTES;
use super::{Trust, TrustRefused};
use crate::backend::SideChange;
use crate::membership::Members;
use crate::types::MemberId;

/// Longest certificate, bytes.
pub(super) const DER_BYTES: usize = 16 << 10;
/// Longest grace period.
const GRACE_MAX_S: i64 = 366 * 24 * 3600;

/// Where a rotation stands: what the next step waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// There is none.
    #[default]
    None,
    /// Members learn to trust the new root.
    Bundle,
    /// All do: the next issuing certificate is of the new root.
    Issuer,
    /// Members get certificates of the new root.
    Reissue,
    /// Clients get theirs, or the grace period ends.
    Grace,
    /// Nothing needs the old root any more.
    Drop,
}

/// How far a rotation is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// What the next step waits for.
    pub stage: Stage,
    /// Members that the stage waits for.
    pub members: Vec<MemberId>,
    /// Users who may still show certificates of the old root.
    pub users: Vec<String>,
    /// Those certificates.
    pub certificates: Vec<OldCertificate>,
    /// When the grace period ends; 0 before it begins.
    pub grace_until_unix_s: i64,
}

impl Trust {
    /// The rotation that is under way.
    #[must_use]
    pub fn rotation(&self) -> Option<&TrustRotation> {
        self.head.rotation.as_ref()
    }

    /// Where the rotation stands.
    #[must_use]
    pub fn progress(&self, members: &Members, now_unix_s: i64) -> Progress {
        let Some(rotation) = self.rotation() else {
            return Progress::default();
        };
        let at = |stage, members| Progress {
            stage,
            members,
            ..Progress::default()
        };
        let issuer = self.issuer().filter(|i| i.root == rotation.new_root);
        let Some(issuer) = issuer else {
            let bundle = self.bundle();
            let late = self.late(members, rotation, |ack| ack.bundle >= bundle);
            return match late.is_empty() {
                true => at(Stage::Issuer, late),
                false => at(Stage::Bundle, late),
            };
        };
        let late = self.late(members, rotation, |ack| ack.root == rotation.new_root);
        if !late.is_empty() {
            return at(Stage::Reissue, late);
        }
        let grace_until_unix_s = issuer.since_unix_s.saturating_add(rotation.grace_s);
        let certificates = self.in_use(rotation, issuer.since_unix_s, now_unix_s);
        let users = certificates.iter().map(|old| &old.certificate.subject);
        let users: BTreeSet<&String> = users.collect();
        let is_over = rotation.end_grace || now_unix_s >= grace_until_unix_s;
        Progress {
            stage: match is_over || certificates.is_empty() {
                true => Stage::Drop,
                false => Stage::Grace,
            },
            members: Vec::new(),
            users: users.into_iter().cloned().collect(),
            certificates,
            grace_until_unix_s,
        }
    }

    /// Members of whom something is not true yet.
    fn late(
        &self,
        members: &Members,
        rotation: &TrustRotation,
        is_done: impl Fn(&TrustAck) -> bool,
    ) -> Vec<MemberId> {
        let counts = members
            .iter()
            .filter(|m| !rotation.without_members.contains(&m.id));
        let ids = counts.map(|m| MemberId(m.id));
        ids.filter(|id| !self.ack(*id).is_some_and(&is_done))
            .collect()
    }

    pub(super) fn begin_rotation(
        &mut self,
        begin: &RotationBegin,
        now_unix_s: i64,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), TrustRefused> {
        if self.rotation().is_some() {
            return Err(TrustRefused::RotationUnderway);
        }
        self.follows(begin.after)?;
        let fits = !begin.root_der.is_empty()
            && begin.root_der.len() <= DER_BYTES
            && (1..=DER_BYTES).contains(&begin.sealed_root_key.len())
            && (0..=GRACE_MAX_S).contains(&begin.grace_s)
            && begin.begun_by.len() <= NAME_BYTES;
        if !fits {
            return Err(TrustRefused::Malformed);
        }
        let old_root = self.issuer().map_or(0, |issuer| issuer.root);
        let new_root = self.add_root(&begin.root_der, &begin.sealed_root_key, now_unix_s, notes);
        self.head.rotation = Some(TrustRotation {
            old_root,
            new_root,
            begun_unix_s: now_unix_s,
            grace_s: begin.grace_s,
            begun_by: begin.begun_by.clone(),
            ..TrustRotation::default()
        });
        Ok(())
    }

    pub(super) fn force_rotation(&mut self, force: &RotationForce) -> Result<(), TrustRefused> {
        self.follows(force.after)?;
        let rotation = self.head.rotation.as_mut();
        let rotation = rotation.ok_or(TrustRefused::NoRotation)?;
        for id in &force.without_members {
            if !rotation.without_members.contains(id) {
                rotation.without_members.push(*id);
            }
        }
        rotation.end_grace |= force.end_grace;
        rotation.without_unreached |= force.without_unreached;
        rotation.without_unreached &= !force.unreached_named;
        Ok(())
    }

    pub(super) fn drop_old_root(
        &mut self,
        after: u64,
        members: &Members,
        now_unix_s: i64,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), TrustRefused> {
        let rotation = self.rotation().ok_or(TrustRefused::NoRotation)?.clone();
        self.follows(after)?;
        if self.progress(members, now_unix_s).stage != Stage::Drop {
            return Err(TrustRefused::RotationWaits);
        }
        self.roots.retain(|id, _| {
            let keep = *id == rotation.new_root;
            if !keep {
                notes.push(Row::Root(*id).delete());
            }
            keep
        });
        self.head.bundle += 1;
        self.head.rotation = None;
        if let Some(issuer) = &mut self.head.issuer {
            issuer.cross_der.clear();
        }
        Ok(())
    }

    /// A root more is trusted.
    pub(super) fn add_root(
        &mut self,
        der: &Bytes,
        sealed_key: &Bytes,
        now_unix_s: i64,
        notes: &mut Vec<SideChange>,
    ) -> u64 {
        self.head.newest_root += 1;
        self.head.bundle += 1;
        let root = TrustRoot {
            id: self.head.newest_root,
            der: der.clone(),
            sealed_key: sealed_key.clone(),
            added_unix_s: now_unix_s,
        };
        notes.push(Row::Root(root.id).put(&root));
        self.roots.insert(root.id, root);
        self.head.newest_root
    }
}
