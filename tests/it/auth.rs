//! Users, roles and tokens at the edge of a real process: who may call what, and how it is known who calls.

mod advisories;
mod beside;
mod by_gateway;
mod certificates;
mod lifetimes;
mod matrix;
mod messages;
mod queues;
mod several;

use std::{net::SocketAddr, path::Path, process::Command};

use kvorum_proto::{authpb, etcdserverpb as pb};
use kvorum_tests::process::{Server, TestDir, free_port, kvorum_bin};
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::rpc::Rpc;
use certificates::Authority;

/// Passwords are their owners' names, to keep tests short.
const ROOT: &str = "root";

/// A member of which clients may have certificates.
pub(crate) struct Guarded {
    pub(crate) server: Server,
    pub(crate) address: SocketAddr,
    pub(crate) authority: Authority,
    /// Removed last.
    pub(crate) dir: TestDir,
}

impl Guarded {
    /// Starts it with these flags beside the usual ones. Clients speak TLS on one port, with or without certificates.
    pub(crate) fn start(name: &str, flags: &[&str]) -> Self {
        let dir = TestDir::new(name);
        let authority = Authority::new(dir.path());
        let port = free_port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let server = Server::spawn_on(command(dir.path(), port, flags), "kvorum", port);
        assert!(server.wait_ready_or_end(), "{}", server.log());
        Self {
            server,
            address,
            authority,
            dir,
        }
    }

    /// A connection with a certificate that names this user.
    pub(crate) async fn certified(&self, common_name: &str) -> Rpc {
        let config = self.authority.client(common_name);
        Rpc::connect_tls(self.address, config)
            .await
            .expect("the certificate is good")
    }
}

fn command(dir: &Path, port: u16, flags: &[&str]) -> Command {
    let mut command = Command::new(kvorum_bin());
    command
        .args(["serve", "--name", "default", "--log-format", "json"])
        .arg("--data-dir")
        .arg(dir.join("member"))
        .args(["--listen-client-urls", &format!("https://127.0.0.1:{port}")])
        .args(["--listen-console-url", "none"])
        .args(["--listen-metrics-urls", "none"]);
    for (flag, file) in certificates::FILES {
        command.arg(flag).arg(dir.join(file));
    }
    command.args(["--bcrypt-cost", "4"]).args(flags);
    command
}

/// What a call shows of its caller.
pub(crate) fn with_token(token: &str) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    let value = MetadataValue::try_from(token).expect("a header value");
    metadata.insert("token", value);
    metadata
}

/// A token for whoever has the own name for a password.
pub(crate) async fn log_in(rpc: &Rpc, name: &str) -> String {
    let request = pb::AuthenticateRequest {
        name: name.to_owned(),
        password: name.to_owned(),
    };
    let path = "/etcdserverpb.Auth/Authenticate";
    let answer: Result<pb::AuthenticateResponse, _> =
        rpc.call_with(path, request, MetadataMap::new()).await;
    answer.expect("the password is right").token
}

/// Makes a user with the own name for a password, and one role of the same name that may do this.
pub(crate) async fn add_user(rpc: &Rpc, root: &MetadataMap, name: &str, grants: &[(&str, &str)]) {
    let name = name.to_owned();
    let (user, role) = (name.clone(), name.clone());
    let add = pb::AuthUserAddRequest {
        name: user.clone(),
        password: user.clone(),
        ..Default::default()
    };
    rpc.with(root, add).await.expect("a new user");
    if role != ROOT {
        let add = pb::AuthRoleAddRequest { name: role.clone() };
        rpc.with(root, add).await.expect("a new role");
    }
    for (key, range_end) in grants {
        let permission = authpb::Permission {
            perm_type: authpb::permission::Type::Readwrite.into(),
            key: key.as_bytes().to_vec().into(),
            range_end: range_end.as_bytes().to_vec().into(),
        };
        let grant = pb::AuthRoleGrantPermissionRequest {
            name: role.clone(),
            perm: Some(permission),
        };
        rpc.with(root, grant).await.expect("a new permission");
    }
    let grant = pb::AuthUserGrantRoleRequest { user, role };
    rpc.with(root, grant).await.expect("both exist");
}

/// Switches authentication on, with root, `user` who has the keys from `k` to before `l`, and `stranger` who has none.
pub(crate) async fn switch_on(rpc: &Rpc) {
    let nobody = MetadataMap::new();
    add_user(rpc, &nobody, ROOT, &[]).await;
    add_user(rpc, &nobody, "user", &[("k", "l")]).await;
    add_user(rpc, &nobody, "stranger", &[]).await;
    let enable = pb::AuthEnableRequest {};
    rpc.with(&nobody, enable).await.expect("root exists");
}
