//! Each call about trust as each kind of caller.

use kvorum_proto::{
    METHODS, Method, etcdserverpb as pb,
    kvorumpb::{
        CertificateKind, ConsoleEvent, RevokeCertificateRequest, RevokeCertificateResponse,
        TokenRevokeRequest, TokenRevokeResponse, revoke_certificate_request::Subject,
    },
};
use tonic::{
    Code, Status,
    metadata::{MetadataMap, MetadataValue},
};

use crate::{
    cluster::Cluster,
    rpc::{Raw, Rpc},
};

fn calls() -> impl Iterator<Item = &'static Method> {
    let ours = |method: &&Method| method.service == "kvorumpb.Trust";
    METHODS.iter().filter(ours)
}

fn with(key: &'static str, value: &str) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert(key, MetadataValue::try_from(value).expect("a header value"));
    metadata
}

/// Whether a caller comes behind the rule; the text if not. What is sent makes no sense, and changes nothing.
async fn ask(rpc: &Rpc, method: &Method, metadata: &MetadataMap) -> Result<(), String> {
    let answer: Result<Raw, Status> = rpc.first(method, Raw::default(), metadata.clone()).await;
    match answer {
        Err(status) if status.message().starts_with("kvorum: only administrators") => {
            assert_eq!(status.code(), Code::PermissionDenied);
            Err(status.message().to_owned())
        }
        Err(status) => {
            assert!(status.message().starts_with("kvorum: "), "{status}");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

/// All calls as one caller: none passes, and the text says this.
async fn all_refused(rpc: &Rpc, metadata: &MetadataMap, part: &str) {
    let mut asked = 0;
    for method in calls() {
        let text = ask(rpc, method, metadata).await.expect_err(method.name);
        assert!(text.contains(part), "{}: {text}", method.name);
        assert!(text.contains("--cert"), "{text}");
        asked += 1;
    }
    assert_eq!(asked, 10);
}

async fn all_pass(rpc: &Rpc, metadata: &MetadataMap) {
    for method in calls().filter(|method| method.name != "RotateCa") {
        let asked = ask(rpc, method, metadata).await;
        asked.unwrap_or_else(|text| panic!("{}: {text}", method.name));
    }
}

#[tokio::test]
async fn nobody_without_an_administrators_certificate_asks_about_trust() {
    let cluster = Cluster::start().await;
    let nobody = cluster.rpc(None).await;
    let none = MetadataMap::new();
    all_refused(&nobody, &none, "shows no certificate").await;
    // While authentication is off, tokens say nothing.
    let token = with("token", "root");
    all_refused(&nobody, &token, "shows no certificate").await;
    let client = cluster.client("root").await;
    let client = cluster.rpc(Some(&client)).await;
    all_refused(&client, &none, "\"root\" is not an administrator's").await;
    let admin = cluster.badge(CertificateKind::Admin, "boss", 0).await;
    let admin = cluster.rpc(Some(&admin)).await;
    all_pass(&admin, &none).await;
    let relayed = with("grpcgateway-accept", "*/*");
    all_refused(&admin, &relayed, "through a gateway").await;
}

/// `role` for the user; the user's password is its name.
async fn add_user(rpc: &Rpc, name: &str, role: &str) {
    let (user, role, none) = (name.to_owned(), role.to_owned(), MetadataMap::new());
    let add = pb::AuthUserAddRequest {
        name: user.clone(),
        password: user.clone(),
        ..Default::default()
    };
    rpc.with(&none, add).await.expect("a new user");
    if role != "root" {
        let name = role.clone();
        rpc.with(&none, pb::AuthRoleAddRequest { name })
            .await
            .expect("a new role");
    }
    let grant = pb::AuthUserGrantRoleRequest { user, role };
    rpc.with(&none, grant).await.expect("granted");
}

async fn log_in(rpc: &Rpc, name: &str) -> MetadataMap {
    let request = pb::AuthenticateRequest {
        name: name.to_owned(),
        password: name.to_owned(),
    };
    let answer = rpc.with(&MetadataMap::new(), request).await;
    with("token", &answer.expect("the password is right").token)
}

#[tokio::test]
async fn with_users_the_role_root_is_as_good_and_a_token_decides() {
    let cluster = Cluster::start().await;
    let nobody = cluster.rpc(None).await;
    let admin = cluster.badge(CertificateKind::Admin, "boss", 0).await;
    let admin = cluster.rpc(Some(&admin)).await;
    add_user(&admin, "root", "root").await;
    add_user(&admin, "ann", "reader").await;
    let none = MetadataMap::new();
    let enable = pb::AuthEnableRequest {};
    admin.with(&none, enable).await.expect("root exists");
    all_refused(&nobody, &none, "or log in as a user").await;
    let (root, ann) = (log_in(&nobody, "root").await, log_in(&nobody, "ann").await);
    all_pass(&nobody, &root).await;
    all_refused(&nobody, &ann, "\"ann\" has not the role root").await;
    // There is no user of this name, and none is needed.
    all_pass(&admin, &none).await;
    // Whoever forwards others' calls does not lend them its own rights.
    all_refused(&admin, &ann, "\"ann\" has not the role root").await;
    let bad = with("token", "aaaaaaaaaaaaaaaa.1");
    for method in calls() {
        let answer: Result<Raw, _> = admin.first(method, Raw::default(), bad.clone()).await;
        let refused = answer.expect_err("a bad token");
        assert_eq!(refused.message(), "etcdserver: invalid auth token");
    }
    // A user by certificate, who has the role root.
    let client = cluster.client("root").await;
    let client = cluster.rpc(Some(&client)).await;
    all_pass(&client, &none).await;
}

/// The role root administers the trust, so whoever could hand it out while authentication is off would take over the
/// authority.
#[tokio::test]
async fn while_authentication_is_off_only_administrators_make_users_and_roles() {
    const OPEN: [&str; 6] = [
        "AuthStatus",
        "Authenticate",
        "UserGet",
        "UserList",
        "RoleGet",
        "RoleList",
    ];
    let cluster = Cluster::start().await;
    let none = MetadataMap::new();
    let nobody = cluster.rpc(None).await;
    let client = cluster.client("mallory").await;
    let client = cluster.rpc(Some(&client)).await;
    let changes = METHODS
        .iter()
        .filter(|method| method.service == "etcdserverpb.Auth" && !OPEN.contains(&method.name));
    let mut asked = 0;
    for method in changes {
        for (caller, part) in [(&nobody, "no certificate"), (&client, "\"mallory\" is not")] {
            let answer: Result<Raw, Status> =
                caller.first(method, Raw::default(), none.clone()).await;
            let refused = answer.expect_err(method.name);
            assert_eq!(refused.code(), Code::PermissionDenied, "{}", method.name);
            assert!(
                refused.message().contains(part),
                "{}: {refused}",
                method.name
            );
        }
        asked += 1;
    }
    assert_eq!(asked, 11);
    // Keys are open to everybody until authentication is on, as they are with etcd.
    let get = pb::RangeRequest {
        key: "a".into(),
        ..Default::default()
    };
    client
        .with(&none, get)
        .await
        .expect("authentication is off");
}

fn events(cluster: &Cluster) -> Vec<ConsoleEvent> {
    let console = cluster.handle.console();
    console.events(u64::MAX).cloned().collect()
}

#[tokio::test]
async fn changes_of_trust_and_of_users_are_written_down_without_secrets() {
    let cluster = Cluster::start().await;
    let none = MetadataMap::new();
    let boss = cluster.badge(CertificateKind::Admin, "boss", 0).await;
    let admin = cluster.rpc(Some(&boss)).await;
    let client = cluster.client("mallory").await;
    let client = cluster.rpc(Some(&client)).await;
    let path = "/kvorumpb.Trust/Revoke";
    let revoke = || RevokeCertificateRequest {
        subject: Some(Subject::User("eve".into())),
    };
    let refused: Result<RevokeCertificateResponse, _> =
        client.call_with(path, revoke(), none.clone()).await;
    refused.expect_err("no administrator");
    let done: Result<RevokeCertificateResponse, _> =
        admin.call_with(path, revoke(), none.clone()).await;
    done.expect("an administrator");
    let unknown = TokenRevokeRequest {
        id: vec![1; 10].into(),
    };
    let refused: Result<TokenRevokeResponse, _> = admin
        .call_with("/kvorumpb.Trust/TokenRevoke", unknown, none.clone())
        .await;
    refused.expect_err("there is no such token");
    let add = pb::AuthUserAddRequest {
        name: "ann".into(),
        password: "hush-hush".into(),
        ..Default::default()
    };
    admin.with(&none, add).await.expect("a new user");
    let told: Vec<_> = events(&cluster)
        .into_iter()
        .map(|e| (e.who, e.from, e.what, e.result, e.detail))
        .collect();
    let line = |what: &str, detail: &str| {
        let [who, from, what, ok, detail] =
            ["boss", "127.0.0.1", what, "ok", detail].map(str::to_owned);
        (who, from, what, ok, detail)
    };
    assert_eq!(
        told,
        [
            line("user added", "ann"),
            line("certificate revoked", "user eve"),
        ]
    );
}

/// Whoever guesses is held up where he is, and nobody else is.
#[tokio::test]
async fn wrong_passwords_from_one_place_are_limited() {
    let cluster = Cluster::start().await;
    let none = MetadataMap::new();
    let admin = cluster.badge(CertificateKind::Admin, "boss", 0).await;
    let admin = cluster.rpc(Some(&admin)).await;
    add_user(&admin, "root", "root").await;
    let enable = pb::AuthEnableRequest {};
    admin.with(&none, enable).await.expect("root exists");
    let nobody = cluster.rpc(None).await;
    let request = |password: &str| pb::AuthenticateRequest {
        name: "root".into(),
        password: password.into(),
    };
    let mut wrong = 0;
    let refused = loop {
        let refused = nobody.with(&none, request("guess")).await;
        let refused = refused.expect_err("a guess");
        if refused.code() != Code::InvalidArgument {
            break refused;
        }
        wrong += 1;
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(refused.message(), "etcdserver: too many requests");
    // Some come back while bcrypt computes.
    assert!((20..60).contains(&wrong), "{wrong}");
    let elsewhere = Some("192.0.2.1".parse().expect("an address"));
    let password = String::from("root").into();
    let token = cluster
        .handle
        .authenticate(elsewhere, "root", password)
        .await;
    token.expect("another place");
}

#[tokio::test]
async fn root_is_not_revoked_as_a_whole() {
    let cluster = Cluster::start().await;
    let admin = cluster.badge(CertificateKind::Admin, "root", 0).await;
    let rpc = cluster.rpc(Some(&admin)).await;
    let revoke = async |subject| {
        let request = RevokeCertificateRequest {
            subject: Some(subject),
        };
        let path = "/kvorumpb.Trust/Revoke";
        let answer: Result<RevokeCertificateResponse, _> =
            rpc.call_with(path, request, MetadataMap::new()).await;
        answer.map(drop)
    };
    let refused = revoke(Subject::User("root".into())).await;
    let refused = refused.expect_err("nobody could take that back");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("serial numbers"), "{refused}");
    // Whoever revokes the own certificate still hears that it was done.
    let own = Subject::Serial(admin.serial.clone().into());
    revoke(own).await.expect("the answer comes before the end");
}
