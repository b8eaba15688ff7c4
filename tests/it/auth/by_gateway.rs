//! Each route of the JSON gateway as each kind of caller: what gRPC lets pass, and nothing else. Whoever shows a
//! certificate that names a user, and no token, is told that it counts for nothing here, as in etcd; only logging in is
//! open to it.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kvorum_proto::{METHODS, Method};
use rustls::{ClientConfig, pki_types::ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;

use super::{
    Guarded, ROOT, log_in,
    matrix::{ALL, Matrix, Verdict, Who, expected, verdict, watch_verdict},
    messages::{LEASE, May},
    switch_on,
};

/// etcd's text for that.
const NO_NAMES: &str = "CommonName of client sending a request against gateway will be ignored";

/// A route and what shows its rule: the same requests as by gRPC.
struct Route {
    path: &'static str,
    rpc: &'static str,
    may: May,
    body: Value,
}

fn route(path: &'static str, rpc: &'static str, may: May, body: Value) -> Route {
    Route {
        path,
        rpc,
        may,
        body,
    }
}

fn empty(path: &'static str, rpc: &'static str, may: May) -> Route {
    route(path, rpc, may, json!({}))
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

#[rustfmt::skip]
fn keys() -> Vec<Route> {
    let k = json!({ "key": base64("k") });
    let put = json!({ "success": [{ "requestPut": k }] });
    let lease = json!({ "ID": LEASE.to_string() });
    let with_keys = json!({ "ID": LEASE.to_string(), "keys": true });
    vec![
        route("/v3/kv/range", "KV/Range", May::User, k.clone()),
        route("/v3/kv/put", "KV/Put", May::User, k.clone()),
        route("/v3/kv/deleterange", "KV/DeleteRange", May::User, json!({ "key": base64("kx") })),
        route("/v3/kv/txn", "KV/Txn", May::User, put),
        empty("/v3/kv/compaction", "KV/Compact", May::Root),
        route("/v3/watch", "Watch/Watch", May::User, json!({ "create_request": k })),
        route("/v3/lease/grant", "Lease/LeaseGrant", May::Known, json!({ "TTL": "60" })),
        route("/v3/lease/revoke", "Lease/LeaseRevoke", May::User, lease.clone()),
        route("/v3/kv/lease/revoke", "Lease/LeaseRevoke", May::User, lease.clone()),
        route("/v3/lease/keepalive", "Lease/LeaseKeepAlive", May::User, lease.clone()),
        route("/v3/lease/timetolive", "Lease/LeaseTimeToLive", May::User, with_keys.clone()),
        route("/v3/lease/timetolive", "Lease/LeaseTimeToLive", May::Known, lease.clone()),
        route("/v3/kv/lease/timetolive", "Lease/LeaseTimeToLive", May::User, with_keys),
        route("/v3/kv/lease/timetolive", "Lease/LeaseTimeToLive", May::Known, lease),
        empty("/v3/lease/leases", "Lease/LeaseLeases", May::User),
        empty("/v3/kv/lease/leases", "Lease/LeaseLeases", May::User),
    ]
}

#[rustfmt::skip]
fn members() -> Vec<Route> {
    let one = json!({ "ID": "1" });
    let add = json!({ "peerURLs": ["none"], "isLearner": true });
    let update = json!({ "ID": "1", "peerURLs": ["http://127.0.0.1:1"] });
    let lower = json!({ "action": "DEACTIVATE", "alarm": "NOSPACE" });
    vec![
        route("/v3/cluster/member/add", "Cluster/MemberAdd", May::Root, add),
        route("/v3/cluster/member/remove", "Cluster/MemberRemove", May::Root, one.clone()),
        route("/v3/cluster/member/update", "Cluster/MemberUpdate", May::Root, update),
        empty("/v3/cluster/member/list", "Cluster/MemberList", May::Known),
        route("/v3/cluster/member/promote", "Cluster/MemberPromote", May::Root, one),
        empty("/v3/maintenance/alarm", "Maintenance/Alarm", May::Known),
        route("/v3/maintenance/alarm", "Maintenance/Alarm", May::Root, lower),
        empty("/v3/maintenance/status", "Maintenance/Status", May::Known),
        empty("/v3/maintenance/defragment", "Maintenance/Defragment", May::Root),
        empty("/v3/maintenance/hash", "Maintenance/Hash", May::Root),
        empty("/v3/maintenance/hashkv", "Maintenance/HashKV", May::Root),
        empty("/v3/maintenance/snapshot", "Maintenance/Snapshot", May::Root),
        empty("/v3/maintenance/transfer-leadership", "Maintenance/MoveLeader", May::Root),
        empty("/v3/maintenance/downgrade", "Maintenance/Downgrade", May::Root),
    ]
}

#[rustfmt::skip]
fn users() -> Vec<Route> {
    let of = |key: &str, name: &str| json!({ key: name });
    let log_in = json!({ "name": "user", "password": "user" });
    let grant = json!({ "name": "ghost", "perm": {} });
    vec![
        empty("/v3/auth/enable", "Auth/AuthEnable", May::Root),
        empty("/v3/auth/disable", "Auth/AuthDisable", May::Root),
        empty("/v3/auth/status", "Auth/AuthStatus", May::Root),
        route("/v3/auth/authenticate", "Auth/Authenticate", May::All, log_in),
        route("/v3/auth/user/add", "Auth/UserAdd", May::Root, of("name", "newcomer")),
        route("/v3/auth/user/get", "Auth/UserGet", May::User, of("name", "user")),
        route("/v3/auth/user/get", "Auth/UserGet", May::Root, of("name", "ghost")),
        empty("/v3/auth/user/list", "Auth/UserList", May::Root),
        empty("/v3/auth/user/delete", "Auth/UserDelete", May::Root),
        empty("/v3/auth/user/changepw", "Auth/UserChangePassword", May::Root),
        empty("/v3/auth/user/grant", "Auth/UserGrantRole", May::Root),
        empty("/v3/auth/user/revoke", "Auth/UserRevokeRole", May::Root),
        empty("/v3/auth/role/add", "Auth/RoleAdd", May::Root),
        route("/v3/auth/role/get", "Auth/RoleGet", May::User, of("role", "user")),
        route("/v3/auth/role/get", "Auth/RoleGet", May::Root, of("role", "ghost")),
        empty("/v3/auth/role/list", "Auth/RoleList", May::Root),
        empty("/v3/auth/role/delete", "Auth/RoleDelete", May::Root),
        route("/v3/auth/role/grant", "Auth/RoleGrantPermission", May::Root, grant),
        empty("/v3/auth/role/revoke", "Auth/RoleRevokePermission", May::Root),
    ]
}

#[rustfmt::skip]
fn queues(who: Who) -> Vec<Route> {
    let lock = base64(&format!("k-lock-{who:?}"));
    let vote = base64(&format!("k-vote-{who:?}"));
    let leader = json!({ "leader": { "name": vote, "key": base64("k"), "rev": "1" } });
    let name = json!({ "name": vote });
    vec![
        route("/v3/lock/lock", "Lock/Lock", May::User, json!({ "name": lock })),
        route("/v3/lock/unlock", "Lock/Unlock", May::User, json!({ "key": lock })),
        route("/v3/election/campaign", "Election/Campaign", May::User, name.clone()),
        route("/v3/election/proclaim", "Election/Proclaim", May::User, leader.clone()),
        route("/v3/election/leader", "Election/Leader", May::User, name.clone()),
        route("/v3/election/observe", "Election/Observe", May::User, name),
        route("/v3/election/resign", "Election/Resign", May::User, leader),
    ]
}

fn routes(who: Who) -> Vec<Route> {
    [keys(), members(), users(), queues(who)]
        .into_iter()
        .flatten()
        .collect()
}

fn method(rpc: &str) -> &'static Method {
    let found = METHODS.iter().find(|method| {
        let path = method.path();
        path.ends_with(&format!(".{rpc}"))
    });
    found.unwrap_or_else(|| panic!("{rpc}: there is no such call"))
}

/// The first message of the answer, streamed or not.
async fn post(
    member: &Guarded,
    tls: &Arc<ClientConfig>,
    route: &Route,
    token: Option<&str>,
) -> String {
    let mut config = ClientConfig::clone(tls);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let socket = TcpStream::connect(member.address)
        .await
        .expect("it listens");
    let name = ServerName::from(member.address.ip());
    let mut stream = connector.connect(name, socket).await.expect("accepted");
    let (path, body) = (route.path, route.body.to_string());
    let token = token.map_or_else(String::new, |token| format!("Authorization: {token}\r\n"));
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{token}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    let mut piece = [0; 1 << 14];
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Some(begin) = body.find('{')
            && body[begin..].contains('\n')
        {
            let line = body[begin..].lines().next().unwrap_or_default();
            return line.to_owned();
        }
        match stream.read(&mut piece).await {
            // An end without TLS's goodbye is an end as well.
            Ok(0) | Err(_) => {
                let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
                assert!(head.starts_with("HTTP/1.1 "), "{path}: {text:?}");
                return body.to_owned();
            }
            Ok(count) => answer.extend_from_slice(&piece[..count]),
        }
    }
}

fn seen(answer: &str, method: &Method) -> Verdict {
    let Ok(answer) = serde_json::from_str::<Value>(answer) else {
        // A piece of a snapshot.
        assert!(answer.contains("result"), "{answer}");
        return Verdict::Passes;
    };
    if let Some(reason) = answer["result"]["cancel_reason"].as_str() {
        return watch_verdict(reason, method);
    }
    let error = match answer["error"].is_object() {
        true => &answer["error"],
        false => &answer,
    };
    let code = error["grpc_code"].as_i64().or(error["code"].as_i64());
    match (code, error["message"].as_str()) {
        (Some(code), Some(text)) => {
            let code = i32::try_from(code).expect("a code of gRPC");
            verdict(Code::from_i32(code), text, method)
        }
        _ => Verdict::Passes,
    }
}

#[tokio::test]
async fn each_route_of_the_gateway_is_as_open_as_its_call() {
    let member = Guarded::start("auth-gateway-matrix", &[]);
    let (nobody, user) = (member.authority.client(""), member.authority.client("user"));
    let plain = member.certified("").await;
    let certified = member.certified("user").await;
    switch_on(&plain).await;
    let matrix = Matrix {
        plain: &plain,
        certified: &certified,
    };
    matrix.prepare().await;
    let (mut wrong, mut asked) = (Vec::new(), 0);
    for who in ALL {
        for route in routes(who) {
            let method = method(route.rpc);
            // What other calls of these two services may have used up or switched off.
            if matches!(method.service, "etcdserverpb.Auth" | "etcdserverpb.Lease") {
                matrix.prepare().await;
            }
            let token = match who {
                Who::Nobody | Who::Certified => None,
                Who::BadToken => Some("aaaaaaaaaaaaaaaa.1".to_owned()),
                Who::Stranger => Some(log_in(&plain, "stranger").await),
                Who::User => Some(log_in(&plain, "user").await),
                Who::Root => Some(log_in(&plain, ROOT).await),
            };
            asked += 1;
            if who == Who::Certified {
                let answer = post(&member, &user, &route, None).await;
                if method.name == "Authenticate" {
                    assert!(answer.contains("\"token\":"), "{answer}");
                    continue;
                }
                assert!(answer.starts_with(NO_NAMES), "{}: {answer}", route.path);
                continue;
            }
            let answer = post(&member, &nobody, &route, token.as_deref()).await;
            let (seen, expected) = (seen(&answer, method), expected(who, route.may));
            if seen != expected {
                let path = route.path;
                wrong.push(format!(
                    "{path} as {who:?}: {seen:?}, not {expected:?}: {answer}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("auth matrix by the gateway: {asked} calls");
}

/// Nobody forgets a call that the gateway has; which it has not is told where its table is.
#[test]
fn each_call_of_etcd_has_its_route_here() {
    let routes = routes(Who::Nobody);
    for method in METHODS {
        let path = method.path();
        let ours = ["grpc.health.v1.", "kvorumpb."]
            .iter()
            .any(|begin| path[1..].starts_with(begin));
        if ours || method.name == "RangeStream" {
            continue;
        }
        let has = routes
            .iter()
            .any(|route| path.ends_with(&format!(".{}", route.rpc)));
        assert!(has, "{path}");
    }
}
