//! Why a change of the trust state is refused.

/// Why a change of the trust state is refused; each reason has words of its own, as each asks for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustRefused {
    /// There is no authority yet, or none of kvorum's own.
    #[error("this cluster has no certificate authority of its own")]
    NotReady,
    /// There is one already.
    #[error("this cluster has a certificate authority already")]
    Exists,
    /// A field is missing, too long, or makes no sense.
    #[error("the request is malformed")]
    Malformed,
    /// Roots, issuer or rotation changed meanwhile.
    #[error("the certificate authority has changed meanwhile: try again")]
    Stale,
    /// Nobody made such a token, or it was revoked.
    #[error(
        "unknown token: it was never made here, or it was revoked or forgotten since; make a new one"
    )]
    TokenUnknown,
    /// Its time is up.
    #[error("expired token: its time is up; make a new one")]
    TokenExpired,
    /// It was used for another request.
    #[error("used token: it has let somebody in already; make a new one")]
    TokenUsed,
    /// It is good for something else.
    #[error("wrong role: this token was made for another purpose")]
    TokenRole,
    /// As many tokens, certificates or denials as are kept.
    #[error("too many of these are kept already")]
    TooMany,
    /// What is to be allowed again was not denied.
    #[error("there is no such denial")]
    NotDenied,
    /// A certificate that a member made for itself, and the member was removed.
    #[error(
        "this certificate is refused because its member was removed, which cannot be taken back"
    )]
    MemberRemoved,
    /// One rotation at a time.
    #[error("a rotation is under way already")]
    RotationUnderway,
    /// There is none to force or to end.
    #[error("no rotation is under way")]
    NoRotation,
    /// The user was revoked, by whatever it is known.
    #[error("this user was revoked")]
    UserDenied,
    /// Something still needs the old root.
    #[error("the rotation still waits for members or clients")]
    RotationWaits,
}
