//! The key pages once authentication is on: for administrators who are signed in, and for nobody else.

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::process::{Options, Server, TestDir};
use serde_json::json;

use super::{Browser, PASSWORD, invitation, options};
use crate::rpc::Rpc;

/// A key with two versions, and a user root.
async fn with_authentication(server: &Server) {
    let rpc = Rpc::connect(&server.url()).await.expect("up");
    for value in ["first", "second"] {
        let put = pb::PutRequest {
            key: "secret/a".into(),
            value: value.into(),
            ..Default::default()
        };
        rpc.call(put).await.expect("written");
    }
    let root = || "root".to_owned();
    let add = pb::AuthUserAddRequest {
        name: root(),
        password: PASSWORD.to_owned(),
        ..Default::default()
    };
    rpc.call(add).await.expect("added");
    rpc.call(pb::AuthRoleAddRequest { name: root() })
        .await
        .expect("added");
    let grant = pb::AuthUserGrantRoleRequest {
        user: root(),
        role: root(),
    };
    rpc.call(grant).await.expect("granted");
    rpc.call(pb::AuthEnableRequest {}).await.expect("enabled");
    let get = pb::RangeRequest {
        key: "secret/a".into(),
        ..Default::default()
    };
    rpc.call(get).await.expect_err("nobody may read");
}

/// `/`, `secret/a` twice, in base64.
const PAGES: [&str; 3] = [
    "/admin/v1/keys?prefix=&delimiter=/",
    "/admin/v1/key?key=c2VjcmV0L2E",
    "/admin/v1/key/history?key=c2VjcmV0L2E",
];

#[tokio::test]
async fn an_administrator_who_is_signed_in_sees_keys_also_with_authentication_on() {
    let dir = TestDir::new("console-keys");
    let server = options(&dir).start();
    let mut browser = Browser::of(&server);
    let setup = json!({"code": invitation(&server), "account": "ada", "password": PASSWORD});
    assert_eq!(browser.post("/admin/v1/setup", &setup).status, 200);
    with_authentication(&server).await;
    let mut stranger = Browser::of(&server);
    for page in PAGES {
        let seen = browser.get(page);
        assert_eq!(seen.status, 200, "{page}: {}", seen.body);
        assert!(seen.body.to_string().contains("secret/"), "{}", seen.body);
        assert_eq!(stranger.get(page).status, 401, "{page}");
    }
    let changes = browser.get(PAGES[2]).body;
    assert_eq!(changes["versions"].as_array().map(Vec::len), Some(2));
    assert_eq!(browser.post("/admin/v1/logout", &json!({})).status, 200);
    assert_eq!(browser.get(PAGES[1]).status, 401);
}

/// Without a login there is no administrator, so the console is told no more than anybody.
#[tokio::test]
async fn a_console_without_a_login_shows_no_keys_once_authentication_is_on() {
    let dir = TestDir::new("console-nobody");
    let server = Options::new(&dir).flag("--console-login=off").start();
    let mut browser = Browser::of(&server);
    assert_eq!(browser.get(PAGES[0]).status, 200);
    with_authentication(&server).await;
    for page in PAGES {
        let refused = browser.get(page);
        assert_eq!(refused.status, 403, "{page}: {}", refused.body);
        let told = refused.body["message"].as_str().unwrap_or_default();
        assert!(told.contains("--console-login required"), "{told}");
    }
    assert_eq!(browser.get("/admin/v1/overview").status, 200);
}
