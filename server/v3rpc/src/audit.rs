//! What is written down of calls that change whom this cluster trusts and what its users may: who, from where, and what.
//! Never a secret, and nothing of a call that was refused by the rules: strangers would fill the list.

use std::net::IpAddr;

use bytes::Bytes;
use kvorum_core::Error;
use kvorum_member::Handle;
use kvorum_proto::{
    etcdserverpb::{
        AuthRoleAddRequest, AuthRoleDeleteRequest, AuthRoleGrantPermissionRequest,
        AuthRoleRevokePermissionRequest, AuthUserAddRequest, AuthUserChangePasswordRequest,
        AuthUserDeleteRequest, AuthUserGrantRoleRequest, AuthUserRevokeRoleRequest,
    },
    kvorumpb::{
        CertificateIssueRequest, CertificateKind, ConsoleEvent, RevokeCertificateRequest,
        RotateAction, RotateCaRequest, TokenCreateRequest, TokenRevokeRequest, TokenRole,
        revoke_certificate_request::Subject,
    },
};

use crate::{auth::Auth, error::Status, frame::decode, route::Unary, trust::Trust};

/// A change in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    what: &'static str,
    detail: String,
}

/// Who changes something.
#[derive(Clone, Debug)]
pub(crate) struct Author {
    pub(crate) name: String,
    /// None for whoever is in this process.
    pub(crate) from: Option<IpAddr>,
}

fn told(what: &'static str, detail: impl Into<String>) -> Option<Told> {
    let detail = detail.into();
    Some(Told { what, detail })
}

/// What an RPC is about to change; none if it changes nothing of interest, or is not understood.
pub(crate) fn change(rpc: Unary, message: &Bytes) -> Option<Told> {
    let message = message.clone();
    match rpc {
        Unary::Trust(rpc) => of_trust(rpc, message).ok()?,
        Unary::Auth(rpc) => of_auth(rpc, message).ok()?,
        _ => None,
    }
}

fn of_trust(rpc: Trust, message: Bytes) -> Result<Option<Told>, Status> {
    Ok(match rpc {
        Trust::TokenCreate => {
            let wish: TokenCreateRequest = decode(message)?;
            let role = match wish.role() {
                TokenRole::Voter => "voter",
                TokenRole::Learner => "learner",
                TokenRole::Client => "client",
                TokenRole::Admin => "administrator",
                TokenRole::Rejoin => "member that is back",
                TokenRole::Unspecified => "nobody",
            };
            told(
                "join token made",
                match (wish.member_id, &*wish.name) {
                    (0, "") => format!("for any {role}"),
                    (0, name) => format!("for {role} {name}"),
                    (id, _) => format!("for {role}, {id:x}"),
                },
            )
        }
        Trust::TokenRevoke => {
            let revoked: TokenRevokeRequest = decode(message)?;
            told("join token revoked", hex(&revoked.id))
        }
        Trust::CertificateIssue => {
            let wish: CertificateIssueRequest = decode(message)?;
            let kind = match wish.kind() {
                CertificateKind::Admin => "administrator",
                _ => "client",
            };
            told("certificate issued", format!("for {kind} {}", wish.user))
        }
        Trust::Revoke => told("certificate revoked", whom(message)?),
        Trust::Unrevoke => told("revocation taken back", whom(message)?),
        Trust::RotateCa => {
            let request: RotateCaRequest = decode(message)?;
            match request.action() {
                RotateAction::Start => told("change of the root begun", ""),
                RotateAction::Force => {
                    let what = match (request.without_members, request.end_grace) {
                        (true, false) => "without members that cannot be reached",
                        (false, true) => "without the rest of the grace period",
                        _ => {
                            "without members that cannot be reached and the rest of the grace period"
                        }
                    };
                    told("change of the root forced on", what)
                }
                RotateAction::Status => None,
            }
        }
        Trust::TokenList | Trust::CertificateList | Trust::RevocationList | Trust::Status => None,
    })
}

fn whom(message: Bytes) -> Result<String, Status> {
    let request: RevokeCertificateRequest = decode(message)?;
    Ok(match request.subject {
        Some(Subject::Serial(serial)) => format!("certificate {}", hex(&serial)),
        Some(Subject::User(user)) => format!("user {user}"),
        None => String::new(),
    })
}

fn of_auth(rpc: Auth, message: Bytes) -> Result<Option<Told>, Status> {
    Ok(match rpc {
        Auth::Enable => told("authentication switched on", ""),
        Auth::Disable => told("authentication switched off", ""),
        Auth::UserAdd => {
            let request: AuthUserAddRequest = decode(message)?;
            told("user added", request.name)
        }
        Auth::UserDelete => told(
            "user deleted",
            decode::<AuthUserDeleteRequest>(message)?.name,
        ),
        Auth::UserChangePassword => {
            let request: AuthUserChangePasswordRequest = decode(message)?;
            told("user's password changed", request.name)
        }
        Auth::UserGrantRole => {
            let request: AuthUserGrantRoleRequest = decode(message)?;
            let AuthUserGrantRoleRequest { user, role } = request;
            told("role granted", format!("{role} to user {user}"))
        }
        Auth::UserRevokeRole => {
            let request: AuthUserRevokeRoleRequest = decode(message)?;
            let AuthUserRevokeRoleRequest { name, role } = request;
            told("role revoked", format!("{role} from user {name}"))
        }
        Auth::RoleAdd => told("role added", decode::<AuthRoleAddRequest>(message)?.name),
        Auth::RoleDelete => told(
            "role deleted",
            decode::<AuthRoleDeleteRequest>(message)?.role,
        ),
        // Which keys is in the role; the keys themselves may say what is not for everybody's eyes.
        Auth::RoleGrantPermission => {
            let request: AuthRoleGrantPermissionRequest = decode(message)?;
            told("role's permission granted", request.name)
        }
        Auth::RoleRevokePermission => {
            let request: AuthRoleRevokePermissionRequest = decode(message)?;
            told("role's permission revoked", request.role)
        }
        Auth::Status
        | Auth::Authenticate
        | Auth::UserGet
        | Auth::UserList
        | Auth::RoleGet
        | Auth::RoleList => None,
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Writes down a change that was made. It is made, whether that can be written down or not.
pub(crate) async fn write(handle: &Handle, author: Author, told: Told) {
    let Told { what, detail } = told;
    let event = ConsoleEvent {
        who: author.name,
        from: match author.from {
            Some(from) => from.to_canonical().to_string(),
            None => String::new(),
        },
        what: what.to_owned(),
        result: "ok".to_owned(),
        detail,
        ..ConsoleEvent::default()
    };
    let who = event.who.clone();
    let mut written = handle.audit(event.clone()).await;
    if written == Err(Error::LeaderChanged.into()) {
        written = handle.audit(event).await;
    }
    if let Err(error) = written {
        tracing::warn!(%error, what, who, "an event could not be written down");
    }
}

#[cfg(test)]
mod tests {
    use kvorum_proto::METHODS;
    use prost::Message as _;

    use super::*;

    /// The table of routes says which calls there are; a new one that changes something must be told of, too.
    #[test]
    fn every_change_of_trust_and_of_users_is_told_and_no_look() {
        let looks = [
            "TokenList",
            "CertificateList",
            "RevocationList",
            "TrustStatus",
            "AuthStatus",
            "Authenticate",
            "UserGet",
            "UserList",
            "RoleGet",
            "RoleList",
        ];
        let start = RotateCaRequest {
            action: RotateAction::Start.into(),
            ..Default::default()
        };
        let mut changes = 0;
        for method in METHODS {
            if !matches!(method.service, "etcdserverpb.Auth" | "kvorumpb.Trust") {
                continue;
            }
            let rpc = crate::route::unary_of(method).expect("answered");
            let message = match method.name {
                "RotateCa" => start.encode_to_vec().into(),
                _ => Bytes::new(),
            };
            let told = change(rpc, &message).is_some();
            assert_eq!(told, !looks.contains(&method.name), "{}", method.name);
            changes += usize::from(told);
        }
        assert_eq!(changes, 17);
    }

    #[test]
    fn no_password_is_told() {
        let add = AuthUserAddRequest {
            name: "ann".into(),
            password: "hush-1".into(),
            hashed_password: "hush-2".into(),
            ..Default::default()
        };
        let change_password = AuthUserChangePasswordRequest {
            name: "ann".into(),
            password: "hush-1".into(),
            hashed_password: "hush-2".into(),
        };
        for (rpc, message) in [
            (Auth::UserAdd, add.encode_to_vec()),
            (Auth::UserChangePassword, change_password.encode_to_vec()),
        ] {
            let told = change(Unary::Auth(rpc), &message.into()).expect("a change");
            assert_eq!(told.detail, "ann");
        }
    }
}
