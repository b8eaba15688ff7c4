//! Lets a machine join that has a token: the token is used up through the log before anything is signed.

use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::reply::Reply;
use kvorum_core::trust::{Trust, TrustRefused};
use kvorum_core::{Error, MemberId};
use kvorum_pki::{Subject, csr, proof};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{
    CertificateKind, ConsoleEvent, JoinGranted, JoinRefusal, JoinRefused, JoinToken,
    JoinTokenIssued, TokenBurn, TokenRole, join_response::Result as Joined, trust_op::Op,
};

use super::admin::{Clerk, Listing, TrustCallError, Wish};
use super::leader::StepError;
use super::membership::{Joining, id_of};
use super::place;
use crate::handle::Handle;
use crate::member_calls::MemberCallError;
use crate::peer::JoinAsk;

mod purpose;
mod taken;

/// Longest name of a member, bytes.
const NAME_BYTES_MAX: usize = 256;
/// Peer URLs of a member.
const URLS_MAX: usize = 16;

/// Why somebody does not join.
pub(crate) struct Refusal {
    reason: JoinRefusal,
    text: String,
}

impl Refusal {
    fn new(reason: JoinRefusal, text: impl ToString) -> Self {
        Self {
            reason,
            text: text.to_string(),
        }
    }
}

impl From<TrustRefused> for Refusal {
    fn from(refused: TrustRefused) -> Self {
        let reason = match refused {
            TrustRefused::TokenUnknown => JoinRefusal::TokenUnknown,
            TrustRefused::TokenExpired => JoinRefusal::TokenExpired,
            TrustRefused::TokenUsed => JoinRefusal::TokenUsed,
            TrustRefused::TokenRole => JoinRefusal::TokenRole,
            TrustRefused::NotReady | TrustRefused::Stale => JoinRefusal::Later,
            _ => JoinRefusal::Malformed,
        };
        Self::new(reason, refused)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::Trust(refused) => refused.into(),
            Error::Timeout
            | Error::NoLeader
            | Error::LeaderChanged
            | Error::NotLeader
            | Error::Unhealthy
            | Error::TooManyRequests
            | Error::Stopped => Self::new(JoinRefusal::Later, error),
            refused => Self::new(JoinRefusal::Member, refused),
        }
    }
}

impl From<MemberCallError> for Refusal {
    fn from(error: MemberCallError) -> Self {
        match error {
            MemberCallError::Refused(error) => error.into(),
            error @ MemberCallError::Url { .. } => Self::new(JoinRefusal::Member, error),
        }
    }
}

impl From<super::TrustError> for Refusal {
    fn from(error: super::TrustError) -> Self {
        Self::new(JoinRefusal::Malformed, error)
    }
}

impl From<TrustCallError> for Refusal {
    fn from(error: TrustCallError) -> Self {
        match error {
            TrustCallError::Refused(error) => error.into(),
            error => Self::new(JoinRefusal::Malformed, error),
        }
    }
}

impl From<StepError> for Refusal {
    fn from(error: StepError) -> Self {
        TrustCallError::from(error).into()
    }
}

/// Answers one request.
pub(crate) async fn answer(handle: Handle, clerk: Option<Arc<Clerk>>, ask: JoinAsk) {
    let joined = match clerk {
        Some(clerk) => join(&handle, &clerk, &ask).await,
        None => Err(TrustRefused::NotReady.into()),
    };
    let remote = ask.from;
    let token = shown(&ask.request.token_id);
    let (result, event) = match joined {
        Ok(granted) => {
            let member = format!("{:x}", granted.member_id);
            match granted.member_id {
                0 => {
                    let user = &granted.name;
                    tracing::info!(%remote, token, user, "a client gets its certificate by a token");
                }
                _ => tracing::info!(%remote, token, member, "a machine joins by a token"),
            }
            let event = granted_event(&ask, &granted);
            (Joined::Granted(granted), Some(event))
        }
        Err(Refusal { reason, text }) => {
            tracing::warn!(%remote, token, reason = text, "refused somebody who wants to join");
            // Two know its secret: one of them has it from somebody who should not have given it away.
            let is_second = reason == JoinRefusal::TokenUsed;
            let event = is_second.then(|| second_use_event(&handle, &ask));
            let refused = JoinRefused {
                reason: reason.into(),
                text,
            };
            (Joined::Refused(refused), event)
        }
    };
    let token_id = ask.request.token_id.clone();
    ask.answer(result);
    if let Some(event) = event {
        note(&handle, &token_id, event).await;
    }
}

fn event(ask: &JoinAsk, what: &str, result: &str, detail: String) -> ConsoleEvent {
    ConsoleEvent {
        who: format!("token {}", shown(&ask.request.token_id)),
        from: ask.from.ip().to_canonical().to_string(),
        what: what.to_owned(),
        result: result.to_owned(),
        detail,
        ..ConsoleEvent::default()
    }
}

fn granted_event(ask: &JoinAsk, granted: &JoinGranted) -> ConsoleEvent {
    let name = &granted.name;
    match granted.member_id {
        0 => event(
            ask,
            "certificate issued by a token",
            "ok",
            format!("for client {name}"),
        ),
        id => event(
            ask,
            "member let in by a token",
            "ok",
            format!("member {id:x} ({name})"),
        ),
    }
}

fn second_use_event(handle: &Handle, ask: &JoinAsk) -> ConsoleEvent {
    let trust = handle.trust();
    let first = trust.token(&ask.request.token_id);
    let by = match first.map_or(0, |token| token.member_id) {
        0 => String::new(),
        id => format!(" If member {id:x} is not who it was meant for, remove it."),
    };
    let detail = format!("by another key than the first time: was it stolen?{by}");
    event(ask, "join token used a second time", "refused", detail)
}

/// Writes down what came of a token; the same again, as often as that comes, once only.
async fn note(handle: &Handle, token_id: &Bytes, event: ConsoleEvent) {
    let clerk = handle.shared.clerk.get();
    if !clerk.is_none_or(|clerk| clerk.is_news(token_id, &event.result)) {
        return;
    }
    let what = event.what.clone();
    if let Err(error) = handle.audit(event).await {
        tracing::warn!(%error, what, "an event could not be written down");
    }
}

/// The id of a token; it is no secret.
fn shown(id: &[u8]) -> String {
    match <[u8; 10]>::try_from(id) {
        Ok(id) => kvorum_pki::TokenId::from_bytes(id).to_string(),
        Err(_) => "none".into(),
    }
}

async fn join(handle: &Handle, clerk: &Clerk, ask: &JoinAsk) -> Result<JoinGranted, Refusal> {
    let request = &ask.request;
    if request.name.len() > NAME_BYTES_MAX || request.peer_urls.len() > URLS_MAX {
        return Err(TrustRefused::Malformed.into());
    }
    if !request.name.is_empty() {
        kvorum_pki::check_name(&request.name)
            .map_err(|error| Refusal::new(JoinRefusal::Malformed, error))?;
    }
    // A token that was just made elsewhere is known here, too.
    handle.read_barrier().await?;
    let trust = handle.trust();
    if !trust.is_ready() {
        return Err(TrustRefused::NotReady.into());
    }
    let csr_sha256 = csr::digest(&request.csr_der);
    check_proof(clerk, &trust, ask, &csr_sha256)?;
    purpose::check(&trust, request)?;
    csr::verify(&request.csr_der).map_err(|error| Refusal::new(JoinRefusal::Malformed, error))?;
    let burn = TokenBurn {
        id: request.token_id.clone(),
        csr_sha256: csr_sha256.to_vec().into(),
        role: request.role,
    };
    let Reply::TokenBurned(token) = handle.trust_change(Op::TokenBurn(burn)).await? else {
        return Err(Error::Stopped.into());
    };
    match token.role() {
        TokenRole::Voter | TokenRole::Learner => {
            let id = id_of(&csr_sha256);
            let wish = Joining {
                id,
                peer_urls: request.peer_urls.clone(),
                votes: token.role() == TokenRole::Voter,
            };
            let members = handle.member_join(&wish).await;
            let members = members.map_err(|error| taken::told(handle, &wish.peer_urls, error))?;
            node(handle, clerk, ask, &token, id, members).await
        }
        TokenRole::Rejoin => {
            let id = MemberId(token.member_id);
            let members = handle.members();
            node(handle, clerk, ask, &token, id, members).await
        }
        TokenRole::Client => client(handle, clerk, ask, &token, CertificateKind::Client).await,
        TokenRole::Admin => client(handle, clerk, ask, &token, CertificateKind::Admin).await,
        TokenRole::Unspecified => Err(TrustRefused::TokenRole.into()),
    }
}

/// The proof is of the token's secret and of this very connection, so that nobody in between can use it.
fn check_proof(
    clerk: &Clerk,
    trust: &Trust,
    ask: &JoinAsk,
    csr_sha256: &[u8; 32],
) -> Result<(), Refusal> {
    let token = trust.token(&ask.request.token_id);
    let token = token.ok_or(TrustRefused::TokenUnknown)?;
    let digest = clerk.authority.digest(token);
    let digest = digest.ok_or(TrustRefused::TokenUnknown)?;
    match proof::verify(&digest, &ask.exporter, csr_sha256, &ask.request.proof) {
        true => Ok(()),
        false => Err(Refusal::new(
            JoinRefusal::Proof,
            "the proof does not fit this token and this connection: the token's secret is another one, or somebody \
             stands in between",
        )),
    }
}

/// A certificate for a member.
async fn node(
    handle: &Handle,
    clerk: &Clerk,
    ask: &JoinAsk,
    token: &JoinToken,
    id: MemberId,
    members: Vec<pb::Member>,
) -> Result<JoinGranted, Refusal> {
    let own = members.iter().find(|m| m.id == id.0);
    let own = own.ok_or(Error::MemberNotFound)?;
    // Names come from the token and the table of members, never from the request for a certificate.
    let name = [&token.name, &own.name, &ask.request.name];
    let name = name.into_iter().find(|name| !name.is_empty());
    let name = name.cloned().unwrap_or_default();
    let wish = place::wish(clerk, &ask.request.csr_der, own, &name);
    // What the burn brought about is there by now.
    let trust = handle.trust();
    let (chain, _) = clerk.sign(&trust, &wish)?;
    let issued = JoinTokenIssued {
        id: token.id.clone(),
        member_id: id.0,
    };
    handle.trust_change(Op::TokenIssued(issued)).await?;
    let granted = granted(handle, clerk, &trust, &chain);
    Ok(JoinGranted {
        seal_key: clerk.authority.seal_key.as_bytes().to_vec().into(),
        member_id: id.0,
        members,
        name,
        ..granted
    })
}

/// A certificate for a client.
async fn client(
    handle: &Handle,
    clerk: &Clerk,
    ask: &JoinAsk,
    token: &JoinToken,
    kind: CertificateKind,
) -> Result<JoinGranted, Refusal> {
    let user = token.name.clone();
    let wish = Wish {
        csr_der: &ask.request.csr_der,
        subject: match kind {
            CertificateKind::Admin => Subject::Admin { user: user.clone() },
            _ => Subject::Client { user: user.clone() },
        },
        life_s: clerk.client_life_s(0),
    };
    let trust = handle.trust();
    let (chain, root) = clerk.sign(&trust, &wish)?;
    let by = format!("token {}", shown(&token.id));
    let listing = Listing {
        kind,
        subject: &user,
        root,
        by: &by,
        replaces: Vec::new(),
    };
    clerk.list(handle, &chain, listing).await?;
    Ok(JoinGranted {
        members: handle.members(),
        name: user,
        ..granted(handle, clerk, &trust, &chain)
    })
}

fn granted(
    handle: &Handle,
    clerk: &Clerk,
    trust: &Trust,
    chain: &kvorum_pki::Chain,
) -> JoinGranted {
    let chain = chain.certificates().iter();
    JoinGranted {
        chain_der: chain.map(|c| c.to_vec().into()).collect(),
        bundle_der: trust.roots().map(|root| root.der.clone()).collect(),
        domain: clerk.authority.domain.as_bytes().to_vec().into(),
        cluster_id: handle.identity().cluster_id.0,
        ..JoinGranted::default()
    }
}
