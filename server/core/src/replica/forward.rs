//! Requests on their way through the log: what this member has asked and nobody has answered yet.
//!
//! In a cluster every command carries a stamp (session, sequence, floor), and is sent again when the leader changes or
//! does not answer. Each is applied once all the same: `sessions` remembers what was applied.

use std::collections::BTreeMap;

use kvorum_proto::kvorumpb::{Command, Forward, ForwardedAsk, Stamp, TimeLeftAsk, forwarded_ask};
use prost::Message as _;

use crate::auth::Caller;
use crate::types::{LeaseId, RequestId};

/// A message of forwarded requests is closed at this size, bytes.
const MESSAGE_BYTES: usize = 512 << 10;

/// A request that the leader answers or the log.
#[derive(Clone, Debug)]
pub(super) enum Pending {
    Command(Command),
    KeepAlive(RequestId, LeaseId, Caller),
    TimeLeft(RequestId, LeaseId, bool, Caller),
    Change(kvorum_proto::kvorumpb::MemberChange),
}

impl Pending {
    pub(super) fn id(&self) -> RequestId {
        match self {
            Self::Command(c) => RequestId(c.request_id),
            Self::KeepAlive(id, ..) | Self::TimeLeft(id, ..) => *id,
            Self::Change(c) => RequestId(c.request_id),
        }
    }

    /// A change of members that came twice would be refused the second time.
    fn may_be_repeated(&self) -> bool {
        !matches!(self, Self::Change(_))
    }
}

#[derive(Debug)]
struct Outstanding {
    pending: Pending,
    since_ms: u64,
    /// When it was handed to a leader last.
    sent_ms: Option<u64>,
}

/// What waits for an answer, by sequence.
#[derive(Debug)]
pub(super) struct Outbox {
    session: u64,
    next: u64,
    outstanding: BTreeMap<u64, Outstanding>,
    /// Sequences that wait to be handed to a leader.
    unsent: Vec<u64>,
}

impl Outbox {
    pub(super) fn new(session: u64) -> Self {
        Self {
            session,
            next: 1,
            outstanding: BTreeMap::new(),
            unsent: Vec::new(),
        }
    }

    pub(super) fn session(&self) -> u64 {
        self.session
    }

    pub(super) fn len(&self) -> usize {
        self.outstanding.len()
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Everything below has its answer.
    fn floor(&self) -> u64 {
        self.outstanding.keys().next().copied().unwrap_or(self.next)
    }

    pub(super) fn add(&mut self, pending: Pending, now_ms: u64) {
        let sequence = self.next;
        self.next += 1;
        let outstanding = Outstanding {
            pending,
            since_ms: now_ms,
            sent_ms: None,
        };
        self.outstanding.insert(sequence, outstanding);
        self.unsent.push(sequence);
    }

    /// What waits to be sent, in order, with its sequence; it counts as sent now.
    pub(super) fn take_unsent(&mut self, now_ms: u64) -> Vec<(u64, Pending)> {
        let mut taken = Vec::with_capacity(self.unsent.len());
        for sequence in std::mem::take(&mut self.unsent) {
            if let Some(o) = self.outstanding.get_mut(&sequence) {
                o.sent_ms = Some(now_ms);
                taken.push((sequence, o.pending.clone()));
            }
        }
        taken
    }

    /// The stamp of a sequence, as of now.
    pub(super) fn stamp(&self, sequence: u64) -> Stamp {
        Stamp {
            session: self.session,
            sequence,
            floor: self.floor(),
        }
    }

    /// Messages that carry requests to the leader.
    pub(super) fn messages(&self, requests: Vec<(u64, Pending)>) -> Vec<Forward> {
        let floor = self.floor();
        let empty = || Forward {
            session: self.session,
            floor,
            asks: Vec::new(),
        };
        let (mut messages, mut message, mut bytes) = (Vec::new(), empty(), 0);
        for (sequence, pending) in requests {
            let ask = self.travelling(sequence, pending);
            let len = ask.encoded_len();
            if bytes > 0 && bytes + len > MESSAGE_BYTES {
                messages.push(std::mem::replace(&mut message, empty()));
                bytes = 0;
            }
            bytes += len;
            message.asks.push(ask);
        }
        if !message.asks.is_empty() {
            messages.push(message);
        }
        messages
    }

    fn travelling(&self, sequence: u64, pending: Pending) -> ForwardedAsk {
        use forwarded_ask::Ask;
        let caller = match &pending {
            Pending::KeepAlive(.., caller) | Pending::TimeLeft(.., caller) => caller.to_wire(),
            Pending::Command(_) | Pending::Change(_) => None,
        };
        let ask = match pending {
            Pending::Command(mut command) => {
                command.stamp = Some(self.stamp(sequence));
                Ask::Propose(command)
            }
            Pending::KeepAlive(_, lease, _) => Ask::KeepAlive(lease.0),
            Pending::TimeLeft(_, lease, keys, _) => Ask::TimeLeft(TimeLeftAsk {
                lease: lease.0,
                keys,
            }),
            Pending::Change(change) => Ask::Change(change),
        };
        ForwardedAsk {
            sequence,
            ask: Some(ask),
            caller,
        }
    }

    /// A request has its answer; gives it back if it was still waiting.
    pub(super) fn answered(&mut self, sequence: u64) -> Option<Pending> {
        Some(self.outstanding.remove(&sequence)?.pending)
    }

    /// A change of members was applied.
    pub(super) fn change_applied(&mut self, id: RequestId) {
        let is_it =
            |o: &Outstanding| matches!(&o.pending, Pending::Change(c) if c.request_id == id.0);
        self.outstanding.retain(|_, o| !is_it(o));
    }

    /// Another one leads: what was sent to the one before is sent again.
    pub(super) fn send_again(&mut self) {
        let again = |(sequence, o): (&u64, &Outstanding)| {
            (o.sent_ms.is_none() || o.pending.may_be_repeated()).then_some(*sequence)
        };
        self.unsent = self.outstanding.iter().filter_map(again).collect();
    }

    /// A request that cannot be answered yet keeps its place.
    pub(super) fn later(&mut self, sequence: u64) {
        if let Some(o) = self.outstanding.get_mut(&sequence) {
            o.sent_ms = None;
        }
    }

    /// Those that wait for an answer of this member's own are looked at again.
    pub(super) fn send_again_waiting(&mut self) {
        let waiting =
            |(sequence, o): (&u64, &Outstanding)| o.sent_ms.is_none().then_some(*sequence);
        self.unsent = self.outstanding.iter().filter_map(waiting).collect();
    }

    /// Forgets what nobody waits for any more, and sends again what a leader has not answered for `again_ms`.
    pub(super) fn tick(&mut self, now_ms: u64, timeout_ms: u64, again_ms: u64) {
        let old = |since: u64, limit: u64| now_ms.saturating_sub(since) >= limit;
        self.outstanding.retain(|_, o| !old(o.since_ms, timeout_ms));
        let late = |o: &mut Outstanding| {
            let late = o.sent_ms.is_some_and(|at| old(at, again_ms));
            if late && o.pending.may_be_repeated() {
                o.sent_ms = None;
                return true;
            }
            false
        };
        let again = self
            .outstanding
            .iter_mut()
            .filter_map(|(s, o)| late(o).then_some(*s));
        self.unsent.extend(again.collect::<Vec<_>>());
    }
}
