//! The world of one seed: members, network, clients and time, and the loop that lets things happen.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kvorum_core::replica::Lane;
use kvorum_proto::kvorumpb::PeerMessage;
use kvorum_proto::kvorumpb::peer_message::Body;
use kvorum_tests::harness::generate::Dice;

use crate::client::{Calls, Client, Outcome};
use crate::fault::Mending;
use crate::ledger::{Checked, Ledger, Violation, wrong};
use crate::member::{Member, TICK_MS};
use crate::net::Net;
use crate::plan::Plan;
use crate::queue::Queue;
use crate::report::Figures;
use crate::story::Story;
use crate::transfer::Transfer;
use crate::watcher::Watcher;

/// A client's call.
pub(crate) type CallId = usize;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// To one start of a member; after its end it is nothing.
    Member(u64, u64, Happening),
    /// A message reaches a member; the life is that of the receiver when it was sent.
    Arrives {
        from: u64,
        to: u64,
        life: u64,
        message: Box<PeerMessage>,
    },
    /// A client may call again.
    Client(usize),
    /// A call reaches a member.
    Request(CallId, u64, u64),
    /// A call's answer, or the end of its connection, reaches the client.
    Reply(CallId, Outcome),
    /// A client waits no longer.
    Patience(CallId),
    /// A watching client looks.
    Watch(usize),
    /// A fault is due.
    Fault,
    /// A fault ends.
    Mend(Mending),
    /// A member is started.
    Start(u64),
    /// A piece of a snapshot is on its way.
    Snapshot(u64),
}

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// A heartbeat interval has passed.
    Tick,
    /// What came in is worked off.
    Turn,
    /// The log's disk is done.
    Written,
    /// The store thread looks.
    Store,
    /// A snapshot takes the place of the state.
    Install,
    /// A member that is none any more ends.
    Leave,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) dice: Dice,
    pub(crate) queue: Queue<Event>,
    pub(crate) members: BTreeMap<u64, Member>,
    pub(crate) net: Net,
    pub(crate) clients: Vec<Client>,
    pub(crate) calls: Calls,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) ledger: Ledger,
    pub(crate) story: Story,
    pub(crate) figures: Figures,
    pub(crate) transfers: BTreeMap<u64, Transfer>,
    pub(crate) next_transfer: u64,
    pub(crate) next_member: u64,
    pub(crate) next_boot: u64,
    /// Faults have ended; everything has to come right.
    pub(crate) healing: bool,
    /// Clients have stopped to change anything.
    pub(crate) quiet: bool,
    /// Events of members that stand still.
    pub(crate) held: BTreeMap<u64, Vec<Event>>,
}

impl World {
    pub(crate) fn new(plan: Plan, told: bool) -> Self {
        let seed = plan.order.seed;
        let mut world = Self {
            dice: Dice::new(seed),
            queue: Queue::new(),
            members: BTreeMap::new(),
            net: Net::new(&plan),
            clients: Vec::new(),
            calls: Calls::default(),
            watchers: Vec::new(),
            ledger: Ledger::default(),
            story: Story::new(told),
            figures: Figures::default(),
            transfers: BTreeMap::new(),
            next_transfer: 0,
            next_member: 1,
            next_boot: 1,
            healing: false,
            quiet: false,
            held: BTreeMap::new(),
            plan,
        };
        world.ledger.first = 1;
        world
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.queue.now_us()
    }

    pub(crate) fn tell<T: std::fmt::Display>(
        &mut self,
        who: impl std::fmt::Display,
        what: impl FnOnce() -> T,
    ) {
        let now = self.queue.now_us();
        self.story.line(now, who, what);
    }

    /// Founds the cluster and wakes everybody.
    pub(crate) fn begin(&mut self) -> Checked {
        let voters: Vec<u64> = (1..=self.plan.members).collect();
        for id in &voters {
            let member = Member::new(*id, &self.plan, &mut self.dice);
            if let Err(refusal) = member.found(&voters) {
                return wrong(format!("member {id} cannot be founded: {refusal:?}"));
            }
            self.members.insert(*id, member);
            self.queue.after(self.dice.below(50_000), Event::Start(*id));
        }
        self.next_member = self.plan.members + 1;
        for client in 0..self.plan.clients {
            self.clients.push(Client::new(client));
            self.queue
                .after(1_000_000 + self.dice.below(100_000), Event::Client(client));
        }
        for watcher in 0..self.plan.watchers {
            self.watchers.push(Watcher::new());
            self.queue
                .after(500_000 + self.dice.below(2_000_000), Event::Watch(watcher));
        }
        if !self.plan.faults.is_empty() {
            self.queue.after(1_500_000, Event::Fault);
        }
        Ok(())
    }

    /// Lets things happen until the condition holds or the time has come. True if it held.
    pub(crate) fn run_until(
        &mut self,
        end_us: u64,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, Violation> {
        let mut steps = 0u64;
        while self.now_us() < end_us {
            steps += 1;
            // Looking is dearer than one event.
            if steps.is_multiple_of(16) && done(self) {
                return Ok(true);
            }
            let Some(event) = self.queue.next() else {
                return wrong("nothing happens any more");
            };
            self.figures.events += 1;
            self.step(event)?;
        }
        Ok(done(self))
    }

    fn step(&mut self, event: Event) -> Checked {
        let event = match self.hold_back(event) {
            Some(event) => event,
            None => return Ok(()),
        };
        let member = concerned(&event);
        // A member with rotten files may panic inside redb: that is the end of its process, and no more.
        match catch_unwind(AssertUnwindSafe(|| self.happen(event))) {
            Ok(result) => result,
            Err(panic) => {
                let text = crate::panics::text(&*panic);
                match member.filter(|id| self.members.get(id).is_some_and(|m| m.rotten)) {
                    Some(id) => self.damaged(id, &text),
                    None => wrong(format!("panic: {text}")),
                }
            }
        }
    }

    /// A member that stands still takes nothing; it will find all of it when it goes on.
    fn hold_back(&mut self, event: Event) -> Option<Event> {
        let Some(id) = concerned(&event) else {
            return Some(event);
        };
        // The disk works on while the process stands still, and a start is one.
        if self.members.get(&id).is_some_and(|m| m.paused) && !matches!(event, Event::Start(_)) {
            self.held.entry(id).or_default().push(event);
            return None;
        }
        Some(event)
    }

    fn happen(&mut self, event: Event) -> Checked {
        self.trace(&event);
        match event {
            Event::Member(id, life, happening) => {
                if self
                    .members
                    .get(&id)
                    .is_some_and(|m| m.life == life && m.running.is_some())
                {
                    self.member_event(id, happening)?;
                }
                Ok(())
            }
            Event::Arrives {
                from,
                to,
                life,
                message,
            } => self.arrives(from, to, life, *message),
            Event::Client(client) => self.client_calls(client),
            Event::Request(call, member, life) => self.request(call, member, life),
            Event::Reply(call, outcome) => self.replied(call, outcome),
            Event::Patience(call) => self.out_of_patience(call),
            Event::Watch(watcher) => self.watch(watcher),
            Event::Fault => self.fault(),
            Event::Mend(mending) => self.mend(mending),
            Event::Start(id) => self.start(id),
            Event::Snapshot(transfer) => self.transfer_goes_on(transfer),
        }
    }

    fn trace(&mut self, event: &Event) {
        let now = self.queue.now_us();
        let words = match event {
            Event::Member(id, life, happening) => [1, *id, *life, *happening as u64],
            Event::Arrives { from, to, life, .. } => [2, *from, *to, *life],
            Event::Client(client) => [3, *client as u64, 0, 0],
            Event::Request(call, member, life) => [4, *call as u64, *member, *life],
            Event::Reply(call, outcome) => [5, *call as u64, outcome.word(), 0],
            Event::Patience(call) => [6, *call as u64, 0, 0],
            Event::Watch(watcher) => [7, *watcher as u64, 0, 0],
            Event::Fault => [8, 0, 0, 0],
            Event::Mend(_) => [9, 0, 0, 0],
            Event::Start(id) => [10, *id, 0, 0],
            Event::Snapshot(transfer) => [11, *transfer, 0, 0],
        };
        self.story.mix(&[now]);
        self.story.mix(&words);
    }

    /// Something of a running member, after a time of its own.
    pub(crate) fn later(&mut self, id: u64, us: u64, happening: Happening) {
        if let Some(member) = self.members.get(&id) {
            self.queue
                .after(us, Event::Member(id, member.life, happening));
        }
    }

    /// The next tick, by the member's own clock.
    pub(crate) fn next_tick(&mut self, id: u64) {
        if let Some(member) = self.members.get(&id) {
            let us = member.clock.world_span(TICK_MS * 1000);
            self.later(id, us, Happening::Tick);
        }
    }

    /// Sends a message between members.
    pub(crate) fn send(&mut self, from: u64, to: u64, lane: Lane, message: PeerMessage) -> Checked {
        use crate::net::Fate;
        let Some(life) = self.members.get(&to).map(|m| m.life) else {
            return Ok(());
        };
        self.figures.messages += 1;
        if let Some(Body::Raft(raft)) = &message.body {
            self.ledger.known(
                from,
                raft.entries
                    .iter()
                    .filter(|e| e.index > 0)
                    .map(|e| (e.index, e.term, &e.data)),
            )?;
        }
        match self.net.send(self.queue.now_us(), from, to, lane) {
            Fate::Arrives(times) => {
                for at in times {
                    let message = Box::new(message.clone());
                    self.queue.at(
                        at,
                        Event::Arrives {
                            from,
                            to,
                            life,
                            message,
                        },
                    );
                }
            }
            Fate::Lost(noticed) => {
                self.figures.lost += 1;
                if noticed {
                    self.unreachable(from, to);
                }
            }
        }
        Ok(())
    }

    /// Members that run.
    pub(crate) fn up(&self) -> Vec<u64> {
        let up = self
            .members
            .values()
            .filter(|m| m.running.is_some() && !m.paused);
        up.map(|m| m.id).collect()
    }

    /// The member that leads the highest term, as it believes.
    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |m: &&Member| {
            m.running
                .as_ref()
                .is_some_and(|r| r.replica.leadership().is_leader)
        };
        let term = |m: &&Member| m.running.as_ref().map(|r| r.replica.leadership().term);
        self.members
            .values()
            .filter(leads)
            .max_by_key(term)
            .map(|m| m.id)
    }
}

fn concerned(event: &Event) -> Option<u64> {
    match event {
        Event::Member(id, ..) | Event::Request(_, id, _) | Event::Start(id) => Some(*id),
        Event::Arrives { to, .. } => Some(*to),
        _ => None,
    }
}
