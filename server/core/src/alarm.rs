//! Alarms and the quota that raises one of them. (etcd: server/etcdserver/api/v3alarm, server/storage/quota.go)

use std::collections::BTreeSet;

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use pb::alarm_request::AlarmAction;
use pb::request_op::Request as Op;

use crate::backend::SideChange;

/// Meta keys of raised alarms start with this.
pub const META_PREFIX: &str = "alarm/";

/// The alarms that are raised, by member and type.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    raised: BTreeSet<(u64, i32)>,
}

impl Alarms {
    /// True if any member raised it.
    #[must_use]
    pub fn any(&self, alarm: pb::AlarmType) -> bool {
        self.raised.iter().any(|(_, a)| *a == alarm as i32)
    }

    /// All alarms of a type, `None` for all types.
    #[must_use]
    pub fn list(&self, alarm: i32) -> Vec<pb::AlarmMember> {
        let wanted = self
            .raised
            .iter()
            .filter(|(_, a)| alarm == 0 || *a == alarm);
        wanted
            .map(|(member, a)| pb::AlarmMember {
                member_id: *member,
                alarm: *a,
            })
            .collect()
    }

    /// Carries out a request; the changes are to be kept.
    pub fn apply(
        &mut self,
        r: &pb::AlarmRequest,
        changes: &mut Vec<SideChange>,
    ) -> pb::AlarmResponse {
        let entry = (r.member_id, r.alarm);
        let key = format!("{META_PREFIX}{:016x}/{}", r.member_id, r.alarm);
        let told = vec![pb::AlarmMember {
            member_id: r.member_id,
            alarm: r.alarm,
        }];
        let alarms = match AlarmAction::try_from(r.action) {
            Ok(AlarmAction::Get) => self.list(r.alarm),
            Ok(AlarmAction::Activate) if r.alarm != 0 => {
                if self.raised.insert(entry) {
                    changes.push(SideChange::MetaPut(key, Bytes::new()));
                }
                told
            }
            Ok(AlarmAction::Deactivate) if self.raised.remove(&entry) => {
                changes.push(SideChange::MetaDelete(key));
                told
            }
            _ => Vec::new(),
        };
        pb::AlarmResponse {
            header: None,
            alarms,
        }
    }

    /// Takes an alarm back from the state store. False if the key is not one.
    pub fn restore(&mut self, meta_key: &str) -> bool {
        let parsed = meta_key.strip_prefix(META_PREFIX).and_then(|rest| {
            let (member, alarm) = rest.split_once('/')?;
            Some((u64::from_str_radix(member, 16).ok()?, alarm.parse().ok()?))
        });
        let is_alarm = parsed.is_some();
        self.raised.extend(parsed);
        is_alarm
    }
}

const PUT_BYTES: usize = 256;
const LEASE_BYTES: i64 = 64;

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX / 2)
}

/// What a put may add to the store, bytes.
#[must_use]
pub fn put_cost(r: &pb::PutRequest) -> i64 {
    signed(PUT_BYTES + r.key.len() + r.value.len())
}

/// What a lease may add, bytes.
#[must_use]
pub fn lease_cost() -> i64 {
    LEASE_BYTES
}

/// What the dearer branch of a transaction may add, bytes; 0 if it puts nothing.
#[must_use]
pub fn txn_cost(r: &pb::TxnRequest) -> i64 {
    let branch =
        |ops: &[pb::RequestOp]| -> i64 { ops.iter().map(op_cost).fold(0, i64::saturating_add) };
    branch(&r.success).max(branch(&r.failure))
}

fn op_cost(op: &pb::RequestOp) -> i64 {
    match &op.request {
        Some(Op::RequestPut(r)) => put_cost(r),
        Some(Op::RequestTxn(r)) => txn_cost(r),
        _ => 0,
    }
}
