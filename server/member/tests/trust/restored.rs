//! A cluster that goes on from a snapshot, with the certificate authority that it had.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kvorum_member::Caller;
use kvorum_member::offline::{RestoreOptions, Restored, restore};
use kvorum_pki::{Bundle, identity_of};
use kvorum_proto::kvorumpb::{TokenRole, TrustDenial, trust_denial::Subject};

use crate::host::{Host, Scratch, until};

const LIFE: Duration = Duration::from_secs(3600);

async fn saved(host: &Host, dir: &Path) -> PathBuf {
    let mut stream = host.handle().snapshot(&Caller::own()).await.expect("room");
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await.expect("a snapshot") {
        bytes.extend_from_slice(&chunk.blob);
    }
    let file = dir.join("saved.db");
    std::fs::write(&file, bytes).expect("written");
    file
}

fn restored(
    host: &Host,
    file: &Path,
    cluster: &BTreeMap<String, Vec<String>>,
    pki_dir: Option<PathBuf>,
) -> Result<Restored, String> {
    let options = RestoreOptions {
        file: file.to_path_buf(),
        data_dir: host.data_dir(),
        name: host.name.clone(),
        initial_cluster: cluster.clone(),
        peer_urls: vec![host.url()],
        token: "kvorum-cluster".into(),
        skip_hash_check: false,
        bump_revision: 0,
        pki_dir,
    };
    restore(&options).map_err(|error| error.to_string())
}

fn cluster(hosts: &[Host]) -> BTreeMap<String, Vec<String>> {
    let named = |host: &Host| (host.name.clone(), vec![host.url()]);
    hosts.iter().map(named).collect()
}

/// A founder whose state holds a denial and an open token, and a snapshot of it.
async fn before(scratch: &Scratch) -> (Host, PathBuf) {
    let founder = Host::found("old", LIFE).await;
    founder.put("before").await.expect("served");
    let denial = TrustDenial {
        subject: Some(Subject::User("mallory".into())),
        ..TrustDenial::default()
    };
    let denied = founder.handle().trust_deny(denial).await;
    denied.expect("revoked");
    founder.token(TokenRole::Voter, 0).await;
    let file = saved(&founder, &scratch.0).await;
    (founder, file)
}

#[tokio::test]
async fn three_restored_members_go_on_with_the_authority_of_before() {
    let scratch = Scratch::new();
    let (mut founder, file) = before(&scratch).await;
    let mut hosts = ["a", "b", "c"].map(|name| Host::new(name, LIFE));
    let members = cluster(&hosts);
    for host in &mut hosts {
        let done = restored(host, &file, &members, Some(founder.pki_dir()));
        host.member_id = done.expect("restored").member_id;
    }
    let domain = founder.handle().trust().domain().clone();
    let roots: Vec<_> = founder.handle().trust().roots().cloned().collect();
    founder.stop().await;
    // None of them could agree on anything before it knows the others by their certificates.
    for host in &mut hosts {
        host.start().await;
    }
    for host in &hosts {
        let handle = host.handle().clone();
        until("all are known again", || handle.trust().acks().count() == 3).await;
        let trust = handle.trust();
        assert_eq!(trust.domain(), &domain);
        assert_eq!(trust.roots().cloned().collect::<Vec<_>>(), roots);
        assert_eq!(trust.denied_users().count(), 1);
        assert_eq!(trust.tokens().count(), 0);
    }
    hosts[2].put("after").await.expect("served");
    // The authority signs for those who come now.
    let token = hosts[0].token(TokenRole::Learner, 0).await;
    let mut fourth = Host::new("d", LIFE);
    fourth.join(&token).await.expect("it joins");
    for mut host in hosts {
        host.stop().await;
    }
}

#[tokio::test]
async fn a_member_signs_for_the_id_that_it_has_now() {
    let scratch = Scratch::new();
    let (mut founder, file) = before(&scratch).await;
    let mut host = Host::new("a", LIFE);
    let members = cluster(std::slice::from_ref(&host));
    let done = restored(&host, &file, &members, Some(founder.pki_dir()));
    host.member_id = done.expect("restored").member_id;
    assert_ne!(host.member_id, founder.member_id);
    // As if the files had been put there by hand.
    let node = "node.pem";
    std::fs::copy(founder.pki_dir().join(node), host.pki_dir().join(node)).expect("copied");
    founder.stop().await;
    host.start().await;
    let of = |host: &Host| {
        let pem = std::fs::read(host.pki_dir().join(node)).expect("a file");
        let bundle = Bundle::from_pem(&pem).expect("a pair");
        let domain = std::fs::read_to_string(host.pki_dir().join("domain")).expect("a file");
        let domain = domain.trim().parse().expect("a domain");
        let identity = identity_of(bundle.chain().certificates(), Some(&domain));
        identity.expect("a node").member_id()
    };
    until("it has a certificate of its own", || {
        of(&host) == Some(host.member_id.0)
    })
    .await;
    host.stop().await;
}

#[tokio::test]
async fn the_files_of_another_cluster_restore_nothing() {
    let scratch = Scratch::new();
    let (founder, file) = before(&scratch).await;
    let stranger = Host::found("stranger", LIFE).await;
    let host = Host::new("a", LIFE);
    let members = cluster(std::slice::from_ref(&host));
    let refused = restored(&host, &file, &members, Some(stranger.pki_dir()));
    let text = refused.expect_err("another cluster's");
    assert!(text.contains("is of another one"), "{text}");
    assert!(!host.data_dir().exists(), "nothing is left");
    let refused = restored(&host, &file, &members, Some(scratch.0.join("nowhere")));
    refused.expect_err("there is no such directory");

    let done = restored(&host, &file, &members, None).expect("restored");
    let told = done.notes.join("\n");
    assert!(told.contains("--pki-dir"), "{told}");
    assert!(!host.pki_dir().exists(), "the first start makes them");
    drop((founder, stranger));
}
