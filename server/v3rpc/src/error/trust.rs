//! Codes of what the trust state refuses; etcd has no words for any of it.

use kvorum_core::trust::TrustRefused;

use super::Code;

/// Code and text of each refusal.
pub(super) const fn wire(refused: TrustRefused) -> (Code, &'static str) {
    use Code::{
        Aborted, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, ResourceExhausted,
    };
    match refused {
        TrustRefused::NotReady => (
            FailedPrecondition,
            "kvorum: this cluster has no certificate authority of its own",
        ),
        TrustRefused::Exists => (
            FailedPrecondition,
            "kvorum: this cluster has a certificate authority already",
        ),
        TrustRefused::Malformed => (
            InvalidArgument,
            "kvorum: a field of the request is missing, too long, or makes no sense",
        ),
        TrustRefused::Stale => (
            Aborted,
            "kvorum: the certificate authority has changed meanwhile: try again",
        ),
        TrustRefused::TokenUnknown => (
            NotFound,
            "kvorum: unknown token: it was never made here, or it was revoked or forgotten since",
        ),
        TrustRefused::TokenExpired => (PermissionDenied, "kvorum: expired token: make a new one"),
        TrustRefused::TokenUsed => (
            PermissionDenied,
            "kvorum: used token: it has let somebody in already; make a new one",
        ),
        TrustRefused::TokenRole => (
            PermissionDenied,
            "kvorum: wrong role: this token was made for another purpose",
        ),
        TrustRefused::TooMany => (
            ResourceExhausted,
            "kvorum: too many tokens, certificates or denials are kept already",
        ),
        TrustRefused::NotDenied => (NotFound, "kvorum: there is no such denial"),
        TrustRefused::MemberRemoved => (
            FailedPrecondition,
            "kvorum: this certificate is refused because its member was removed, which cannot be taken back",
        ),
        TrustRefused::UserDenied => (
            PermissionDenied,
            "kvorum: this user was revoked: `kvorum cert unrevoke --user NAME` takes that back",
        ),
        TrustRefused::RotationUnderway => (
            FailedPrecondition,
            "kvorum: a rotation of the certificate authority is under way already",
        ),
        TrustRefused::NoRotation => (
            FailedPrecondition,
            "kvorum: no rotation of the certificate authority is under way",
        ),
        TrustRefused::RotationWaits => (
            FailedPrecondition,
            "kvorum: the rotation still waits for members or clients",
        ),
    }
}
