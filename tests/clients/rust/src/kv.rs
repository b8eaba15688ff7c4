//! Put, get, delete, compaction.

use etcd_client::{Client, DeleteOptions, GetOptions, PutOptions, SortOrder, SortTarget};

use crate::{Check, Outcome, check, equal, refused};

pub(crate) const CHECKS: &[Check] = &[
    check!("kv: put and get", put_and_get),
    check!("kv: ranges", ranges),
    check!("kv: delete", delete),
    check!("kv: compaction", compaction),
    check!("kv: refusals", refusals),
    check!("maintenance: status, members, hash, defragmentation", maintenance),
];

async fn put_and_get(client: &mut Client) -> Outcome {
    let first = client.put("rs/a", "1", None).await?;
    let options = PutOptions::new().with_prev_key();
    let second = client.put("rs/a", "2", Some(options)).await?;
    let first = first.header().ok_or("no header")?.revision();
    equal(second.header().ok_or("no header")?.revision(), first + 1)?;
    equal(second.prev_key().ok_or("no previous value")?.value(), b"1")?;
    let got = client.get("rs/a", None).await?;
    let kv = got.kvs().first().ok_or("not found")?;
    equal((kv.value(), kv.version(), kv.lease()), (&b"2"[..], 2, 0))?;
    equal((kv.create_revision(), kv.mod_revision()), (first, first + 1))?;
    let old = client.get("rs/a", Some(GetOptions::new().with_revision(first))).await?;
    equal(old.kvs()[0].value(), b"1")
}

async fn ranges(client: &mut Client) -> Outcome {
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2")] {
        client.put(format!("rs/range/{key}"), value, None).await?;
    }
    let prefix = || GetOptions::new().with_prefix();
    let by_value = prefix().with_sort(SortTarget::Value, SortOrder::Descend);
    let answer = client.get("rs/range/", Some(by_value)).await?;
    let values: Vec<&[u8]> = answer.kvs().iter().map(|kv| kv.value()).collect();
    equal(values, vec![b"3", b"2", b"1"])?;
    let answer = client.get("rs/range/", Some(prefix().with_limit(2))).await?;
    equal((answer.kvs().len(), answer.more(), answer.count()), (2, true, 3))?;
    let answer = client.get("rs/range/", Some(prefix().with_count_only())).await?;
    equal((answer.kvs().len(), answer.count()), (0, 3))?;
    let answer = client.get("rs/range/", Some(prefix().with_keys_only())).await?;
    equal(answer.kvs()[0].value(), b"")
}

async fn delete(client: &mut Client) -> Outcome {
    client.put("rs/del/a", "1", None).await?;
    client.put("rs/del/b", "2", None).await?;
    let options = DeleteOptions::new().with_prefix().with_prev_key();
    let answer = client.delete("rs/del/", Some(options)).await?;
    equal(answer.deleted(), 2)?;
    equal(answer.prev_kvs()[1].value(), b"2")?;
    equal(client.delete("rs/del/a", None).await?.deleted(), 0)
}

async fn compaction(client: &mut Client) -> Outcome {
    client.put("rs/compact", "1", None).await?;
    let last = client.put("rs/compact", "2", None).await?;
    let last = last.header().ok_or("no header")?.revision();
    client.compact(last, None).await?;
    let options = GetOptions::new().with_revision(last - 1);
    let text = "etcdserver: mvcc: required revision has been compacted";
    refused(client.get("rs/compact", Some(options)).await, text)?;
    refused(client.compact(last, None).await, text)
}

async fn refusals(client: &mut Client) -> Outcome {
    refused(client.put("", "v", None).await, "etcdserver: key is not provided")?;
    let large = "x".repeat(1_600_000);
    refused(client.put("k", large, None).await, "etcdserver: request is too large")?;
    let options = PutOptions::new().with_lease(4711);
    refused(client.put("k", "v", Some(options)).await, "etcdserver: requested lease not found")
}

async fn maintenance(client: &mut Client) -> Outcome {
    let status = client.status().await?;
    equal(status.version().split('.').next(), Some("3"))?;
    equal(status.leader() != 0, true)?;
    let members = client.member_list().await?;
    // Members of a cluster have names of their own, and one may be a little behind another.
    let expected = std::env::var("MEMBERS").map_or(Ok(1), |text| text.parse())?;
    equal(members.members().len(), expected)?;
    if expected == 1 {
        equal(members.members()[0].name(), "default")?;
        equal(client.hash_kv(0).await?.hash(), client.hash_kv(0).await?.hash())?;
    }
    client.defragment().await?;
    Ok(())
}
