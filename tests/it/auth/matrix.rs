//! Each RPC of the surface as each kind of caller, on a real process.

use kvorum_proto::{METHODS, Method, etcdserverpb as pb};
use tonic::{Code, metadata::MetadataMap};

use super::{
    Guarded, ROOT, log_in,
    messages::{LEASE, May, Shown, requests},
    switch_on, with_token,
};
use crate::rpc::{Raw, Rpc};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Nobody,
    BadToken,
    Stranger,
    User,
    /// The same, by a certificate.
    Certified,
    Root,
}

pub(super) const ALL: [Who; 6] = [
    Who::Nobody,
    Who::BadToken,
    Who::Stranger,
    Who::User,
    Who::Certified,
    Who::Root,
];

/// How the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passes,
    SayWhoYouAre,
    BadToken,
    Denied,
    NotAdministrator,
}

pub(super) fn expected(who: Who, may: May) -> Verdict {
    match (may, who) {
        (May::All, _) => Verdict::Passes,
        (_, Who::BadToken) => Verdict::BadToken,
        // Who comes without a certificate of the cluster's own, of which this one has none, must have the role root.
        (May::Administrator, Who::Root) => Verdict::Passes,
        (May::Administrator, _) => Verdict::NotAdministrator,
        (_, Who::Nobody) => Verdict::SayWhoYouAre,
        (_, Who::Root) | (May::Known, _) | (May::User, Who::User | Who::Certified) => {
            Verdict::Passes
        }
        (May::User | May::Root, _) => Verdict::Denied,
    }
}

/// etcd's texts, which its clients look for. What passes may fail for any other reason.
pub(super) fn verdict(code: Code, text: &str, method: &Method) -> Verdict {
    // What lies behind locks and elections arrives without its code, in etcd as well.
    let relayed = ["v3lockpb.Lock", "v3electionpb.Election"].contains(&method.service);
    let (wanted, verdict) = match text {
        "etcdserver: user name is empty" => (Code::InvalidArgument, Verdict::SayWhoYouAre),
        "etcdserver: invalid auth token" => (Code::Unauthenticated, Verdict::BadToken),
        "etcdserver: permission denied" => (Code::PermissionDenied, Verdict::Denied),
        _ if text.starts_with("kvorum: only administrators may do this") => {
            (Code::PermissionDenied, Verdict::NotAdministrator)
        }
        _ => return Verdict::Passes,
    };
    let wanted = if relayed { Code::Unknown } else { wanted };
    assert_eq!(code, wanted, "{}: {text}", method.path());
    verdict
}

pub(super) struct Matrix<'a> {
    /// With a certificate that names nobody.
    pub(super) plain: &'a Rpc,
    pub(super) certified: &'a Rpc,
}

impl Matrix<'_> {
    /// Each call with a token of its own: calls of the matrix itself make others worthless.
    async fn caller(&self, who: Who) -> (&Rpc, MetadataMap) {
        let name = match who {
            Who::Nobody => return (self.plain, MetadataMap::new()),
            Who::BadToken => return (self.plain, with_token("aaaaaaaaaaaaaaaa.1")),
            Who::Certified => return (self.certified, MetadataMap::new()),
            Who::Stranger => "stranger",
            Who::User => "user",
            Who::Root => ROOT,
        };
        let token = log_in(self.plain, name).await;
        (self.plain, with_token(&token))
    }

    pub(super) async fn prepare(&self) {
        let nobody = MetadataMap::new();
        let enable = pb::AuthEnableRequest {};
        // Refused unless it was switched off.
        let _ = self.plain.with(&nobody, enable).await;
        let root = with_token(&log_in(self.plain, ROOT).await);
        let grant = pb::LeaseGrantRequest {
            ttl: 600,
            id: LEASE,
        };
        // Refused if it is still there.
        let _ = self.plain.with(&root, grant).await;
        let put = pb::PutRequest {
            key: b"k".as_slice().into(),
            lease: LEASE,
            ..Default::default()
        };
        self.plain.with(&root, put).await.expect("root may");
    }

    async fn ask(&self, method: &Method, shown: &Shown, who: Who) -> Verdict {
        // What the calls of these two services may have used up or switched off.
        if matches!(method.service, "etcdserverpb.Auth" | "etcdserverpb.Lease") {
            self.prepare().await;
        }
        let (rpc, metadata) = self.caller(who).await;
        let message = Raw(shown.message.clone());
        if method.service == "etcdserverpb.Watch" {
            let first: Result<pb::WatchResponse, _> = rpc.first(method, message, metadata).await;
            let told = first.expect("refused on the stream").cancel_reason;
            return watch_verdict(&told, method);
        }
        let first: Result<Raw, _> = rpc.first(method, message, metadata).await;
        match first {
            Ok(_) => Verdict::Passes,
            Err(status) => verdict(status.code(), status.message(), method),
        }
    }
}

/// A refused watch is told with the status as Go prints it.
pub(super) fn watch_verdict(reason: &str, method: &Method) -> Verdict {
    let Some(printed) = reason.strip_prefix("rpc error: code = ") else {
        assert_eq!(reason, "");
        return Verdict::Passes;
    };
    let (code, text) = printed.split_once(" desc = ").expect("as Go prints it");
    let code = match code {
        "InvalidArgument" => Code::InvalidArgument,
        "Unauthenticated" => Code::Unauthenticated,
        "PermissionDenied" => Code::PermissionDenied,
        other => panic!("{other}"),
    };
    verdict(code, text, method)
}

#[tokio::test]
async fn each_call_is_open_to_those_who_may_and_to_nobody_else() {
    let member = Guarded::start("auth-matrix", &[]);
    let plain = member.certified("").await;
    let certified = member.certified("user").await;
    switch_on(&plain).await;
    let matrix = Matrix {
        plain: &plain,
        certified: &certified,
    };
    matrix.prepare().await;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for method in METHODS {
        for who in ALL {
            for shown in requests(method, &format!("{who:?}")) {
                let verdict = matrix.ask(method, &shown, who).await;
                let expected = expected(who, shown.may);
                if verdict != expected {
                    let path = method.path();
                    wrong.push(format!("{path} as {who:?}: {verdict:?}, not {expected:?}"));
                }
                asked += 1;
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("auth matrix: {asked} calls of {} methods", METHODS.len());
}
