//! Leases.

use etcd_client::{
    Client, GetOptions, LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, WatchOptions,
};

use crate::{Check, Outcome, check, equal, refused};

pub(crate) const CHECKS: &[Check] = &[
    check!("lease: grant, attach, revoke", attach_and_revoke),
    check!("lease: keep alive", keep_alive),
    check!("lease: expiry deletes the keys in one revision", expiry),
    check!("lease: an id in use", taken),
];

async fn attach_and_revoke(client: &mut Client) -> Outcome {
    let lease = client.lease_grant(100, None).await?;
    equal(lease.ttl(), 100)?;
    for key in ["rs/lease/b", "rs/lease/a"] {
        client.put(key, "v", Some(PutOptions::new().with_lease(lease.id()))).await?;
    }
    let options = || Some(LeaseTimeToLiveOptions::new().with_keys());
    let left = client.lease_time_to_live(lease.id(), options()).await?;
    equal((left.granted_ttl(), left.keys().len()), (100, 2))?;
    let leases = client.leases().await?;
    equal(leases.leases().iter().any(|other| other.id() == lease.id()), true)?;
    client.lease_revoke(lease.id()).await?;
    let prefix = GetOptions::new().with_prefix();
    equal(client.get("rs/lease/", Some(prefix)).await?.count(), 0)?;
    equal(client.lease_time_to_live(lease.id(), options()).await?.ttl(), -1)?;
    let text = "etcdserver: requested lease not found";
    refused(client.lease_revoke(lease.id()).await, text)
}

async fn keep_alive(client: &mut Client) -> Outcome {
    let lease = client.lease_grant(60, None).await?;
    let (mut keeper, mut answers) = client.lease_keep_alive(lease.id()).await?;
    for _ in 0..3 {
        keeper.keep_alive().await?;
        let answer = answers.message().await?.ok_or("the stream ended")?;
        equal((answer.id(), answer.ttl()), (lease.id(), 60))?;
    }
    client.lease_revoke(lease.id()).await?;
    keeper.keep_alive().await?;
    equal(answers.message().await?.ok_or("the stream ended")?.ttl(), 0)
}

async fn expiry(client: &mut Client) -> Outcome {
    let lease = client.lease_grant(1, None).await?;
    let mut last = 0;
    for key in ["rs/expire/b", "rs/expire/a"] {
        let options = PutOptions::new().with_lease(lease.id());
        let put = client.put(key, "v", Some(options)).await?;
        last = put.header().ok_or("no header")?.revision();
    }
    let options = WatchOptions::new().with_prefix().with_start_revision(last + 1);
    let mut stream = client.watch("rs/expire/", Some(options)).await?;
    loop {
        let answer = stream.message().await?.ok_or("the stream ended")?;
        if answer.events().is_empty() {
            continue;
        }
        let keys: Vec<_> =
            answer.events().iter().filter_map(|event| event.kv()).map(|kv| kv.key()).collect();
        return equal(keys, vec![&b"rs/expire/a"[..], b"rs/expire/b"]);
    }
}

async fn taken(client: &mut Client) -> Outcome {
    let options = || Some(LeaseGrantOptions::new().with_id(4712));
    client.lease_grant(100, options()).await?;
    let text = "etcdserver: lease already exists";
    refused(client.lease_grant(100, options()).await, text)?;
    client.lease_revoke(4712).await?;
    Ok(())
}
