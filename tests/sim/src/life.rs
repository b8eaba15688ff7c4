//! Starts and ends of members.

use kvorum_tests::harness::generate::Dice;

use crate::ledger::{Checked, wrong};
use crate::member::{Refusal, Running, Started};
use crate::shell::{interrupted_flush, write};
use crate::world::{Event, Happening, World};

impl World {
    /// Starts a member, or tries to.
    pub(crate) fn start(&mut self, id: u64) -> Checked {
        let (boot, seed) = (self.next_boot, self.dice.any());
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        if member.running.is_some() || member.gone {
            return Ok(());
        }
        self.next_boot += 1;
        member.life += 1;
        member.disks.clear_faults();
        if member.full {
            member.disks.fill();
        }
        // Power may go again before the member is up.
        let cut = !self.healing && self.dice.one_in(8);
        if cut {
            let op = self.dice.below(40);
            member.disks.log.cut_power_at(op);
            member.disks.state.cut_power_at(op);
        }
        match member.start(&self.plan, boot, seed) {
            Ok(started) => self.started(id, started, cut),
            Err(refusal) => self.not_started(id, refusal, cut),
        }
    }

    fn started(&mut self, id: u64, started: Started, cut: bool) -> Checked {
        let Started { running, recovered } = started;
        let applied = running.told_applied;
        self.figures.starts += 1;
        self.tell(id, || {
            format!(
                "starts: state at {applied}, log {}..{}, {:?}",
                recovered.base.0 + 1,
                recovered.base.0 + recovered.entries.len() as u64,
                recovered.hard_state
            )
        });
        self.ledger
            .recovered(id, recovered.base.0, &recovered.entries)?;
        let digest = running.store.0.borrow().digest();
        if applied > 0 {
            self.ledger.digest(id, applied, digest)?;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.running = Some(running);
        }
        if cut {
            // The power went just after: nothing that follows may be missed.
            self.crash(id, true);
            return Ok(());
        }
        self.later(id, 0, Happening::Tick);
        let us = self.dice.below(self.plan.flush_every_us);
        self.later(id, us, Happening::Store);
        Ok(())
    }

    fn not_started(&mut self, id: u64, refusal: Refusal, cut: bool) -> Checked {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        let again = 50_000 + self.dice.below(1_000_000);
        match refusal {
            Refusal::Disk(reason) => {
                let expected = cut || member.full;
                member.disks = member.disks.after(true, &mut self.dice);
                if !expected && !member.rotten {
                    return wrong(format!("member {id} does not start: {reason}"));
                }
                self.tell(id, || format!("does not start: {reason}"));
                self.queue.after(again, Event::Start(id));
                Ok(())
            }
            Refusal::Damaged(reason) if member.rotten => self.damaged(id, &reason),
            Refusal::Damaged(reason) => {
                wrong(format!("member {id} refuses its own files: {reason}"))
            }
        }
    }

    /// The process, or the whole machine, dies; it is started again by and by.
    pub(crate) fn crash(&mut self, id: u64, power: bool) {
        self.stop(id, power);
        let after = 50_000 + self.dice.below(1_450_000);
        self.queue.after(after, Event::Start(id));
    }

    /// The process ends; what it was just writing may be half done.
    pub(crate) fn stop(&mut self, id: u64, power: bool) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let Some(mut running) = member.running.take() else {
            return;
        };
        member.life += 1;
        member.paused = false;
        interrupt(&mut running, &member.disks, power, &mut self.dice);
        // The image is taken before the files are closed, which writes too.
        let mut disks = member.disks.after(power, &mut self.dice);
        std::mem::swap(&mut member.disks, &mut disks);
        self.held.remove(&id);
        self.hang_up(&running);
        // Who sends to this member notices at the next piece.
        self.transfers.retain(|_, t| t.from != id);
        drop(running);
    }

    /// A member leaves the cluster: its process ends for good.
    pub(crate) fn leaves(&mut self, id: u64) {
        self.tell(id, || "is no longer a member");
        self.stop(id, false);
        if let Some(member) = self.members.get_mut(&id) {
            member.gone = true;
        }
    }

    /// A member's files turned out to be damaged: it is given up, and has to be replaced.
    pub(crate) fn damaged(&mut self, id: u64, reason: &str) -> Checked {
        self.figures.damaged += 1;
        self.tell(id, || format!("gives up: {reason}"));
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        member.gone = true;
        member.life += 1;
        if let Some(running) = member.running.take() {
            self.hang_up(&running);
            // Closing would write what is not to be trusted, and may panic once more.
            std::mem::forget(running);
        }
        self.held.remove(&id);
        // Who sends to this member notices at the next piece.
        self.transfers.retain(|_, t| t.from != id);
        Ok(())
    }
}

/// What was under way may have reached the disk in part.
fn interrupt(running: &mut Running, disks: &crate::member::Disks, power: bool, dice: &mut Dice) {
    if power {
        disks.log.cut_power_at(dice.below(3));
        disks.state.cut_power_at(dice.below(60));
    }
    if !running.writing.is_empty() && dice.one_in(2) {
        // Whether it failed or not, nobody is told any more.
        let _lost = write(running);
    }
    if !running.replica.node().is_installing() && dice.one_in(4) {
        interrupted_flush(running);
    }
}
