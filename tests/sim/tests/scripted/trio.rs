//! Three members with disks that are always in time. A member that stands still takes nothing, and what is sent to it
//! waits.

use std::cell::RefCell;
use std::collections::BTreeMap;

use kvorum_core::backend::Restored;
use kvorum_core::mvcc::Store;
use kvorum_core::node::{Start, encode_conf_state};
use kvorum_core::replica::{Answer, Ask, Output, Replica, Send, StoreAccess};
use kvorum_core::{Index, MemberId, RequestId, Term};
use kvorum_proto::kvorumpb::PeerMessage;
use kvorum_proto::kvorumpb::command::Op;
use kvorum_storage::MemDisk;

use super::{command, founded, machine, open, replica_options};

const TICK_MS: u64 = 100;

struct Cell(RefCell<Store>);

impl StoreAccess for Cell {
    fn with<R>(&self, f: impl FnOnce(&mut Store) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }
}

struct Member {
    replica: Replica,
    store: Cell,
    out: Output,
    paused: bool,
    held: Vec<(MemberId, PeerMessage)>,
    /// Answers, each with the revision that was applied at that moment.
    answers: BTreeMap<RequestId, (Answer, i64)>,
}

/// The three.
pub(crate) struct Trio {
    members: BTreeMap<u64, Member>,
    now_ms: u64,
    asked: u64,
}

fn member(id: u64, ids: &[u64]) -> Member {
    let start = Start {
        conf_state: encode_conf_state(ids),
        applied: Index(1),
        applied_term: Term(1),
        ..Start::default()
    };
    let mut machine = machine();
    machine.restore_tables(&Restored {
        meta: founded(ids),
        ..Restored::default()
    });
    let (state, _) = open(&MemDisk::new());
    Member {
        replica: Replica::new(replica_options(id, id), start, machine).expect("a valid start"),
        store: Cell(RefCell::new(Store::new(state, 1 << 20))),
        out: Output::default(),
        paused: false,
        held: Vec::new(),
        answers: BTreeMap::new(),
    }
}

impl Member {
    /// Turns until nothing is left to do; gives what is to be sent.
    fn turn(&mut self, now_ms: u64) -> Vec<Send> {
        let mut sends = Vec::new();
        loop {
            let more = self
                .replica
                .turn(&self.store, &mut (), now_ms, &mut self.out)
                .expect("nothing fails here");
            sends.append(&mut self.out.sends);
            let at = self.store.with(|store| store.current());
            for (id, answer) in self.out.answers.drain(..) {
                self.answers.insert(id, (answer, at));
            }
            let groups = std::mem::take(&mut self.out.appends);
            if let Some(last) = groups.last() {
                self.replica.persisted(last.number);
            } else if !more {
                return sends;
            }
        }
    }

    fn receive(&mut self, from: MemberId, message: PeerMessage, now_ms: u64) {
        self.replica
            .receive(from, message, now_ms, &mut self.out)
            .expect("a correct message");
    }
}

impl Trio {
    pub(crate) fn new() -> Self {
        let ids = [1, 2, 3];
        Self {
            members: ids.iter().map(|id| (*id, member(*id, &ids))).collect(),
            now_ms: 0,
            asked: 0,
        }
    }

    fn member(&mut self, id: u64) -> &mut Member {
        self.members.get_mut(&id).expect("one of the three")
    }

    /// Who leads the highest term among those that do not stand still.
    pub(crate) fn leader(&self) -> Option<u64> {
        let awake = self.members.iter().filter(|(_, m)| !m.paused);
        let leads = awake.filter(|(_, m)| m.replica.leadership().is_leader);
        leads
            .max_by_key(|(_, m)| m.replica.leadership().term)
            .map(|(id, _)| *id)
    }

    pub(crate) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.now_ms += TICK_MS;
            let now_ms = self.now_ms;
            for m in self.members.values_mut().filter(|m| !m.paused) {
                m.replica.tick(now_ms);
            }
            self.settle();
        }
    }

    /// Delivers until nothing is under way.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut sends = Vec::new();
            for (id, m) in self.members.iter_mut().filter(|(_, m)| !m.paused) {
                let from = MemberId(*id);
                let turned = m.turn(self.now_ms);
                sends.extend(turned.into_iter().map(|s| (from, s)));
            }
            if sends.is_empty() {
                return;
            }
            sends.into_iter().for_each(|(from, s)| self.carry(from, s));
        }
    }

    fn carry(&mut self, from: MemberId, send: Send) {
        let now_ms = self.now_ms;
        let to = self.member(send.to.0);
        if to.paused {
            to.held.push((from, send.message));
        } else {
            to.receive(from, send.message, now_ms);
        }
    }

    fn ask(&mut self, id: u64, ask: impl FnOnce(RequestId) -> Ask) -> RequestId {
        self.asked += 1;
        let (request, now_ms) = (RequestId(self.asked), self.now_ms);
        let m = self.member(id);
        m.replica.ask(ask(request), now_ms, &mut m.out);
        request
    }

    pub(crate) fn propose(&mut self, id: u64, op: Op) -> RequestId {
        let request = self.ask(id, |request| Ask::Propose(command(request.0, op)));
        self.settle();
        request
    }

    /// Asks for a read; nothing moves yet.
    pub(crate) fn read(&mut self, id: u64) -> RequestId {
        self.ask(id, Ask::ReadIndex)
    }

    /// Does what is asked of a member, and stands still before anybody answers it.
    pub(crate) fn turn_and_pause(&mut self, id: u64) {
        let now_ms = self.now_ms;
        let m = self.member(id);
        let sends = m.turn(now_ms);
        m.paused = true;
        for send in sends {
            self.carry(MemberId(id), send);
        }
        self.settle();
    }

    /// Goes on: the clock first, then a read that is asked at once, then what was sent to it long ago.
    pub(crate) fn resume_reading(&mut self, id: u64) -> RequestId {
        let now_ms = self.now_ms;
        let m = self.member(id);
        m.paused = false;
        m.replica.tick(now_ms);
        let request = self.read(id);
        let m = self.member(id);
        let mut sends = m.turn(now_ms);
        for (from, message) in std::mem::take(&mut m.held) {
            m.receive(from, message, now_ms);
            sends.extend(m.turn(now_ms));
        }
        for send in sends {
            self.carry(MemberId(id), send);
        }
        self.settle();
        request
    }

    /// The answer, and the revision that was applied where it was given.
    pub(crate) fn answer(&mut self, id: u64, request: RequestId) -> Option<(Answer, i64)> {
        self.member(id).answers.remove(&request)
    }

    pub(crate) fn revision(&mut self, id: u64) -> i64 {
        self.member(id).store.with(|store| store.current())
    }
}
