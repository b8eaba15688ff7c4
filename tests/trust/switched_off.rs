//! Each call of the surface while authentication is off, at a member whose cluster has an authority of its own: what is
//! the authority's, and what could become it, is for administrators; everything else is for everybody, as in etcd.

use std::time::Duration;

use kvorum_proto::{METHODS, Method, kvorumpb::CertificateKind};
use tonic::{Code, Status, metadata::MetadataMap};

use crate::{
    cluster::Cluster,
    rpc::{Raw, Rpc},
};

/// Calls that wait for something pass when they wait. Whoever is refused hears so, however long that takes.
const WAITS: Duration = Duration::from_millis(300);

/// Written down a second time on purpose: the table of the server is what is tested.
fn is_for_administrators(method: &Method) -> bool {
    const LOOKS: [&str; 6] = [
        "AuthStatus",
        "Authenticate",
        "UserGet",
        "UserList",
        "RoleGet",
        "RoleList",
    ];
    match method.service {
        "kvorumpb.Trust" => true,
        "etcdserverpb.Auth" => !LOOKS.contains(&method.name),
        _ => false,
    }
}

/// What is sent makes no sense, and is refused for other reasons by whoever lets it pass.
async fn is_refused(rpc: &Rpc, method: &Method) -> bool {
    let asked = rpc.first(method, Raw::default(), MetadataMap::new());
    let answer: Result<Raw, Status> = match is_for_administrators(method) {
        true => asked.await,
        false => match tokio::time::timeout(WAITS, asked).await {
            Ok(answer) => answer,
            Err(_) => return false,
        },
    };
    match answer {
        Err(status) if status.message().starts_with("kvorum: only administrators") => {
            assert_eq!(status.code(), Code::PermissionDenied, "{}", method.path());
            true
        }
        Err(status) => {
            let refused = status.message() == "etcdserver: permission denied";
            assert!(!refused, "{}: {status}", method.path());
            false
        }
        Ok(_) => false,
    }
}

#[tokio::test]
async fn while_authentication_is_off_only_what_is_the_authoritys_asks_who_calls() {
    let cluster = Cluster::start().await;
    let nobody = cluster.rpc(None).await;
    let client = cluster.client("app").await;
    let client = cluster.rpc(Some(&client)).await;
    let admin = cluster.badge(CertificateKind::Admin, "boss", 0).await;
    let admin = cluster.rpc(Some(&admin)).await;
    let mut wrong = Vec::new();
    for method in METHODS {
        for (who, rpc, is_admin) in [
            ("nobody", &nobody, false),
            ("a client", &client, false),
            ("an administrator", &admin, true),
        ] {
            let expected = is_for_administrators(method) && !is_admin;
            if is_refused(rpc, method).await != expected {
                let path = method.path();
                wrong.push(format!("{path} as {who}: refused is not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("authentication off: {} calls as 3 callers", METHODS.len());
}
