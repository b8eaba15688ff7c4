//! The tables under single changes, and under thousands of random ones against a plain model.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kvorum_proto::kvorumpb::{
    ConsoleAttempt, ConsoleClose, ConsoleEnd, ConsoleEvent, ConsoleFail, ConsoleLinkCreate,
    ConsoleLinkUse, ConsoleOp, ConsoleOpen, ConsolePassword, ConsoleReset, ConsoleTouch,
    ConsoleVia, console_op::Op,
};

use super::attempts::delay_ms;
use super::*;
use crate::backend::SideChange;

const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA";
const MINUTE: i64 = 60 * 1000;

/// The tables and what was kept of them.
#[derive(Default)]
struct Kept {
    console: Console,
    rows: BTreeMap<String, Bytes>,
    now_ms: i64,
}

impl Kept {
    fn run(&mut self, op: Op) -> Answer {
        let change = ConsoleOp {
            now_unix_ms: self.now_ms,
            op: Some(op),
        };
        let mut notes = Vec::new();
        let answer = self.console.apply(&change, &mut notes);
        for note in notes {
            match note {
                SideChange::MetaPut(key, value) => drop(self.rows.insert(key, value)),
                SideChange::MetaDelete(key) => drop(self.rows.remove(&key)),
                other => panic!("the console keeps rows of the meta table only: {other:?}"),
            }
        }
        answer
    }

    fn attempt(&mut self, account: &str, source: &str) -> Answer {
        self.run(Op::Attempt(ConsoleAttempt {
            account: account.into(),
            source: source.into(),
        }))
    }

    fn open(&mut self, account: &str, source: &str, session: u8) -> Answer {
        let number = self.console.account(account);
        self.run(Op::Open(ConsoleOpen {
            account: account.into(),
            source: source.into(),
            session: digest(session),
            via: ConsoleVia::Password.into(),
            password_number: number.map_or(0, |a| a.password_number),
            ..Default::default()
        }))
    }

    fn link(&mut self, code: u8, first_run: bool) -> Answer {
        self.run(Op::LinkCreate(ConsoleLinkCreate {
            code: digest(code),
            life_ms: 15 * MINUTE,
            first_run,
            ..Default::default()
        }))
    }

    fn use_link(&mut self, code: u8, account: &str, session: u8) -> Answer {
        self.run(Op::LinkUse(ConsoleLinkUse {
            code: digest(code),
            account: account.into(),
            hash: HASH.into(),
            source: "192.0.2.1".into(),
            session: digest(session),
            ..Default::default()
        }))
    }

    fn has(&self, session: u8) -> bool {
        self.console
            .session(&digest(session), self.now_ms)
            .is_some()
    }

    fn assert_comes_back(&self) {
        let mut again = Console::default();
        for (key, value) in &self.rows {
            assert!(again.restore(key, value), "{key} is nobody's row");
        }
        assert_eq!(again, self.console);
    }
}

fn digest(n: u8) -> Bytes {
    Bytes::from(vec![n; 32])
}

/// Tables with one account, `ada`, whose session 1 is open.
fn with_ada() -> Kept {
    let mut kept = Kept {
        now_ms: 1_000_000,
        ..Kept::default()
    };
    assert_eq!(kept.link(1, true), Answer::Done);
    assert_eq!(kept.use_link(1, "ada", 1), Answer::Done);
    kept
}

#[test]
fn a_link_makes_the_first_account_once() {
    let mut kept = with_ada();
    assert!(kept.has(1));
    let again = kept.use_link(1, "eve", 2);
    assert_eq!(again, Answer::Refused(Refusal::LinkUnknown));
    assert!(kept.console.account("eve").is_none());
    assert!(!kept.has(2));
}

#[test]
fn a_first_run_link_is_worthless_once_there_is_an_account() {
    let mut kept = Kept::default();
    assert_eq!(kept.link(1, true), Answer::Done);
    assert_eq!(kept.link(2, true), Answer::Done);
    assert_eq!(kept.use_link(1, "ada", 1), Answer::Done);
    let refused = Answer::Refused(Refusal::LinkNotNeeded);
    assert_eq!(kept.use_link(2, "eve", 2), refused);
    assert_eq!(kept.link(3, true), refused);
}

#[test]
fn a_link_that_comes_late_is_refused_by_the_second() {
    for (late_ms, expected) in [
        (15 * MINUTE - 1, Answer::Done),
        (15 * MINUTE, Answer::Refused(Refusal::LinkExpired)),
        (60 * MINUTE, Answer::Refused(Refusal::LinkExpired)),
        (33 * 24 * 60 * MINUTE, Answer::Refused(Refusal::LinkUnknown)),
    ] {
        let mut kept = Kept::default();
        assert_eq!(kept.link(1, true), Answer::Done);
        kept.now_ms = late_ms;
        assert_eq!(kept.use_link(1, "ada", 1), expected, "after {late_ms} ms");
    }
}

#[test]
fn a_granted_link_sets_a_new_password_and_ends_the_old_sessions() {
    let mut kept = with_ada();
    assert_eq!(kept.open("ada", "192.0.2.1", 2), Answer::Done);
    assert_eq!(kept.link(9, false), Answer::Done);
    assert_eq!(kept.use_link(9, "ada", 3), Answer::Done);
    assert!(!kept.has(1) && !kept.has(2) && kept.has(3));
    let account = kept.console.account("ada").expect("stays");
    assert_eq!(account.password_number, 2);
}

#[test]
fn a_link_of_one_account_is_none_for_another() {
    let mut kept = with_ada();
    let create = ConsoleLinkCreate {
        code: digest(9),
        life_ms: MINUTE,
        account: "ada".into(),
        ..Default::default()
    };
    assert_eq!(kept.run(Op::LinkCreate(create)), Answer::Done);
    let other = kept.use_link(9, "eve", 3);
    assert_eq!(other, Answer::Refused(Refusal::LinkOfOther));
    assert_eq!(kept.use_link(9, "ada", 3), Answer::Done);
}

#[test]
fn five_tries_are_free_and_pauses_double_up_to_a_quarter_of_an_hour() {
    assert_eq!([1, 5].map(delay_ms), [0, 0]);
    assert_eq!([6, 7, 8].map(delay_ms), [1000, 2000, 4000]);
    assert_eq!(
        [15, 16, 1000, u32::MAX].map(delay_ms),
        [512_000, DELAY_MAX_MS, DELAY_MAX_MS, DELAY_MAX_MS]
    );
}

#[test]
fn ten_thousand_guesses_of_a_stranger_are_few_tries() {
    let mut kept = with_ada();
    let mut looked_at = 0;
    // One guess each second, for nearly three hours.
    for _ in 0..10_000 {
        kept.now_ms += 1000;
        if kept.attempt("ada", "203.0.113.7") == Answer::Done {
            looked_at += 1;
        }
    }
    assert!(looked_at < 30, "{looked_at} guesses were looked at");
}

#[test]
fn many_places_share_what_an_account_allows() {
    let mut kept = with_ada();
    let mut looked_at = 0;
    for guess in 0..10_000 {
        kept.now_ms += 1000;
        let source = format!("2001:db8:0:{guess:x}::/64");
        if kept.attempt("ada", &source) == Answer::Done {
            looked_at += 1;
        }
    }
    assert!(looked_at < 30, "{looked_at} guesses were looked at");
    kept.assert_comes_back();
    // The owner comes from where she signed in before, and no stranger's guess is in her way.
    assert_eq!(kept.attempt("ada", "192.0.2.1"), Answer::Done);
    assert_eq!(kept.open("ada", "192.0.2.1", 7), Answer::Done);
}

#[test]
fn made_up_names_and_places_take_bounded_room_and_displace_no_account() {
    let mut kept = with_ada();
    for _ in 0..9 {
        kept.now_ms += 10 * MINUTE;
        kept.attempt("ada", "203.0.113.7");
    }
    let wait_ms = kept.console.wait_ms("ada", "198.51.100.1", kept.now_ms);
    assert!(wait_ms > 0);
    for n in 0..6000 {
        kept.attempt(&format!("nobody{n}"), &format!("s{n}"));
    }
    assert!(kept.console.attempts.len() <= 2048);
    assert_eq!(
        kept.console.wait_ms("ada", "198.51.100.1", kept.now_ms),
        wait_ms
    );
}

#[test]
fn a_success_frees_the_place_and_forgives_the_account_nothing_else() {
    let mut kept = with_ada();
    for _ in 0..6 {
        assert_eq!(kept.attempt("ada", "203.0.113.7"), Answer::Done);
    }
    kept.now_ms += 2000;
    assert_eq!(kept.attempt("ada", "198.51.100.9"), Answer::Done);
    assert_eq!(kept.open("ada", "198.51.100.9", 4), Answer::Done);
    let row = kept.console.attempts.get("account ada").expect("counted");
    assert_eq!(row.failures, 6);
    assert!(!kept.console.attempts.contains_key("source 198.51.100.9"));
}

#[test]
fn a_session_ends_by_silence_and_by_age() {
    let mut kept = with_ada();
    let began = kept.now_ms;
    while kept.has(1) {
        kept.now_ms += SESSION_IDLE_MS - 1;
        let touch = ConsoleTouch { session: digest(1) };
        kept.run(Op::Touch(touch));
    }
    assert!(kept.now_ms - began >= SESSION_LIFE_MS);
    assert_eq!(kept.open("ada", "192.0.2.1", 2), Answer::Done);
    kept.now_ms += SESSION_IDLE_MS - 1;
    assert!(kept.has(2));
    kept.now_ms += 1;
    assert!(!kept.has(2));
    let touch = ConsoleTouch { session: digest(2) };
    let dead = kept.run(Op::Touch(touch));
    assert_eq!(dead, Answer::Refused(Refusal::NoSession));
}

#[test]
fn a_new_password_ends_all_sessions_but_the_new_one() {
    let mut kept = with_ada();
    assert_eq!(kept.open("ada", "192.0.2.1", 2), Answer::Done);
    let change = |number| {
        Op::Password(ConsolePassword {
            session: digest(2),
            session_after: digest(3),
            hash: HASH.into(),
            password_number: number,
            source: "192.0.2.1".into(),
        })
    };
    let stale = kept.run(change(0));
    assert_eq!(stale, Answer::Refused(Refusal::PasswordChanged));
    assert_eq!(kept.run(change(1)), Answer::Done);
    assert!(!kept.has(1) && !kept.has(2) && kept.has(3));
    // Whoever checked the password before it changed does not get in by it.
    let late = Op::Open(ConsoleOpen {
        account: "ada".into(),
        session: digest(4),
        via: ConsoleVia::Password.into(),
        password_number: 1,
        ..Default::default()
    });
    assert_eq!(kept.run(late), Answer::Refused(Refusal::PasswordChanged));
}

#[test]
fn a_session_can_be_ended_by_another_and_only_by_a_live_one() {
    let mut kept = with_ada();
    assert_eq!(kept.open("ada", "198.51.100.4", 2), Answer::Done);
    let end = |by| {
        Op::End(ConsoleEnd {
            by: digest(by),
            handle: digest(2).slice(..8),
            source: "192.0.2.1".into(),
        })
    };
    assert_eq!(kept.run(end(9)), Answer::Refused(Refusal::NoSession));
    assert!(kept.has(2));
    assert_eq!(kept.run(end(1)), Answer::Done);
    assert!(!kept.has(2) && kept.has(1));
}

#[test]
fn a_reset_leaves_events_only() {
    let mut kept = with_ada();
    kept.attempt("ada", "203.0.113.7");
    let reset = ConsoleReset { by: "root".into() };
    assert_eq!(kept.run(Op::Reset(reset)), Answer::Done);
    assert!(!kept.has(1) && !kept.console.has_accounts());
    assert!(
        kept.rows
            .keys()
            .all(|key| key.starts_with("console/event/"))
    );
    assert_eq!(kept.link(5, true), Answer::Done);
}

#[test]
fn events_are_bounded_and_the_oldest_make_way() {
    let mut kept = with_ada();
    for _ in 0..EVENTS_MAX + 50 {
        kept.run(Op::Audit(ConsoleEvent {
            who: "é".repeat(400),
            ..Default::default()
        }));
    }
    let events: Vec<_> = kept.console.events(u64::MAX).collect();
    assert_eq!(events.len(), EVENTS_MAX);
    assert!(events.is_sorted_by_key(|event| std::cmp::Reverse(event.number)));
    assert_eq!(events[0].who.len(), 256);
    assert_eq!(
        kept.rows.len(),
        kept.console.sessions.len() + EVENTS_MAX + 1
    );
    kept.assert_comes_back();
}

fn fail(kept: &mut Kept) {
    kept.run(Op::Fail(ConsoleFail {
        account: "root".into(),
        source: "203.0.113.7".into(),
    }));
}

#[test]
fn strangers_who_guess_do_not_wash_away_what_others_did() {
    let mut kept = with_ada();
    let done = |kept: &Kept| {
        let events = kept.console.events(u64::MAX);
        let done = events.filter(|event| event.result != "refused");
        done.cloned().collect::<Vec<_>>()
    };
    let before = done(&kept);
    assert!(!before.is_empty());
    for _ in 0..EVENTS_MAX + REFUSALS_MAX {
        fail(&mut kept);
    }
    assert_eq!(done(&kept), before);
    kept.run(Op::Audit(ConsoleEvent::default()));
    fail(&mut kept);
    let events: Vec<_> = kept.console.events(u64::MAX).collect();
    assert_eq!(events.len(), before.len() + REFUSALS_MAX + 1);
    assert!(events.is_sorted_by(|a, b| a.number > b.number));
    let last = events[1].number;
    assert_eq!(
        (events[0].number, &*events[0].result),
        (last + 1, "refused")
    );
    let older = kept.console.events(last).next().expect("there are some");
    assert_eq!(older.number, last - 1, "a page ends anywhere");
    kept.assert_comes_back();
}

/// What a version without the second table has kept.
#[test]
fn refusals_among_the_events_are_read_as_they_are() {
    let mut kept = with_ada();
    fail(&mut kept);
    let old: BTreeMap<String, Bytes> = kept
        .rows
        .iter()
        .map(|(key, value)| (key.replace("/refusal/", "/event/"), value.clone()))
        .collect();
    let mut again = Console::default();
    for (key, value) in &old {
        assert!(again.restore(key, value));
    }
    let events = |console: &Console| console.events(u64::MAX).cloned().collect::<Vec<_>>();
    assert_eq!(events(&again), events(&kept.console));
}

/// The clock of whoever had something to propose, also of a member that a stranger asked, is no reason to forget.
#[test]
fn a_clock_that_is_ahead_ends_nobody_elses_session_and_no_pause() {
    let mut kept = with_ada();
    assert_eq!(kept.open("ada", "192.0.2.1", 3), Answer::Done);
    for _ in 0..10 {
        kept.attempt("root", "203.0.113.7");
    }
    let wait_ms = kept.console.wait_ms("root", "203.0.113.7", kept.now_ms);
    assert!(wait_ms > 0);
    let right_ms = kept.now_ms;
    kept.now_ms += 30 * 24 * 60 * MINUTE;
    kept.attempt("bob", "198.51.100.7");
    kept.now_ms = right_ms;
    assert!(kept.has(3));
    assert_eq!(
        kept.console.wait_ms("root", "203.0.113.7", kept.now_ms),
        wait_ms
    );
    kept.now_ms += 33 * 24 * 60 * MINUTE;
    kept.attempt("bob", "198.51.100.7");
    assert!(kept.console.kept_session(&digest(3)).is_none());
    kept.assert_comes_back();
}

/// Small numbers, one after the other, from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// What must hold, in the plainest words.
#[derive(Default)]
struct Model {
    accounts: BTreeSet<String>,
    sessions: BTreeMap<u8, String>,
    /// By code: when it ends, and whether it is for the first account.
    links: BTreeMap<u8, (i64, bool)>,
}

impl Model {
    fn end_sessions_of(&mut self, account: &str) {
        self.sessions.retain(|_, owner| owner != account);
    }

    fn may_use(&self, code: u8, now_ms: i64) -> bool {
        let link = self.links.get(&code);
        link.is_some_and(|(end, first)| now_ms < *end && (!*first || self.accounts.is_empty()))
    }
}

fn step(kept: &mut Kept, model: &mut Model, draw: &mut Draw) {
    let name = ["ada", "bob"][draw.below(2) as usize];
    let (one, two) = (draw.below(8) as u8, draw.below(8) as u8 + 100);
    match draw.below(8) {
        0 => {
            let first_run = draw.below(2) == 0;
            let made = kept.link(one, first_run) == Answer::Done;
            assert_eq!(made, !first_run || model.accounts.is_empty());
            if made {
                model
                    .links
                    .insert(one, (kept.now_ms + 15 * MINUTE, first_run));
            }
        }
        1 => {
            let used = kept.use_link(one, name, two) == Answer::Done;
            assert_eq!(used, model.may_use(one, kept.now_ms));
            if used {
                model.links.remove(&one);
                model.accounts.insert(name.into());
                model.end_sessions_of(name);
                model.sessions.insert(two, name.into());
            }
        }
        2 => {
            let opened = kept.open(name, "198.51.100.4", two) == Answer::Done;
            assert_eq!(opened, model.accounts.contains(name));
            if opened {
                model.sessions.insert(two, name.into());
            }
        }
        3 => {
            let close = ConsoleClose {
                session: digest(two),
                ..Default::default()
            };
            kept.run(Op::Close(close));
            model.sessions.remove(&two);
        }
        4 => change_password(kept, model, two, draw.below(8) as u8 + 100),
        5 if draw.below(20) == 0 => {
            kept.run(Op::Reset(ConsoleReset::default()));
            *model = Model::default();
        }
        6 => drop(kept.attempt(name, "203.0.113.7")),
        _ => kept.now_ms += draw.below(8) as i64 * MINUTE,
    }
}

fn change_password(kept: &mut Kept, model: &mut Model, old: u8, new: u8) {
    let owner = kept.has(old).then(|| model.sessions[&old].clone());
    let account = owner.as_deref().and_then(|name| kept.console.account(name));
    let number = account.map_or(0, |account| account.password_number);
    let change = ConsolePassword {
        session: digest(old),
        session_after: digest(new),
        hash: HASH.into(),
        password_number: number,
        source: "192.0.2.1".into(),
    };
    let done = kept.run(Op::Password(change)) == Answer::Done;
    assert_eq!(done, owner.is_some());
    if let Some(owner) = owner {
        model.end_sessions_of(&owner);
        model.sessions.insert(new, owner);
    }
}

#[test]
fn random_changes_agree_with_the_model_and_survive_a_restart() {
    for seed in 1..=40 {
        let mut draw = Draw(seed * 0x9E37_79B9_7F4A_7C15);
        let (mut kept, mut model) = (Kept::default(), Model::default());
        for _ in 0..500 {
            step(&mut kept, &mut model, &mut draw);
            for n in 100..108 {
                let owner = kept.console.session(&digest(n), kept.now_ms);
                match (owner, model.sessions.get(&n)) {
                    (Some(session), Some(owner)) => assert_eq!(&session.account, owner),
                    (Some(_), None) => panic!("seed {seed}: session {n} outlived its end"),
                    (None, _) => drop(model.sessions.remove(&n)),
                }
            }
        }
        kept.assert_comes_back();
    }
}
