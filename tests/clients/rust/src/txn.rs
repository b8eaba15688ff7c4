//! Transactions.

use etcd_client::{Client, Compare, CompareOp, GetOptions, Txn, TxnOp, TxnOpResponse};

use crate::{Check, Outcome, check, equal, refused};

pub(crate) const CHECKS: &[Check] = &[
    check!("txn: both branches", both_branches),
    check!("txn: comparisons", comparisons),
    check!("txn: nested, and what it sees", nested),
    check!("txn: a key written twice", twice),
];

async fn both_branches(client: &mut Client) -> Outcome {
    let create = || {
        Txn::new()
            .when([Compare::create_revision("rs/txn", CompareOp::Equal, 0)])
            .and_then([TxnOp::put("rs/txn", "1", None)])
            .or_else([TxnOp::get("rs/txn", None)])
    };
    equal(client.txn(create()).await?.succeeded(), true)?;
    let answer = client.txn(create()).await?;
    equal(answer.succeeded(), false)?;
    match answer.op_responses().first() {
        Some(TxnOpResponse::Get(got)) => equal(got.kvs()[0].value(), b"1"),
        other => Err(format!("not a get: {other:?}").into()),
    }
}

async fn comparisons(client: &mut Client) -> Outcome {
    client.put("rs/cmp", "m", None).await?;
    for (compare, holds) in [
        (Compare::value("rs/cmp", CompareOp::Equal, "m"), true),
        (Compare::value("rs/cmp", CompareOp::NotEqual, "m"), false),
        (Compare::value("rs/cmp", CompareOp::Greater, "a"), true),
        (Compare::value("rs/cmp", CompareOp::Less, "a"), false),
        (Compare::version("rs/cmp", CompareOp::Equal, 1), true),
        (Compare::lease("rs/cmp", CompareOp::Equal, 0), true),
        (Compare::value("rs/cmp/none", CompareOp::NotEqual, "m"), false),
        (Compare::version("rs/cmp/none", CompareOp::Equal, 0), true),
        (Compare::value("rs/cmp", CompareOp::Equal, "m").with_prefix(), true),
    ] {
        let shown = format!("{compare:?}");
        let succeeded = client.txn(Txn::new().when([compare])).await?.succeeded();
        equal((&shown, succeeded), (&shown, holds))?;
    }
    Ok(())
}

async fn nested(client: &mut Client) -> Outcome {
    let inner = Txn::new()
        .when([Compare::version("rs/nested/a", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("rs/nested/b", "then", None)])
        .or_else([TxnOp::put("rs/nested/b", "else", None)]);
    let prefix = GetOptions::new().with_prefix();
    let txn = Txn::new().and_then([
        TxnOp::put("rs/nested/a", "1", None),
        TxnOp::txn(inner),
        TxnOp::get("rs/nested/", Some(prefix)),
    ]);
    let answer = client.txn(txn).await?;
    match answer.op_responses().as_slice() {
        [TxnOpResponse::Put(_), TxnOpResponse::Txn(inner), TxnOpResponse::Get(seen)] => {
            equal(inner.succeeded(), true)?;
            let values: Vec<&[u8]> = seen.kvs().iter().map(|kv| kv.value()).collect();
            equal(values, vec![&b"1"[..], &b"then"[..]])?;
            equal(seen.kvs()[0].mod_revision(), seen.kvs()[1].mod_revision())
        }
        other => Err(format!("other operations: {other:?}").into()),
    }
}

async fn twice(client: &mut Client) -> Outcome {
    let txn = Txn::new().and_then([TxnOp::put("rs/d", "1", None), TxnOp::put("rs/d", "2", None)]);
    refused(client.txn(txn).await, "etcdserver: duplicate key given in txn request")
}
