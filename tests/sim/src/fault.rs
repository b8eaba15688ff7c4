//! What goes wrong, and how it ends.

use crate::ledger::Checked;
use crate::plan::{Fault, Span, within};
use crate::world::{Event, Happening, World};

/// The end of a fault.
#[derive(Clone, Debug)]
pub(crate) enum Mending {
    /// A member goes on.
    Resume(u64),
    /// These ways are open again.
    Ways(Vec<(u64, u64)>),
    /// A disk answers, has room, is fast again.
    Disk(u64),
    /// A way comes and goes so many times more.
    Flap(Vec<(u64, u64)>, u32),
}

impl World {
    /// The next fault of this seed.
    pub(crate) fn fault(&mut self) -> Checked {
        if self.healing {
            return Ok(());
        }
        let mean = self.plan.fault_every_us;
        let pause = within(&mut self.dice, (mean / 4, mean * 2));
        self.queue.after(pause, Event::Fault);
        self.start_newcomers();
        let faults = self.plan.faults.clone();
        let fault = self.dice.pick(&faults);
        self.figures.fault(fault);
        let ids: Vec<u64> = self
            .members
            .values()
            .filter(|m| !m.gone)
            .map(|m| m.id)
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let id = self.dice.pick(&ids);
        match fault {
            Fault::Crash | Fault::Kill => {
                let power = fault == Fault::Crash;
                self.tell(id, || if power { "loses power" } else { "is killed" });
                if self.members.get(&id).is_some_and(|m| m.running.is_some()) {
                    self.crash(id, power);
                }
            }
            Fault::CrashAll => {
                self.tell("all", || "lose power");
                for id in self.up() {
                    self.crash(id, true);
                }
            }
            Fault::Pause => self.pause(id, (50_000, 3_000_000)),
            Fault::PauseLeader => self.pause(self.leader().unwrap_or(id), (1_500_000, 6_000_000)),
            Fault::CutOneWay
            | Fault::CutPair
            | Fault::Isolate
            | Fault::IsolateLeader
            | Fault::Bridge
            | Fault::Flap => self.cut(fault, id, &ids),
            Fault::SlowDisk
            | Fault::HangDisk
            | Fault::SyncError
            | Fault::FullDisk
            | Fault::BitFlip => self.spoil_disk(fault, id),
            Fault::ClockRate => self.change_clock(id),
            Fault::Transfer
            | Fault::AddLearner
            | Fault::Promote
            | Fault::Remove
            | Fault::RemoveLeader
            | Fault::Replace => self.change_members(fault),
        }
        Ok(())
    }

    fn pause(&mut self, id: u64, span: Span) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        if member.running.is_none() || member.paused {
            return;
        }
        member.paused = true;
        let us = within(&mut self.dice, span);
        self.tell(id, || format!("stands still for {} ms", us / 1000));
        self.queue.after(us, Event::Mend(Mending::Resume(id)));
    }

    fn cut(&mut self, fault: Fault, id: u64, ids: &[u64]) {
        let others: Vec<u64> = ids.iter().copied().filter(|o| *o != id).collect();
        if others.is_empty() {
            return;
        }
        let other = self.dice.pick(&others);
        let both = |a: u64, b: u64| vec![(a, b), (b, a)];
        let ways: Vec<(u64, u64)> = match fault {
            Fault::CutOneWay => vec![(id, other)],
            Fault::CutPair | Fault::Flap => both(id, other),
            Fault::Bridge => {
                // `id` is the bridge: the others are in two halves.
                let half = others.len() / 2;
                let (left, right) = others.split_at(half);
                let pairs = left.iter().flat_map(|l| right.iter().map(|r| (*l, *r)));
                pairs.flat_map(|(l, r)| both(l, r)).collect()
            }
            _ => {
                let alone = match fault {
                    Fault::IsolateLeader => self.leader().unwrap_or(id),
                    _ => id,
                };
                let rest = ids.iter().filter(|o| **o != alone);
                rest.flat_map(|o| both(alone, *o)).collect()
            }
        };
        self.tell("net", || format!("cuts {ways:?}"));
        ways.iter().for_each(|(from, to)| self.net.cut(*from, *to));
        self.figures.cuts += 1;
        let mending = if fault == Fault::Flap {
            Mending::Flap(ways, 6)
        } else {
            Mending::Ways(ways)
        };
        let us = within(&mut self.dice, (50_000, 5_000_000));
        self.queue.after(us, Event::Mend(mending));
    }

    fn spoil_disk(&mut self, fault: Fault, id: u64) {
        let us = within(&mut self.dice, (100_000, 4_000_000));
        if fault == Fault::BitFlip {
            crate::panics::note_rot();
            return self.flip_bits(id);
        }
        let slow_us = within(&mut self.dice, (5_000, 60_000));
        let nth = self.dice.below(4);
        let of_log = self.dice.one_in(2);
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        match fault {
            Fault::SlowDisk => member.slow_us = slow_us,
            Fault::HangDisk => member.hung = true,
            Fault::FullDisk => {
                member.full = true;
                member.disks.fill();
            }
            _ if of_log => member.disks.log.fail_sync_at(nth),
            _ => member.disks.state.fail_sync_at(nth),
        }
        self.tell(id, || format!("{fault:?} for {} ms", us / 1000));
        if fault != Fault::SyncError {
            self.queue.after(us, Event::Mend(Mending::Disk(id)));
        }
    }

    /// Only so many members rot that the others can make good for them.
    fn flip_bits(&mut self, id: u64) {
        let voters = self.voters();
        let lost = |v: &&u64| self.members.get(v).is_none_or(|m| m.gone || m.rotten);
        let bad = voters.iter().filter(lost).count();
        let allowed = voters.len().saturating_sub(1) / 2;
        let already = self.members.get(&id).is_some_and(|m| m.rotten);
        if !already && bad >= allowed {
            return;
        }
        let flips = 1 + self.dice.below(8);
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        for _ in 0..flips {
            let files = member.disks.state.dump();
            let Some((name, bytes)) = files.first().filter(|(_, b)| !b.is_empty()) else {
                return;
            };
            let offset = self.dice.below(bytes.len() as u64);
            let bit = u8::try_from(self.dice.below(8)).unwrap_or(0);
            // The file is there and as long as it was found to be.
            let _flipped = member.disks.state.flip_bit(name, offset, bit);
        }
        member.rotten = true;
        self.tell(id, || format!("{flips} bits of its state rot"));
    }

    fn change_clock(&mut self, id: u64) {
        let spread = self.plan.clock_permille;
        let permille = 1000 - spread + self.dice.below(2 * spread + 1);
        let now_us = self.now_us();
        if let Some(member) = self.members.get_mut(&id) {
            member.clock.set_speed(permille, now_us);
        }
    }

    /// A fault ends.
    pub(crate) fn mend(&mut self, mending: Mending) -> Checked {
        match mending {
            Mending::Resume(id) => self.resume(id),
            Mending::Ways(ways) => {
                self.tell("net", || format!("mends {ways:?}"));
                ways.iter().for_each(|(from, to)| self.net.mend(*from, *to));
            }
            Mending::Disk(id) => self.mend_disk(id),
            Mending::Flap(ways, left) => {
                let open = left % 2 == 1;
                for (from, to) in &ways {
                    if open {
                        self.net.cut(*from, *to);
                    } else {
                        self.net.mend(*from, *to);
                    }
                }
                if left > 0 || open {
                    let us = within(&mut self.dice, (20_000, 800_000));
                    let next = Mending::Flap(ways, left.saturating_sub(1));
                    self.queue.after(us, Event::Mend(next));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn resume(&mut self, id: u64) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        member.paused = false;
        self.tell(id, || "goes on");
        // The core thread looks at its clock first. Clients and peers have connections of their own, so that what clients
        // asked meanwhile may come before what peers sent much earlier (etcd #20418); of each the order stays.
        let asked_first = self.plan.unnoticed && self.dice.one_in(2);
        let mut held = self.held.remove(&id).unwrap_or_default();
        held.sort_by_key(|event| match event {
            Event::Member(_, _, Happening::Tick) => 0,
            Event::Request(..) if asked_first => 1,
            _ => 2,
        });
        for event in held {
            self.queue.after(0, event);
        }
    }

    fn mend_disk(&mut self, id: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.hung = false;
            member.full = false;
            member.slow_us = 0;
            member.disks.clear_faults();
            self.tell(id, || "has a good disk again");
        }
    }

    /// All faults end; what can run is started.
    pub(crate) fn heal(&mut self) -> Checked {
        self.healing = true;
        self.tell("all", || "faults end");
        self.net.calm_down();
        self.start_newcomers();
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for id in ids {
            self.mend_disk(id);
            if self.members.get(&id).is_some_and(|m| m.paused) {
                self.resume(id);
            }
            if self
                .members
                .get(&id)
                .is_some_and(|m| m.running.is_none() && !m.gone && m.life > 0)
            {
                self.queue.after(1_000, Event::Start(id));
            }
        }
        for client in 0..self.clients.len() {
            self.queue.after(0, Event::Client(client));
        }
        Ok(())
    }
}
