//! The Maintenance service: status, alarms, hashes.

use bytes::Bytes;
use kvorum_member::{self as member, Caller, Handle};
use kvorum_proto::etcdserverpb::{
    AlarmMember, AlarmType, DefragmentRequest, DefragmentResponse, DowngradeInfo, HashKvRequest,
    HashKvResponse, HashRequest, HashResponse, StatusRequest, StatusResponse,
};

use crate::{
    error::Status,
    frame::{decode, frame},
    unary::complete,
    version::{SERVER_VERSION, STORAGE_VERSION},
};

pub(crate) fn status(handle: &Handle, caller: &Caller, message: Bytes) -> Result<Bytes, Status> {
    let _: StatusRequest = decode(message)?;
    let status = handle.client_status(caller)?;
    frame(&StatusResponse {
        header: Some(handle.header(status.revision)),
        version: SERVER_VERSION.to_owned(),
        db_size: status.db_size,
        leader: status.leader,
        raft_index: status.committed,
        raft_term: status.term,
        raft_applied_index: status.applied,
        errors: errors(&status),
        db_size_in_use: status.db_size_in_use,
        is_learner: handle.is_learner(),
        storage_version: STORAGE_VERSION.to_owned(),
        db_size_quota: configured_quota(status.quota),
        downgrade_info: Some(DowngradeInfo::default()),
    })
}

pub(crate) async fn alarm(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let mut response = handle.alarm(caller, decode(message)?).await?;
    complete(handle, &mut response.header);
    frame(&response)
}

/// The response has no header; the gateway's clients expect exactly `{}`.
pub(crate) async fn defragment(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let _: DefragmentRequest = decode(message)?;
    handle.defragment(caller).await?;
    frame(&DefragmentResponse { header: None })
}

pub(crate) async fn hash(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let _: HashRequest = decode(message)?;
    let hash = handle.hash(caller).await?;
    frame(&HashResponse {
        header: Some(handle.header(0)),
        hash,
    })
}

pub(crate) async fn hash_kv(
    handle: &Handle,
    caller: &Caller,
    message: Bytes,
) -> Result<Bytes, Status> {
    let request: HashKvRequest = decode(message)?;
    let hashed = handle.hash_kv(caller, request.revision).await?;
    frame(&HashKvResponse {
        header: Some(handle.header(hashed.revision)),
        hash: hashed.hash,
        compact_revision: hashed.compact_revision,
        hash_revision: hashed.hash_revision,
    })
}

/// The quota as etcd reports it: what was configured, and its way to switch the quota off is a negative number.
const fn configured_quota(quota: i64) -> i64 {
    if quota == i64::MAX { -1 } else { quota }
}

/// What is wrong with this member, in etcd's words.
fn errors(status: &member::Status) -> Vec<String> {
    let no_leader = (status.leader == 0).then(|| "etcdserver: no leader".to_owned());
    no_leader
        .into_iter()
        .chain(status.alarms.iter().map(alarm_text))
        .collect()
}

/// The text form of a message in Go, which is what etcd puts here: empty fields absent, a blank after each.
fn alarm_text(alarm: &AlarmMember) -> String {
    let mut text = String::new();
    if alarm.member_id != 0 {
        text.push_str(&format!("memberID:{} ", alarm.member_id));
    }
    match alarm.alarm() {
        AlarmType::None => {}
        raised => text.push_str(&format!("alarm:{} ", raised.as_str_name())),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_that_is_off_reads_as_it_was_configured() {
        assert_eq!(configured_quota(i64::MAX), -1);
        assert_eq!(configured_quota(2 << 30), 2 << 30);
    }

    #[test]
    fn alarms_read_as_in_etcd() {
        let raised = |kind: AlarmType| AlarmMember {
            member_id: 77,
            alarm: kind.into(),
        };
        let status = member::Status {
            leader: 0,
            alarms: vec![raised(AlarmType::Nospace), raised(AlarmType::None)],
            ..Default::default()
        };
        assert_eq!(
            errors(&status),
            [
                "etcdserver: no leader",
                "memberID:77 alarm:NOSPACE ",
                "memberID:77 "
            ]
        );
    }
}
