//! What is not compared literally, for it depends on clocks, disks and the order of hash maps; each rule with its
//! reason. Everything else is compared field by field as it came.

use kvorum_proto::etcdserverpb as pb;

use bytes::Bytes;
use prost::Message;

use crate::{
    differences::Asked,
    messages::{Answer, Rpc},
    ties,
};

/// How far the clocks of two servers may lie apart in what is left of a lease.
const CLOCK_SLACK_S: i64 = 3;

/// Brings both answers into the form in which they must be equal. `terms` are the terms of both sides.
///
/// # Errors
/// In words, what no server may say, whatever the clock or the disk.
pub(crate) fn settle(
    asked: Asked<'_>,
    kvorum: &mut Answer,
    etcd: &mut Answer,
    terms: [u64; 2],
) -> Result<(), String> {
    for (answer, term) in [(&mut *kvorum, terms[0]), (&mut *etcd, terms[1])] {
        // How often a member campaigned before it led is its own history; that it stays the same is not.
        if let Some(header) = answer.header()
            && header.raft_term != 0
        {
            if header.raft_term != term {
                return Err(format!("term {} where {term} is", header.raft_term));
            }
            header.raft_term = 1;
        }
        own(answer, term)?;
    }
    between(kvorum, etcd);
    match asked {
        Asked::Call(Rpc::LeaseGrant, request) => chosen_id(request, kvorum, etcd),
        Asked::Call(rpc, request) => ties::settle(rpc, request, [kvorum, etcd]),
        _ => {}
    }
    Ok(())
}

/// What can be judged on one side alone.
fn own(answer: &mut Answer, term: u64) -> Result<(), String> {
    match answer {
        // etcd lists alarms, the keys of a lease and members in the order of a hash map.
        Answer::Alarm(reply) => reply
            .alarms
            .sort_unstable_by_key(|alarm| (alarm.alarm, alarm.member_id)),
        Answer::LeaseTimeToLive(reply) => reply.keys.sort_unstable(),
        // By expiry, so by the moment at which each server's clock saw each grant and renewal.
        Answer::LeaseLeases(reply) => reply.leases.sort_unstable_by_key(|lease| lease.id),
        Answer::MemberList(reply) => members(reply)?,
        Answer::Status(reply) => status(reply, term)?,
        // CRC of the whole file: says nothing between two implementations.
        Answer::Hash(reply) => reply.hash = 0,
        _ => {}
    }
    Ok(())
}

/// The client URL holds the port, which the test chose.
fn members(reply: &mut pb::MemberListResponse) -> Result<(), String> {
    for member in &mut reply.members {
        for url in &mut member.client_ur_ls {
            if !url.starts_with("http://127.0.0.1:") {
                return Err(format!("client URL {url}"));
            }
            "http://127.0.0.1".clone_into(url);
        }
    }
    Ok(())
}

/// Sizes are each store's own; indexes count entries that only the implementation knows of.
fn status(reply: &mut pb::StatusResponse, term: u64) -> Result<(), String> {
    let sizes = reply.db_size > 0 && reply.db_size_in_use > 0;
    if !sizes || reply.db_size_in_use > reply.db_size {
        return Err(format!(
            "sizes {} and {} in use",
            reply.db_size, reply.db_size_in_use
        ));
    }
    let indexes = reply.raft_applied_index > 0 && reply.raft_applied_index <= reply.raft_index;
    if !indexes || reply.raft_term != term {
        return Err(format!(
            "index {}, applied {}, term {}",
            reply.raft_index, reply.raft_applied_index, reply.raft_term
        ));
    }
    (reply.db_size, reply.db_size_in_use) = (1, 1);
    (reply.raft_index, reply.raft_applied_index) = (1, 1);
    reply.raft_term = 1;
    reply.errors.sort_unstable();
    Ok(())
}

/// What is left of a lease differs by as much as the clocks do.
fn between(kvorum: &mut Answer, etcd: &mut Answer) {
    if let (Answer::LeaseTimeToLive(one), Answer::LeaseTimeToLive(other)) = (kvorum, etcd)
        && one.ttl >= 0
        && other.ttl >= 0
        && (one.ttl - other.ttl).abs() <= CLOCK_SLACK_S
    {
        one.ttl = other.ttl;
    }
}

/// Without an id in the request each server draws one: any positive number.
fn chosen_id(request: &Bytes, kvorum: &mut Answer, etcd: &mut Answer) {
    let Ok(request) = pb::LeaseGrantRequest::decode(request.clone()) else {
        return;
    };
    for answer in [kvorum, etcd] {
        if let Answer::LeaseGrant(reply) = answer
            && request.id == 0
            && reply.id > 0
        {
            reply.id = 1;
        }
    }
}
