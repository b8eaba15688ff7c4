//! The service kvorumpb.Trust: tokens to join with, certificates, who is not accepted any more, and the change of the
//! root. Who may ask is decided by the rules of the routes; here it is known who does.

use bytes::Bytes;
use kvorum_core::trust::Stage;
use kvorum_member::{
    Handle,
    trust::{TrustCallError, Without},
};
use kvorum_proto::etcdserverpb::ResponseHeader;
use kvorum_proto::kvorumpb::{
    CertificateIssueRequest, CertificateIssueResponse, CertificateKind, CertificateListRequest,
    CertificateListResponse, JoinToken, OldCertificate, RevocationListRequest,
    RevocationListResponse, RevokeCertificateRequest, RevokeCertificateResponse, RotateAction,
    RotateCaRequest, RotateCaResponse, RotateStage, TokenCreateRequest, TokenCreateResponse,
    TokenListRequest, TokenListResponse, TokenRevokeRequest, TokenRevokeResponse, TrustCertificate,
    TrustDenial, TrustStatusRequest, TrustStatusResponse, revoke_certificate_request, trust_denial,
};

use crate::{
    error::{Code, Status},
    frame::{decode, frame},
};

impl From<TrustCallError> for Status {
    fn from(error: TrustCallError) -> Self {
        let code = match error {
            TrustCallError::Refused(refused) => return refused.into(),
            TrustCallError::Request(_) | TrustCallError::Field(_) | TrustCallError::RootAsUser => {
                Code::InvalidArgument
            }
            TrustCallError::NoAddress | TrustCallError::UserRevoked(_) => Code::FailedPrecondition,
            TrustCallError::Own(_) => Code::Internal,
        };
        Self::new(code, format!("kvorum: {error}"))
    }
}

/// What an RPC of this service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    TokenCreate,
    TokenList,
    TokenRevoke,
    CertificateIssue,
    CertificateList,
    Revoke,
    Unrevoke,
    RotateCa,
    Status,
    RevocationList,
}

/// Answers one call of the administrator `by`.
pub(crate) async fn call(
    handle: &Handle,
    by: &str,
    rpc: Trust,
    message: Bytes,
) -> Result<Bytes, Status> {
    match rpc {
        Trust::TokenCreate => token_create(handle, by, message).await,
        Trust::TokenList => token_list(handle, message).await,
        Trust::TokenRevoke => token_revoke(handle, message).await,
        Trust::CertificateIssue => certificate_issue(handle, by, message).await,
        Trust::CertificateList => certificate_list(handle, message).await,
        Trust::Revoke => revoke(handle, by, message).await,
        Trust::Unrevoke => unrevoke(handle, by, message).await,
        Trust::RotateCa => rotate_ca(handle, by, message).await,
        Trust::Status => status(handle, message).await,
        Trust::RevocationList => revocation_list(handle, message).await,
    }
}

fn header(handle: &Handle) -> Option<ResponseHeader> {
    Some(handle.header(0))
}

async fn token_create(handle: &Handle, by: &str, message: Bytes) -> Result<Bytes, Status> {
    let request: TokenCreateRequest = decode(message)?;
    let wanted = JoinToken {
        role: request.role,
        name: request.name,
        member_id: request.member_id,
        ..JoinToken::default()
    };
    let made = handle
        .trust_token_create(by, &wanted, request.ttl_s)
        .await?;
    frame(&TokenCreateResponse {
        header: header(handle),
        token: made.text,
        id: made.id.into(),
        expires_unix_s: made.expires_unix_s,
    })
}

async fn token_list(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let TokenListRequest {} = decode(message)?;
    handle.read_barrier().await?;
    let without_secret = |token: &JoinToken| JoinToken {
        secret_sha256: Bytes::new(),
        sealed_digest: Bytes::new(),
        ..token.clone()
    };
    let tokens = handle.trust().tokens().map(without_secret).collect();
    frame(&TokenListResponse {
        header: header(handle),
        tokens,
    })
}

async fn token_revoke(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let request: TokenRevokeRequest = decode(message)?;
    handle.trust_token_revoke(&request.id).await?;
    frame(&TokenRevokeResponse {
        header: header(handle),
    })
}

async fn certificate_issue(handle: &Handle, by: &str, message: Bytes) -> Result<Bytes, Status> {
    let request: CertificateIssueRequest = decode(message)?;
    let issued = handle.trust_issue(by, &request).await?;
    let der = |certificates: Vec<rustls_pki_types::CertificateDer<'static>>| {
        certificates.iter().map(|c| c.to_vec().into()).collect()
    };
    frame(&CertificateIssueResponse {
        header: header(handle),
        chain_der: der(issued.chain),
        bundle_der: der(issued.bundle),
        serial: issued.serial.into(),
        not_after_unix_s: issued.not_after_unix_s,
    })
}

async fn certificate_list(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let CertificateListRequest {} = decode(message)?;
    handle.trust_founded().await;
    handle.read_barrier().await?;
    let trust = handle.trust();
    let nodes = trust.acks().map(|ack| TrustCertificate {
        serial: ack.serial.clone(),
        kind: CertificateKind::Node.into(),
        subject: format!("{:x}", ack.member_id),
        not_after_unix_s: ack.not_after_unix_s,
        root: ack.root,
        ..TrustCertificate::default()
    });
    let denied = trust.denied_serials().chain(trust.denied_users());
    frame(&CertificateListResponse {
        header: header(handle),
        certificates: nodes.chain(trust.certificates().cloned()).collect(),
        denied: denied.cloned().collect(),
    })
}

fn denial(by: &str, message: Bytes) -> Result<TrustDenial, Status> {
    use revoke_certificate_request::Subject;
    let request: RevokeCertificateRequest = decode(message)?;
    let subject = request.subject.map(|subject| match subject {
        Subject::Serial(serial) => trust_denial::Subject::Serial(serial),
        Subject::User(user) => trust_denial::Subject::User(user),
    });
    Ok(TrustDenial {
        subject,
        denied_by: by.to_owned(),
        ..TrustDenial::default()
    })
}

async fn revoke(handle: &Handle, by: &str, message: Bytes) -> Result<Bytes, Status> {
    handle.trust_deny(denial(by, message)?).await?;
    frame(&RevokeCertificateResponse {
        header: header(handle),
    })
}

async fn unrevoke(handle: &Handle, by: &str, message: Bytes) -> Result<Bytes, Status> {
    handle.trust_allow(denial(by, message)?).await?;
    frame(&RevokeCertificateResponse {
        header: header(handle),
    })
}

async fn rotate_ca(handle: &Handle, by: &str, message: Bytes) -> Result<Bytes, Status> {
    let request: RotateCaRequest = decode(message)?;
    match request.action() {
        RotateAction::Status => handle.read_barrier().await?,
        RotateAction::Start => handle.trust_rotate(by, request.grace_s).await?,
        RotateAction::Force => handle.trust_rotate_force(without(&request)).await?,
    }
    let progress = handle.trust_progress();
    let mut waiting = progress.members;
    if progress.stage == Stage::Drop {
        // The last step is not taken without them.
        let trust = handle.trust();
        let without = trust.rotation().map(|r| &r.without_members[..]);
        let mut unreached = handle.trust_unreached();
        unreached.retain(|id| !without.is_some_and(|without| without.contains(&id.0)));
        waiting.extend(unreached);
    }
    let old_certificates = progress.certificates.into_iter();
    let old_certificates = old_certificates.map(|old| OldCertificate {
        certificate: Some(old.certificate),
        until_unix_s: old.until_unix_s,
    });
    frame(&RotateCaResponse {
        header: header(handle),
        stage: stage(progress.stage).into(),
        waiting_members: waiting.iter().map(|id| id.0).collect(),
        grace_until_unix_s: progress.grace_until_unix_s,
        old_users: progress.users,
        old_certificates: old_certificates.collect(),
    })
}

/// Who names neither means both: so it was when there was one word for them.
const fn without(request: &RotateCaRequest) -> Without {
    let neither = !request.without_members && !request.end_grace;
    Without {
        members: request.without_members || neither,
        grace: request.end_grace || neither,
    }
}

const fn stage(stage: Stage) -> RotateStage {
    match stage {
        Stage::None => RotateStage::None,
        Stage::Bundle => RotateStage::Bundle,
        Stage::Issuer => RotateStage::Issuer,
        Stage::Reissue => RotateStage::Reissue,
        Stage::Grace => RotateStage::Grace,
        Stage::Drop => RotateStage::Drop,
    }
}

async fn status(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let TrustStatusRequest {} = decode(message)?;
    handle.trust_founded().await;
    handle.read_barrier().await?;
    let trust = handle.trust();
    let issuer = trust.issuer().cloned().unwrap_or_default();
    frame(&TrustStatusResponse {
        header: header(handle),
        domain: trust.domain().clone(),
        bundle_der: trust.roots().map(|root| root.der.clone()).collect(),
        issuer_der: issuer.der,
        issuer_not_after_unix_s: issuer.not_after_unix_s,
        members: trust.acks().cloned().collect(),
        bundle: trust.bundle(),
        stage: stage(handle.trust_progress().stage).into(),
    })
}

async fn revocation_list(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let request: RevocationListRequest = decode(message)?;
    handle.trust_founded().await;
    handle.read_barrier().await?;
    let pem = handle.trust_revocation_list(request.life_s).await?;
    frame(&RevocationListResponse {
        header: header(handle),
        pem,
    })
}
