//! Scripted tests of a node that is alone.

use kvorum_proto::kvorumpb::{Command, EntryBatch};
use prost::Message;

use super::{Node, NodeOptions, Ready, Start, encode_conf_state};
use crate::error::Error;
use crate::log::{Append, Entry, HardState};
use crate::types::Index;

const ID: u64 = 3;

fn node(start: Start) -> Node {
    let options = NodeOptions {
        id: ID,
        election_ticks: 10,
        heartbeat_ticks: 1,
        seed: 1,
    };
    let conf_state = encode_conf_state(&[ID]);
    Node::new(
        options,
        Start {
            conf_state,
            ..start
        },
    )
    .expect("a valid start")
}

/// Does what a log thread would, at once; gives the groups and what was committed.
fn settle(node: &mut Node) -> (Vec<Append>, Vec<Entry>) {
    let (mut ready, mut groups, mut committed) = (Ready::default(), Vec::new(), Vec::new());
    while node.ready(&mut ready) {
        let appends = std::mem::take(&mut ready.appends);
        for group in &appends {
            node.persisted(group.number, &mut ready);
        }
        groups.extend(appends);
        let entries = std::mem::take(&mut ready.committed);
        if let Some(last) = entries.last() {
            node.applied(Index(last.index));
        }
        committed.extend(entries);
    }
    (groups, committed)
}

fn command(request_id: u64) -> Command {
    Command {
        request_id,
        op: None,
        stamp: None,
        caller: None,
    }
}

fn ids(entries: &[Entry]) -> Vec<u64> {
    let batches = entries
        .iter()
        .map(|e| EntryBatch::decode(e.data.clone()).expect("a batch"));
    batches
        .flat_map(|b| b.commands)
        .map(|c| c.request_id)
        .collect()
}

#[test]
fn a_sole_voter_leads_after_its_first_tick() {
    let mut node = node(Start::default());
    assert_eq!(node.propose(vec![command(1)]), Err(Error::NoLeader));
    node.tick(true);
    settle(&mut node);
    assert!(node.leadership().is_leader && node.leads_surely() && node.is_alone());
}

#[test]
fn nothing_is_committed_before_it_is_durable() {
    let mut node = node(Start::default());
    node.tick(true);
    settle(&mut node);
    node.propose(vec![command(1), command(2)])
        .expect("it leads");
    let mut ready = Ready::default();
    while node.ready(&mut ready) {}
    assert_eq!(ready.appends.len(), 1);
    assert!(ready.committed.is_empty());
    let number = ready.appends[0].number;
    node.persisted(number, &mut ready);
    while node.ready(&mut ready) {}
    assert_eq!(ids(&ready.committed), [1, 2]);
}

#[test]
fn commands_share_an_entry_up_to_its_size() {
    let mut node = node(Start::default());
    node.tick(true);
    settle(&mut node);
    let put = |id: u64| {
        use kvorum_proto::kvorumpb::command::Op;
        let value = vec![0; 100 << 10].into();
        let put = kvorum_proto::etcdserverpb::PutRequest {
            value,
            ..Default::default()
        };
        Command {
            request_id: id,
            op: Some(Op::Put(put)),
            stamp: None,
            caller: None,
        }
    };
    node.propose((1..=5).map(put).collect()).expect("it leads");
    let (_, committed) = settle(&mut node);
    assert_eq!(committed.len(), 3, "two of 100 KiB fit into one");
    assert_eq!(ids(&committed), [1, 2, 3, 4, 5]);
}

#[test]
fn a_restart_goes_on_where_the_log_ends() {
    let mut first = node(Start::default());
    first.tick(true);
    let (mut groups, _) = settle(&mut first);
    first.propose(vec![command(1)]).expect("it leads");
    groups.extend(settle(&mut first).0);
    let entries: Vec<Entry> = groups.iter().flat_map(|g| g.entries.clone()).collect();
    let hard_state = groups
        .iter()
        .rev()
        .find_map(|g| g.hard_state)
        .unwrap_or_default();
    let mut again = node(Start {
        hard_state,
        entries,
        ..Start::default()
    });
    again.tick(true);
    let (_, committed) = settle(&mut again);
    assert_eq!(ids(&committed), [1]);
    assert!(again.leadership().term > first.leadership().term);
}

#[test]
fn a_log_with_a_hole_before_it_is_refused() {
    let entry = Entry {
        term: 1,
        index: 9,
        kind: crate::log::EntryKind::Normal,
        data: bytes::Bytes::new(),
    };
    let start = Start {
        conf_state: encode_conf_state(&[ID]),
        hard_state: HardState {
            term: 1,
            vote: ID,
            commit: 9,
        },
        entries: vec![entry],
        applied: Index(4),
        ..Start::default()
    };
    let options = NodeOptions {
        id: ID,
        election_ticks: 10,
        heartbeat_ticks: 1,
        seed: 1,
    };
    let refused = Node::new(options, start).expect_err("entries 5 to 8 are missing");
    assert!(refused.contains("begins at entry 9"), "{refused}");
}
