//! Random changes of users and roles, and requests under them, on kvorum and on a real etcd: equal answers, refusals by
//! code and text included.
//!
//! `KVORUM_TEST_AUTH_STEPS` says how many, `KVORUM_TEST_AUTH_SEED` where to begin. With an older etcd, what it did
//! otherwise then is left out.

use std::{collections::HashMap, fmt::Debug};

use kvorum_proto::{authpb, etcdserverpb as pb};
use kvorum_tests::{
    process::{Options, TestDir, start_etcd},
    reference,
};
use prost::bytes::Bytes;
use tonic::metadata::MetadataMap;

use super::with_token;
use crate::{
    number_from_env,
    rpc::{Call, Rpc},
    seed::Seed,
};

const USERS: [&str; 6] = ["root", "alice", "bob", "carol", "nobody", ""];
const ROLES: [&str; 5] = ["root", "reader", "writer", "ghost", ""];
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "\0"];
const PASSWORDS: [&str; 2] = ["pw", "pw2"];

/// One server and the tokens that it gave.
struct Side {
    rpc: Rpc,
    tokens: HashMap<&'static str, String>,
}

impl Side {
    async fn new(url: &str) -> Self {
        let rpc = Rpc::connect(url).await.expect("serving");
        let tokens = HashMap::new();
        Self { rpc, tokens }
    }

    /// What a user shows: the last token, or nothing.
    fn metadata(&self, user: Option<&'static str>) -> MetadataMap {
        let token = user.and_then(|user| self.tokens.get(user));
        token.map_or_else(MetadataMap::new, |token| with_token(token))
    }

    /// The answer without what two servers cannot have in common.
    async fn ask<Q: Call>(&self, as_user: Option<&'static str>, request: Q) -> String
    where
        Q::Answer: Debug,
    {
        match self.rpc.with(&self.metadata(as_user), request).await {
            Ok(answer) => without_header(&format!("{answer:?}")),
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        }
    }

    async fn log_in(&mut self, user: &'static str, password: &str) -> String {
        let request = pb::AuthenticateRequest {
            name: user.to_owned(),
            password: password.to_owned(),
        };
        match self.rpc.with(&MetadataMap::new(), request).await {
            Ok(answer) => {
                self.tokens.insert(user, answer.token);
                "logged in".to_owned()
            }
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        }
    }
}

/// Ids and terms differ; revisions of keys are compared.
fn without_header(text: &str) -> String {
    let Some((before, rest)) = text.split_once("ResponseHeader {") else {
        return text.to_owned();
    };
    let (header, after) = rest.split_once('}').expect("it ends");
    let revision = header.split(", ").find(|field| field.contains("revision"));
    format!("{before}{revision:?}{after}")
}

struct Story {
    seed: Seed,
    /// 3.4 let through what later ones refuse.
    old: bool,
}

impl Story {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.seed.below(of.len() as u64)).expect("small")]
    }

    fn text(&mut self, of: &[&str]) -> String {
        self.one(of).to_owned()
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(self.text(&KEYS))
    }

    /// Often none, which means the key alone.
    fn end(&mut self) -> Bytes {
        match self.seed.below(3) {
            0 => self.key(),
            _ => Bytes::new(),
        }
    }

    /// For permissions: one end for each key. With several, etcd may not find the one to replace, and keep two of the
    /// same interval. An interval without keys is refused, but not by an old etcd.
    fn interval(&mut self) -> (Bytes, Bytes) {
        let (key, end) = self.one(&[
            ("\0", "b"),
            ("a", ""),
            ("b", "d"),
            ("c", "\0"),
            ("d", ""),
            ("e", "b"),
        ]);
        let end = if key == "e" && self.old { "" } else { end };
        (Bytes::from(key), Bytes::from(end))
    }

    /// For requests. Whether somebody may read between two keys that are the wrong way round, where nothing ever is,
    /// depends on how etcd's tree of permissions happens to be built.
    fn span(&mut self) -> (Bytes, Bytes) {
        let (key, end) = (self.key(), self.end());
        match names_keys(&key, &end) {
            true => (key, end),
            false => (key, Bytes::new()),
        }
    }

    /// Root most of the time: else little would happen.
    fn caller(&mut self) -> Option<&'static str> {
        match self.seed.below(8) {
            0 => None,
            1..=4 => Some("root"),
            _ => Some(self.one(&USERS)),
        }
    }
}

fn names_keys(key: &Bytes, end: &Bytes) -> bool {
    end.is_empty() || end.as_ref() == [0] || key < end
}

/// The same on both.
struct Pair {
    kvorum: Side,
    etcd: Side,
    told: Vec<String>,
    refused: usize,
    /// Authentication is on.
    on: bool,
    /// 3.4 looks at tokens also while authentication is off.
    old: bool,
}

impl Pair {
    async fn ask<Q: Call + Clone + Debug>(&mut self, as_user: Option<&'static str>, request: Q)
    where
        Q::Answer: Debug,
    {
        let as_user = as_user.filter(|_| self.on || !self.old);
        let what = format!("{as_user:?}: {} {request:?}", Q::PATH);
        let kvorum = self.kvorum.ask(as_user, request.clone()).await;
        let etcd = self.etcd.ask(as_user, request).await;
        self.compare(what, kvorum, &etcd);
    }

    async fn log_in(&mut self, user: &'static str, password: &str) {
        let kvorum = self.kvorum.log_in(user, password).await;
        let etcd = self.etcd.log_in(user, password).await;
        self.compare(format!("{user} logs in with {password}"), kvorum, &etcd);
    }

    fn compare(&mut self, what: String, kvorum: String, etcd: &str) {
        self.told.push(what);
        let last = self.told.len().saturating_sub(30);
        let told = &self.told[last..];
        assert_eq!(
            kvorum,
            etcd,
            "step {}:\n{}",
            self.told.len(),
            told.join("\n")
        );
        self.refused += usize::from(kvorum.contains(": etcdserver"));
        self.on |= kvorum.starts_with("AuthEnableResponse");
        self.on &= !kvorum.starts_with("AuthDisableResponse");
    }

    /// A change of users or roles, or a question about them.
    async fn manage(&mut self, story: &mut Story) {
        let caller = story.caller();
        let (name, role) = (story.text(&USERS), story.text(&ROLES));
        match story.seed.below(13) {
            0 => {
                let no_password = !story.old && story.seed.below(5) == 0;
                let options = Some(authpb::UserAddOptions { no_password });
                let password = story.text(&PASSWORDS);
                let add = pb::AuthUserAddRequest {
                    name,
                    password,
                    options,
                    ..Default::default()
                };
                self.ask(caller, add).await;
            }
            1 => self.ask(caller, pb::AuthUserDeleteRequest { name }).await,
            2 => {
                let password = story.text(&PASSWORDS);
                let change = pb::AuthUserChangePasswordRequest {
                    name,
                    password,
                    ..Default::default()
                };
                self.ask(caller, change).await;
            }
            3 | 4 => {
                let grant = pb::AuthUserGrantRoleRequest { user: name, role };
                self.ask(caller, grant).await;
            }
            5 => {
                self.ask(caller, pb::AuthUserRevokeRoleRequest { name, role })
                    .await
            }
            6 => {
                // Nobody may ask for the user without a name, and hears that there is none.
                let name = Some(name).filter(|name| !name.is_empty());
                let name = name.unwrap_or_else(|| "nobody".to_owned());
                self.ask(caller, pb::AuthUserGetRequest { name }).await;
            }
            7 => self.ask(caller, pb::AuthUserListRequest {}).await,
            8 => {
                self.ask(caller, pb::AuthRoleAddRequest { name: role })
                    .await
            }
            9 => match story.seed.below(3) {
                0 => self.ask(caller, pb::AuthRoleDeleteRequest { role }).await,
                1 => self.ask(caller, pb::AuthRoleListRequest {}).await,
                // What was granted to it, although it may everything.
                _ if story.old && role == "root" => {}
                _ => self.ask(caller, pb::AuthRoleGetRequest { role }).await,
            },
            _ => self.manage_permissions(caller, role, story).await,
        }
    }

    /// A permission given or taken.
    async fn manage_permissions(
        &mut self,
        caller: Option<&'static str>,
        role: String,
        story: &mut Story,
    ) {
        let (key, range_end) = story.interval();
        if story.seed.below(3) == 0 {
            let revoke = pb::AuthRoleRevokePermissionRequest {
                role,
                key,
                range_end,
            };
            return self.ask(caller, revoke).await;
        }
        let perm_type = i32::try_from(story.seed.below(3)).expect("small");
        let perm = Some(authpb::Permission {
            perm_type,
            key,
            range_end,
        });
        let grant = pb::AuthRoleGrantPermissionRequest { name: role, perm };
        self.ask(caller, grant).await;
    }

    /// A request for keys.
    async fn use_keys(&mut self, story: &mut Story) {
        let caller = story.caller();
        let put = pb::PutRequest {
            key: story.key(),
            prev_kv: story.seed.below(3) == 0,
            ..Default::default()
        };
        let (key, range_end) = story.span();
        let range = pb::RangeRequest {
            key,
            range_end,
            serializable: story.seed.below(4) == 0,
            ..Default::default()
        };
        let (key, range_end) = story.span();
        let delete = pb::DeleteRangeRequest {
            key,
            range_end,
            prev_kv: story.seed.below(3) == 0,
        };
        match story.seed.below(4) {
            0 => self.ask(caller, put).await,
            1 => self.ask(caller, range).await,
            2 => self.ask(caller, delete).await,
            _ => {
                // What nested operations and previous values need, old ones did not ask.
                let put = pb::PutRequest {
                    prev_kv: false,
                    ..put
                };
                let (key, range_end) = story.span();
                let compare = pb::Compare {
                    key,
                    range_end,
                    ..Default::default()
                };
                use pb::request_op::Request::{RequestPut, RequestRange};
                let op = |request| pb::RequestOp {
                    request: Some(request),
                };
                let txn = pb::TxnRequest {
                    compare: vec![compare],
                    success: vec![op(RequestPut(put.clone()))],
                    failure: vec![op(RequestRange(range)), op(RequestPut(put))],
                };
                self.ask(caller, txn).await;
            }
        }
    }

    async fn step(&mut self, story: &mut Story) {
        match story.seed.below(20) {
            0..=8 => self.manage(story).await,
            9..=15 => self.use_keys(story).await,
            16 | 17 => {
                let user = story.one(&USERS);
                let password = story.one(&PASSWORDS);
                self.log_in(user, password).await;
            }
            18 => {
                let caller = story.caller();
                self.ask(caller, pb::AuthEnableRequest {}).await;
                // Whoever switched it on goes on as root.
                for password in PASSWORDS {
                    self.log_in("root", password).await;
                }
            }
            _ if story.seed.below(4) == 0 => {
                let caller = story.caller();
                self.ask(caller, pb::AuthDisableRequest {}).await;
            }
            // Old ones let everybody.
            _ if story.old => {}
            _ => {
                let caller = story.caller();
                let id = i64::try_from(story.seed.below(1 << 40)).expect("small") + 1;
                self.ask(caller, pb::LeaseGrantRequest { ttl: 600, id })
                    .await;
            }
        }
    }
}

#[tokio::test]
async fn users_and_roles_get_the_answers_of_etcd() {
    let Some(etcd) = reference::etcd() else {
        println!("SKIP auth beside etcd: not installed");
        return;
    };
    let dir = TestDir::new("auth-beside");
    let flags = ["--unsafe-no-fsync", "--bcrypt-cost", "4"];
    let member = Options::new(&dir).flag("--bcrypt-cost").flag("4");
    // etcd has no limit.
    let member = member
        .flag("--wrong-passwords-per-minute")
        .flag("60000")
        .start();
    let etcd = start_etcd(&etcd, &dir, &flags);
    let mut pair = Pair {
        kvorum: Side::new(&member.url()).await,
        etcd: Side::new(&etcd.url()).await,
        told: Vec::new(),
        refused: 0,
        on: false,
        old: false,
    };
    let status = pair.etcd.rpc.call(pb::StatusRequest {}).await;
    let version = status.expect("no users yet").version;
    let mut story = Story {
        seed: Seed::new(number_from_env("KVORUM_TEST_AUTH_SEED", 1)),
        old: version.starts_with("3.4"),
    };
    pair.old = story.old;
    let add = pb::AuthUserAddRequest {
        name: "root".to_owned(),
        password: PASSWORDS[0].to_owned(),
        ..Default::default()
    };
    pair.ask(None, add).await;
    let (user, role) = ("root".to_owned(), "root".to_owned());
    pair.ask(None, pb::AuthUserGrantRoleRequest { user, role })
        .await;
    for _ in 0..number_from_env("KVORUM_TEST_AUTH_STEPS", 1_500) {
        pair.step(&mut story).await;
    }
    let (steps, refused) = (pair.told.len(), pair.refused);
    println!("auth beside etcd {version}: {steps} steps, {refused} of them refused alike");
}
