//! What is left to a machine whose member was removed, and that has kept all its keys.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use kvorum_core::MemberId;
use kvorum_core::trust::made_by_member;
use kvorum_member::peer::{
    AskError, PeerEvent, PeerIdentity, PeerOptions, Peers, SnapshotIntake, SnapshotStaging,
};
use kvorum_member::trust::{Keeper, TrustOptions};
use kvorum_member::{Caller, Handle};
use kvorum_pki::{ClientCerts, Serial, files};
use kvorum_proto::kvorumpb::{
    JoinToken, PeerMembersRequest, PeerReplaceRequest, PeerRequest, PeerStatusRequest, TokenRole,
    peer_reply::Told, peer_request::Ask,
};

use crate::host::{Host, PATIENCE, in_the_end, three, until};

const LIFE: Duration = Duration::from_secs(3600);

/// Takes no snapshots.
struct Closed;

impl SnapshotStaging for Closed {
    fn begin(&self) -> Result<Box<dyn SnapshotIntake>, String> {
        Err("nobody would keep it".into())
    }
}

/// The transport of a member with the keys of this host, which says that it is somebody.
fn speaks(host: &Host, as_member: MemberId, handle: &Handle) -> (Peers, Receiver<PeerEvent>) {
    let keeper = Keeper::open(TrustOptions {
        pki_dir: host.pki_dir(),
        member_id: host.member_id,
        node_life: LIFE,
        client_life: LIFE,
        console_life: LIFE,
        names: vec!["127.0.0.1".into()],
        client_certs: ClientCerts::Required,
    });
    let keeper = keeper.expect("the files are in order");
    let peers = Peers::start(PeerOptions {
        tls: Some(keeper.peer_tls()),
        election_timeout: Duration::from_millis(600),
        ..PeerOptions::default()
    });
    let peers = peers.expect("the transport starts");
    let identity = PeerIdentity {
        cluster_id: handle.identity().cluster_id,
        member_id: as_member,
        boot: 77,
    };
    let (tell, told) = channel();
    // Who has heard enough does not listen any more.
    let events = Arc::new(move |event| drop(tell.send(event)));
    peers.begin(identity, events, Arc::new(drop), Arc::new(Closed));
    (peers, told)
}

async fn asks(peers: &Peers, of: &Host, ask: Ask) -> Result<Told, AskError> {
    asks_for(PATIENCE, peers, of, ask).await
}

/// The same, for so long where nobody answers.
async fn asks_for(
    patience: Duration,
    peers: &Peers,
    of: &Host,
    ask: Ask,
) -> Result<Told, AskError> {
    let request = PeerRequest { ask: Some(ask) };
    let asking = peers.ask_later(&[of.url()], request, patience);
    asking.await.expect("the transport runs")
}

fn replacement(of: MemberId) -> Ask {
    Ask::Replace(PeerReplaceRequest {
        old_member: of.0,
        name: "new".into(),
        peer_urls: vec!["https://127.0.0.1:1".into()],
        attempt: 7,
        ..PeerReplaceRequest::default()
    })
}

/// Removes the third, which has kept its keys; its administrator is refused everywhere.
async fn evict(hosts: &mut [Host; 3]) -> Handle {
    let gone = hosts[2].member_id;
    let handle = hosts[0].handle().clone();
    let its_admin = |trust: &kvorum_core::trust::Trust| {
        let mut listed = trust.certificates();
        let own = listed.find(|c| c.issued_by == made_by_member(gone));
        own.map(|c| c.serial.clone())
    };
    until("its administrator's certificate is listed", || {
        its_admin(&handle.trust()).is_some()
    })
    .await;
    let serial = its_admin(&handle.trust()).expect("listed");
    hosts[2].stop().await;
    let remove = async || handle.member_remove(&Caller::own(), gone).await;
    let removed = in_the_end("two are enough", remove).await;
    assert_eq!(removed.len(), 2);
    for host in &hosts[..2] {
        until("its administrator is refused", || {
            host.handle().trust().denies_serial(&serial)
        })
        .await;
    }
    until("it is written down when", || {
        handle.trust().next_evicted().is_none()
    })
    .await;
    let denied = handle.trust();
    let denied: Vec<_> = denied.denied_serials().collect();
    assert_eq!(denied.len(), 1);
    assert!(denied[0].since_unix_s > 0);
    handle
}

/// The id of a member that people have added is made of its URLs and the second: the same digits, cut elsewhere, must not
/// get anybody a certificate for it.
async fn takes_nobodys_place(peers: &Peers, host: &Host, gone: MemberId) {
    let handle = host.handle();
    let urls = ["https://127.0.0.1:4567".to_owned()];
    let add = async || handle.member_add(&Caller::own(), &urls, true).await;
    let victim = in_the_end("a learner", add).await.member;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs();
    let key = kvorum_pki::KeyPair::generate().expect("a key");
    let csr_der: bytes::Bytes = kvorum_pki::csr::create(&key).expect("a request").into();
    for second in now - 30..=now {
        for (port, attempt) in [("45", format!("67{second}")), ("4567", second.to_string())] {
            let ask = Ask::Replace(PeerReplaceRequest {
                old_member: gone.0,
                name: "new".into(),
                peer_urls: vec![format!("https://127.0.0.1:{port}")],
                attempt: attempt.parse().expect("a number"),
                csr_der: csr_der.clone(),
            });
            let told = asks(peers, host, ask).await;
            assert!(matches!(told, Err(AskError::Refused(_))), "{told:?}");
        }
    }
    let removed = handle
        .member_remove(&Caller::own(), MemberId(victim.id))
        .await;
    removed.expect("it never ran");
}

#[tokio::test]
async fn who_was_removed_hears_so_and_can_do_nothing_else() {
    let mut hosts = three(LIFE).await;
    let (gone, other) = (hosts[2].member_id, hosts[1].member_id);
    let handle = evict(&mut hosts).await;
    let (peers, told) = speaks(&hosts[2], gone, &handle);
    peers.set_members(&handle.members(), &BTreeSet::new());
    let mut by = BTreeSet::new();
    until("both tell it", || {
        for event in told.try_iter() {
            match event {
                PeerEvent::Removed { by: member } => drop(by.insert(member)),
                PeerEvent::Connected { .. } => panic!("a lane was opened"),
                _ => {}
            }
        }
        by.len() == 2
    })
    .await;
    assert!(peers.active().is_empty());
    let refused = |answer: Result<Told, AskError>| match answer {
        Err(AskError::Refused(why)) => why,
        Ok(_) => panic!("answered"),
        Err(error) => panic!("{error}"),
    };
    let members = || Ask::Members(PeerMembersRequest::default());
    let Ok(Told::Members(known)) = asks(&peers, &hosts[0], members()).await else {
        panic!("it may hear who the members are");
    };
    assert_eq!(known.removed, [gone.0]);
    for (ask, why) in [
        (replacement(other), "a member asks for itself only"),
        (replacement(gone), "member not found"),
        (
            Ask::Status(PeerStatusRequest::default()),
            "permanently removed",
        ),
    ] {
        let told = refused(asks(&peers, &hosts[0], ask).await);
        assert!(told.contains(why), "{told}");
    }
    takes_nobodys_place(&peers, &hosts[0], gone).await;
    drop(peers);

    // The key speaks for no other member.
    let (peers, _told) = speaks(&hosts[2], other, &handle);
    let asked = asks_for(Duration::from_secs(5), &peers, &hosts[0], members()).await;
    assert!(matches!(asked, Err(AskError::Unreachable(_))), "{asked:?}");
    drop(peers);
    let rejoin = JoinToken {
        role: TokenRole::Rejoin.into(),
        member_id: gone.0,
        ..JoinToken::default()
    };
    let made = handle.trust_token_create("test", &rejoin, 0).await;
    assert!(made.is_err(), "there is no such member");
    assert_eq!(handle.members().len(), 2);
    hosts[1].put("the others go on").await.expect("served");
}

#[tokio::test]
async fn a_member_whose_own_administrator_was_revoked_makes_another_by_itself() {
    let host = Host::found("a", LIFE).await;
    let serial = || {
        let pem = files::read_secret(&host.pki_dir(), files::ADMIN_PEM).expect("ours");
        let bundle = kvorum_pki::Bundle::from_pem(&pem?).expect("a pair");
        bundle.chain().serial().ok()
    };
    until("it has one", || serial().is_some()).await;
    let first = serial().expect("it is there");
    let denial = kvorum_proto::kvorumpb::TrustDenial {
        subject: Some(kvorum_proto::kvorumpb::trust_denial::Subject::Serial(
            first.as_bytes().to_vec().into(),
        )),
        ..Default::default()
    };
    host.handle().trust_deny(denial).await.expect("denied");
    until("there is another", || serial() != Some(first.clone())).await;
    let trust = host.handle().trust();
    assert!(trust.denies_serial(first.as_bytes()));
    let second: Serial = serial().expect("it is there");
    // A crash came between the writes of the files that etcdctl reads.
    let mut host = host;
    let (cert, key) = (
        host.pki_dir().join(files::ADMIN_CRT),
        host.pki_dir().join(files::ADMIN_KEY),
    );
    // It is the last of the three files to be put in place.
    let bundle = kvorum_pki::Bundle::from_pem(
        &files::read_secret(&host.pki_dir(), files::ADMIN_PEM)
            .expect("ours")
            .expect("it is there"),
    );
    let whole = bundle.expect("a pair").key().to_pem().as_bytes().to_vec();
    until("its key for etcdctl is in place", || {
        std::fs::read(&key).is_ok_and(|key| key == whole)
    })
    .await;
    host.stop().await;
    files::write_secret(&host.pki_dir(), files::ADMIN_KEY, b"of before").expect("written");
    std::fs::remove_file(&cert).expect("removed");
    host.start().await;
    assert_eq!(std::fs::read(&key).expect("a file"), whole);
    assert!(cert.exists());
    let serves = host.handle().clone();
    until("it is back", || serves.trust().is_ready()).await;
    assert!(!host.handle().trust().denies_serial(second.as_bytes()));
}
