//! The replicated table of members.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{self, member_op::Op};
use prost::Message;

use crate::backend::SideChange;
use crate::error::Error;
use crate::types::MemberId;

/// Meta keys of members start with this; the value is an encoded `etcdserverpb.Member`.
const META_MEMBER: &str = "member/";
/// Meta keys of members that were removed and never come back; the value is empty.
const META_REMOVED: &str = "removed/";
/// Meta keys of learners that are promoted as soon as they have caught up; the value is empty.
const META_PROMOTE: &str = "promote/";

/// The members, by id, and those that were.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    members: BTreeMap<MemberId, pb::Member>,
    removed: BTreeSet<MemberId>,
    promote: BTreeSet<MemberId>,
}

impl Members {
    /// The first members of a cluster: all vote.
    #[must_use]
    pub fn founders(members: impl IntoIterator<Item = pb::Member>) -> Self {
        let members = members.into_iter().map(|m| (MemberId(m.id), m)).collect();
        Self {
            members,
            ..Self::default()
        }
    }

    /// The members, by id.
    pub fn iter(&self) -> impl Iterator<Item = &pb::Member> {
        self.members.values()
    }

    /// A copy of all, by id.
    #[must_use]
    pub fn list(&self) -> Vec<pb::Member> {
        self.members.values().cloned().collect()
    }

    /// One member.
    #[must_use]
    pub fn get(&self, id: MemberId) -> Option<&pb::Member> {
        self.members.get(&id)
    }

    /// The members that vote.
    pub fn voters(&self) -> impl Iterator<Item = &pb::Member> {
        self.iter().filter(|m| !m.is_learner)
    }

    /// The members that do not vote.
    pub fn learners(&self) -> impl Iterator<Item = &pb::Member> {
        self.iter().filter(|m| m.is_learner)
    }

    /// The learners that nobody wants to vote.
    pub fn lasting_learners(&self) -> impl Iterator<Item = &pb::Member> {
        self.learners()
            .filter(|m| !self.promote.contains(&MemberId(m.id)))
    }

    /// The learners that are to vote as soon as they have caught up.
    pub fn to_promote(&self) -> impl Iterator<Item = MemberId> {
        self.promote.iter().copied()
    }

    /// True if it was a member and never will be again.
    #[must_use]
    pub fn is_removed(&self, id: MemberId) -> bool {
        self.removed.contains(&id)
    }

    /// Those that were members and never will be again.
    #[must_use]
    pub fn removed(&self) -> &BTreeSet<MemberId> {
        &self.removed
    }

    /// All that has to be kept, as changes of an empty meta table.
    #[must_use]
    pub fn rows(&self) -> Vec<SideChange> {
        let members = self.iter().map(row);
        let removed = self.removed.iter().map(|id| mark(META_REMOVED, *id));
        let promote = self.promote.iter().map(|id| mark(META_PROMOTE, *id));
        members.chain(removed).chain(promote).collect()
    }

    /// Takes a row back from the state store. False if it belongs to somebody else.
    pub fn restore(&mut self, key: &str, value: &Bytes) -> bool {
        if key.starts_with(META_MEMBER) {
            if let Ok(member) = pb::Member::decode(value.clone()) {
                self.members.insert(MemberId(member.id), member);
            }
            return true;
        }
        for (prefix, set) in [
            (META_REMOVED, &mut self.removed),
            (META_PROMOTE, &mut self.promote),
        ] {
            if let Some(id) = key.strip_prefix(prefix) {
                set.extend(u64::from_str_radix(id, 16).ok().map(MemberId));
                return true;
            }
        }
        false
    }

    /// Applies a change of the voters and learners; all of it or nothing. The changes are to be kept.
    ///
    /// # Errors
    /// It breaks a rule that every member can check: raft must not apply it either.
    pub fn change(
        &mut self,
        change: &kvorumpb::MemberChange,
        notes: &mut Vec<SideChange>,
    ) -> Result<Vec<pb::Member>, Error> {
        let (mut after, mut noted) = (self.clone(), Vec::new());
        for op in &change.ops {
            after.carry_out(op.op.as_ref(), &mut noted)?;
        }
        // Raft cannot go on without voters.
        if after.voters().next().is_none() {
            return Err(Error::NotEnoughStarted);
        }
        *self = after;
        notes.append(&mut noted);
        Ok(self.list())
    }

    pub(super) fn carry_out(
        &mut self,
        op: Option<&Op>,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), Error> {
        match op {
            Some(Op::Add(new)) => self.add(new, false, notes),
            Some(Op::AddLearner(new)) => self.add(new, true, notes),
            Some(Op::Remove(id)) => self.remove(MemberId(*id), notes),
            Some(Op::Promote(id)) => self.promote(MemberId(*id), notes),
            // A kind of change that only a later version knows.
            None => Err(Error::MemberNotFound),
        }
    }

    fn add(
        &mut self,
        new: &kvorumpb::NewMember,
        is_learner: bool,
        notes: &mut Vec<SideChange>,
    ) -> Result<(), Error> {
        let id = MemberId(new.id);
        if self.is_removed(id) || new.id == 0 {
            return Err(Error::MemberNotFound);
        }
        if self.members.contains_key(&id) {
            return Err(Error::MemberExists);
        }
        if new.peer_urls.is_empty() {
            return Err(Error::MemberBadUrls);
        }
        self.check_urls(id, &new.peer_urls)?;
        let member = pb::Member {
            id: new.id,
            peer_ur_ls: new.peer_urls.clone(),
            is_learner,
            ..Default::default()
        };
        notes.push(row(&member));
        if is_learner && new.promote {
            notes.push(mark(META_PROMOTE, id));
            self.promote.insert(id);
        }
        self.members.insert(id, member);
        Ok(())
    }

    fn remove(&mut self, id: MemberId, notes: &mut Vec<SideChange>) -> Result<(), Error> {
        if self.members.remove(&id).is_none() {
            return Err(Error::MemberNotFound);
        }
        notes.push(SideChange::MetaDelete(name(META_MEMBER, id)));
        notes.push(mark(META_REMOVED, id));
        self.removed.insert(id);
        self.forget_wish(id, notes);
        Ok(())
    }

    fn promote(&mut self, id: MemberId, notes: &mut Vec<SideChange>) -> Result<(), Error> {
        let member = self.members.get_mut(&id).ok_or(Error::MemberNotFound)?;
        if !member.is_learner {
            return Err(Error::MemberNotLearner);
        }
        member.is_learner = false;
        notes.push(row(member));
        self.forget_wish(id, notes);
        Ok(())
    }

    fn forget_wish(&mut self, id: MemberId, notes: &mut Vec<SideChange>) {
        if self.promote.remove(&id) {
            notes.push(SideChange::MetaDelete(name(META_PROMOTE, id)));
        }
    }

    fn check_urls(&self, id: MemberId, urls: &[String]) -> Result<(), Error> {
        let others = self.iter().filter(|m| m.id != id.0);
        let mut taken = others.flat_map(|m| &m.peer_ur_ls);
        match taken.any(|url| urls.contains(url)) {
            true => Err(Error::PeerUrlExists),
            false => Ok(()),
        }
    }

    /// Gives a member other peer URLs.
    ///
    /// # Errors
    /// There is no such member, or another one has such a URL.
    pub fn update(
        &mut self,
        update: &kvorumpb::MemberUpdate,
        notes: &mut Vec<SideChange>,
    ) -> Result<Vec<pb::Member>, Error> {
        let id = MemberId(update.member_id);
        if !self.members.contains_key(&id) {
            return Err(Error::MemberNotFound);
        }
        self.check_urls(id, &update.peer_urls)?;
        if let Some(member) = self.members.get_mut(&id) {
            member.peer_ur_ls.clone_from(&update.peer_urls);
            notes.push(row(member));
        }
        Ok(self.list())
    }

    /// A member tells its name and client URLs. Whoever is no member has nothing to tell.
    pub fn publish(&mut self, told: &kvorumpb::PublishMember, notes: &mut Vec<SideChange>) {
        let id = MemberId(told.member_id);
        // The first entry of a directory that was written before the table was part of a cluster's first state.
        if self.members.is_empty() && !self.is_removed(id) {
            let member = pb::Member {
                id: told.member_id,
                peer_ur_ls: told.peer_urls.clone(),
                ..Default::default()
            };
            self.members.insert(id, member);
        }
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.name.clone_from(&told.name);
        member.client_ur_ls.clone_from(&told.client_urls);
        notes.push(row(member));
        if member.is_learner && told.promote && self.promote.insert(id) {
            notes.push(mark(META_PROMOTE, id));
        }
    }
}

fn name(prefix: &str, id: MemberId) -> String {
    format!("{prefix}{:016x}", id.0)
}

fn row(member: &pb::Member) -> SideChange {
    let key = name(META_MEMBER, MemberId(member.id));
    SideChange::MetaPut(key, member.encode_to_vec().into())
}

fn mark(prefix: &str, id: MemberId) -> SideChange {
    SideChange::MetaPut(name(prefix, id), Bytes::new())
}
