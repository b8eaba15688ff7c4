//! One check, two servers: what holds for a real etcd must hold for kvorum.

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::{
    process::{Options, Server, TestDir, start_etcd},
    reference,
};
use tonic::{Code, Status};

use crate::rpc::Rpc;

/// Who is being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Kvorum,
    Etcd,
}

/// Runs `check` against a fresh kvorum, and against a fresh etcd where a 3.6 can be had.
pub(crate) async fn on_both(name: &str, check: impl AsyncFn(&Rpc, Side)) {
    on_both_with(&[], name, check).await;
}

/// The same, with flags that both know.
pub(crate) async fn on_both_with(flags: &[&str], name: &str, check: impl AsyncFn(&Rpc, Side)) {
    let dir = TestDir::new(name);
    let options = flags
        .iter()
        .fold(Options::new(&dir), |options, flag| options.flag(*flag));
    let member = options.start();
    let rpc = Rpc::connect(&member.url())
        .await
        .expect("kvorum accepts connections");
    check(&rpc, Side::Kvorum).await;
    alive(&rpc).await;
    drop(member);
    let Some(etcd) = etcd_3_6(&dir, flags).await else {
        return;
    };
    let rpc = Rpc::connect(&etcd.url())
        .await
        .expect("etcd accepts connections");
    check(&rpc, Side::Etcd).await;
}

/// The server still answers, and its store still takes writes.
async fn alive(rpc: &Rpc) {
    rpc.call(put("alive", "yes"))
        .await
        .expect("the server survived and takes a write");
    let kvs = rpc
        .call(get("alive"))
        .await
        .expect("the server survived and reads")
        .kvs;
    assert_eq!(kvs.len(), 1);
}

/// Texts changed between etcd's lines, so only the line of the contract is compared with.
async fn etcd_3_6(dir: &TestDir, flags: &[&str]) -> Option<Server> {
    let flags = [&["--unsafe-no-fsync"], flags].concat();
    let etcd = start_etcd(&reference::etcd()?, dir, &flags);
    let rpc = Rpc::connect(&etcd.url())
        .await
        .expect("etcd accepts connections");
    let status = rpc
        .call(pb::StatusRequest {})
        .await
        .expect("etcd tells its status");
    status.version.starts_with("3.6.").then_some(etcd)
}

/// The call must have failed with this code and exactly this text.
pub(crate) fn refused<A: std::fmt::Debug>(answer: Result<A, Status>, code: Code, text: &str) {
    let status = answer.expect_err("the request must be refused");
    assert_eq!((status.code(), status.message()), (code, text));
}

pub(crate) fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

pub(crate) fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

/// From `key` up to `end`, which is outside.
pub(crate) fn range(key: &str, end: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        range_end: end.to_owned().into(),
        ..get(key)
    }
}

pub(crate) fn delete(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        ..Default::default()
    }
}

/// A transaction without conditions.
pub(crate) fn txn(ops: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest {
        success: ops,
        ..Default::default()
    }
}

pub(crate) fn op(request: impl Into<Op>) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request.into().0),
    }
}

/// One operation inside a transaction.
pub(crate) struct Op(pb::request_op::Request);

macro_rules! operations {
    ($($message:ident: $variant:ident,)*) => {
        $(impl From<pb::$message> for Op {
            fn from(request: pb::$message) -> Self {
                Self(pb::request_op::Request::$variant(request))
            }
        })*
    };
}

operations! {
    RangeRequest: RequestRange,
    PutRequest: RequestPut,
    DeleteRangeRequest: RequestDeleteRange,
    TxnRequest: RequestTxn,
}
