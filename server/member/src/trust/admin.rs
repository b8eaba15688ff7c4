//! What administrators ask of the authority; who may is decided before this is called.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::membership::PeerUrl;
use kvorum_core::trust::{Progress, Trust, TrustRefused};
use kvorum_core::{Error, MemberId};
use kvorum_pki::{Chain, JoinToken, RootPin, Subject, Validity, csr};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{
    CertificateIssueRequest, CertificateKind, JoinToken as KeptToken, TokenRole, TrustCertificate,
    TrustDenial, trust_denial, trust_op::Op,
};
use rustls_pki_types::CertificateDer;
use tokio::time::timeout;

use super::asked;
use super::authority::{Authority, der};
use super::leader::{self, StepError, Without};
use super::renewal::seconds;
use super::{TrustError, TrustOptions};
use crate::clock::unix_s;
use crate::handle::Handle;

/// From the election of a founder to its authority in the log.
const FOUNDING_TIME: Duration = Duration::from_secs(3);
/// The life of a token if nobody says otherwise.
const TOKEN_LIFE_S: i64 = 30 * 60;
/// Tokens of which it is remembered what was written down: twice as many as there can be.
const TOLD_MAX: usize = 2048;
/// The same, where it makes an administrator.
const ADMIN_TOKEN_LIFE_S: i64 = 10 * 60;
/// Addresses in a token.
const ADDRESSES_MAX: usize = 3;
/// The user of the administrator's certificate that each member has.
pub(super) const ROOT_USER: &str = "root";
/// The grace period of a rotation if nobody says otherwise.
const GRACE_S: i64 = 90 * 24 * 3600;

/// Why the authority does not do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum TrustCallError {
    /// The rules or the cluster refuse it.
    #[error(transparent)]
    Refused(#[from] Error),
    /// What was given makes no certificate.
    #[error(transparent)]
    Request(kvorum_pki::PkiError),
    /// A machine that joins could reach nobody.
    #[error(
        "no member tells the others an https:// address where a machine could join: start this one with --advertise and \
         its address, and if it has run without before, `etcdctl member update ID --peer-urls=https://ADDRESS:2380`"
    )]
    NoAddress,
    /// Nobody could take that back.
    #[error(
        "root cannot be revoked as a whole, as nobody could take that back: revoke its certificates one by one, by their \
         serial numbers"
    )]
    RootAsUser,
    /// A field of what is asked for.
    #[error("{0}")]
    Field(String),
    /// It would be made in vain.
    #[error(
        "the user {user:?} is revoked, and what is made for it would not be accepted: `kvorum cert unrevoke --user={typed}` \
         takes that back, or choose another name", user = .0, typed = kvorum_pki::shell_word(.0)
    )]
    UserRevoked(String),
    /// This member cannot use the authority's keys.
    #[error(transparent)]
    Own(TrustError),
}

impl From<TrustError> for TrustCallError {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::Pki { source, .. } => Self::Request(source),
            error => Self::Own(error),
        }
    }
}

impl From<TrustRefused> for TrustCallError {
    fn from(refused: TrustRefused) -> Self {
        Self::Refused(refused.into())
    }
}

/// A token that was made. Its text is not kept.
#[derive(Clone)]
pub struct MadeToken {
    /// What to hand over.
    pub text: String,
    /// How it is called.
    pub id: Vec<u8>,
    /// When its time is up.
    pub expires_unix_s: i64,
}

impl std::fmt::Debug for MadeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MadeToken").finish_non_exhaustive()
    }
}

/// A certificate that was signed.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots to trust.
    pub bundle: Vec<CertificateDer<'static>>,
    /// Its number.
    pub serial: Vec<u8>,
    /// When it ends.
    pub not_after_unix_s: i64,
}

/// Signs for others.
pub(crate) struct Clerk {
    pub(crate) authority: Arc<Authority>,
    pub(crate) node_life_s: i64,
    client_life_s: i64,
    /// What was written down of tokens.
    told: Mutex<BTreeSet<(Bytes, String)>>,
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").finish_non_exhaustive()
    }
}

/// What the cluster's list says of a certificate besides what it holds itself.
pub(crate) struct Listing<'a> {
    pub(crate) kind: CertificateKind,
    pub(crate) subject: &'a str,
    pub(crate) root: u64,
    pub(crate) by: &'a str,
    /// Serials of those that nobody shows any more.
    pub(crate) replaces: Vec<Bytes>,
}

/// What is to be signed.
pub(crate) struct Wish<'a> {
    pub(crate) csr_der: &'a [u8],
    pub(crate) subject: Subject,
    pub(crate) life_s: i64,
}

impl Clerk {
    pub(crate) fn new(authority: Arc<Authority>, options: &TrustOptions) -> Self {
        Self {
            authority,
            node_life_s: seconds(options.node_life),
            client_life_s: seconds(options.client_life),
            told: Mutex::default(),
        }
    }

    /// True if this was not told of the token before. What is forgotten is told again.
    pub(crate) fn is_news(&self, token: &Bytes, result: &str) -> bool {
        let told = &mut *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX {
            told.pop_first();
        }
        told.insert((token.clone(), result.to_owned()))
    }

    pub(crate) fn client_life_s(&self, wanted_s: i64) -> i64 {
        match wanted_s {
            ..=0 => self.client_life_s,
            wanted => wanted,
        }
    }

    /// Signs what is asked for. Names and user are the caller's to decide; only the key is taken from the request.
    pub(crate) fn sign(&self, trust: &Trust, wish: &Wish<'_>) -> Result<(Chain, u64), TrustError> {
        let what = "a certificate cannot be signed";
        let public = csr::verify(wish.csr_der).map_err(TrustError::pki(what))?;
        let (issuer, root) = self.authority.issuer(trust)?;
        let validity = Validity::from_now(unix_s(), wish.life_s);
        let domain = &self.authority.domain;
        let chain = issuer.sign(&public, &wish.subject, domain, validity);
        Ok((chain.map_err(TrustError::pki(what))?, root))
    }

    /// Puts a certificate on the cluster's list.
    pub(crate) async fn list(
        &self,
        handle: &Handle,
        chain: &Chain,
        listing: Listing<'_>,
    ) -> Result<(), StepError> {
        let what = "a new certificate";
        let serial = chain.serial().map_err(TrustError::pki(what))?;
        let validity = chain.validity().map_err(TrustError::pki(what))?;
        let row = TrustCertificate {
            serial: serial.as_bytes().to_vec().into(),
            kind: listing.kind.into(),
            subject: listing.subject.to_owned(),
            not_after_unix_s: validity.not_after_unix,
            root: listing.root,
            issued_by: listing.by.to_owned(),
            replaces: listing.replaces,
            ..TrustCertificate::default()
        };
        handle.trust_change(Op::Issued(row)).await?;
        Ok(())
    }
}

impl From<StepError> for TrustCallError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Trust(error) => error.into(),
            StepError::Refused(refused) => Self::Refused(refused),
        }
    }
}

/// The certificate whose place another takes, where it is on the list still, and the kind of the new one: the same, if
/// none is named.
fn replaced(
    trust: &Trust,
    request: &CertificateIssueRequest,
) -> Result<(Vec<Bytes>, CertificateKind), TrustRefused> {
    let mut listed = trust.certificates();
    let kind = request.kind();
    match listed.find(|c| c.serial == request.replaces) {
        Some(c) if c.subject != request.user => Err(TrustRefused::Malformed),
        Some(c) if kind == CertificateKind::Unspecified || kind == c.kind() => {
            Ok((vec![c.serial.clone()], c.kind()))
        }
        Some(_) => Err(TrustRefused::Malformed),
        None => Ok((Vec::new(), kind)),
    }
}

impl Handle {
    /// The trust state as this member has applied it.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        self.shared.trust.borrow().clone()
    }

    /// A founder puts the authority into the log as soon as it leads; who asks just then waits for it.
    pub(super) async fn clerk(&self) -> Result<Arc<Clerk>, TrustRefused> {
        let clerk = self.shared.clerk.get().cloned();
        let clerk = clerk.ok_or(TrustRefused::NotReady)?;
        let mut changes = self.shared.trust.subscribe();
        let ready = changes.wait_for(|trust| trust.is_ready());
        match timeout(FOUNDING_TIME, ready).await {
            Ok(Ok(_)) => Ok(clerk),
            _ => Err(TrustRefused::NotReady),
        }
    }

    /// Returns once a first start has put its authority into the log, or seems not to get there; at once where the
    /// cluster has none of its own.
    pub async fn trust_founded(&self) {
        // Who asks is told what there is then.
        let _late = self.clerk().await;
    }

    /// A new token to join with; `life_s` 0 for half an hour, or ten minutes where it makes an administrator.
    ///
    /// # Errors
    /// What is asked for makes no sense, or the cluster cannot take it now.
    pub async fn trust_token_create(
        &self,
        by: &str,
        wanted: &KeptToken,
        life_s: i64,
    ) -> Result<MadeToken, TrustCallError> {
        let clerk = self.clerk().await?;
        // Who was revoked elsewhere just now is known here, too.
        self.read_barrier().await?;
        let trust = self.trust();
        let life_s = match (life_s, wanted.role()) {
            (0, TokenRole::Admin) => ADMIN_TOKEN_LIFE_S,
            (0, _) => TOKEN_LIFE_S,
            (life_s, _) => life_s,
        };
        asked::token(&trust, wanted, life_s)?;
        let is_member = |id: u64| self.members().iter().any(|m| m.id == id);
        if wanted.role() == TokenRole::Rejoin && !is_member(wanted.member_id) {
            return Err(Error::MemberNotFound.into());
        }
        let issuer = trust.issuer().ok_or(TrustRefused::NotReady)?;
        let root = trust.root(issuer.root).ok_or(TrustRefused::NotReady)?;
        let pin = RootPin::of(&der(&root.der)).map_err(TrustCallError::Request)?;
        let addresses = self.join_addresses();
        if addresses.is_empty() {
            return Err(TrustCallError::NoAddress);
        }
        let token = JoinToken::generate(pin, &addresses);
        let token = token.map_err(TrustCallError::Request)?;
        let id = token.id().as_bytes().to_vec();
        let sealed = clerk.authority.sealed_digest(&id, &token.secret_digest())?;
        let kept = KeptToken {
            id: id.clone().into(),
            sealed_digest: sealed,
            expires_unix_s: unix_s() + life_s,
            created_by: by.to_owned(),
            ..wanted.clone()
        };
        let expires_unix_s = kept.expires_unix_s;
        self.trust_change(Op::TokenCreate(kept)).await?;
        Ok(MadeToken {
            text: token.text().to_string(),
            id,
            expires_unix_s,
        })
    }

    /// Where those who join can knock: at this member first, then at others that vote.
    fn join_addresses(&self) -> Vec<String> {
        let own = self.shared.identity.member_id.0;
        let mut members = self.members();
        members.retain(|m| m.id == own || !m.is_learner);
        members.sort_by_key(|m| m.id != own);
        let first_of = |m: &pb::Member| {
            let mut urls = m
                .peer_ur_ls
                .iter()
                .filter_map(|url| PeerUrl::parse(url).ok());
            let url = urls.find(|url| url.is_https)?;
            Some(match url.host.contains(':') {
                true => format!("[{}]:{}", url.host, url.port),
                false => format!("{}:{}", url.host, url.port),
            })
        };
        let addresses = members.iter().filter_map(first_of);
        addresses.take(ADDRESSES_MAX).collect()
    }

    /// Forgets a token.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn trust_token_revoke(&self, id: &[u8]) -> Result<(), TrustCallError> {
        let op = Op::TokenRevoke(id.to_vec().into());
        Ok(self.trust_change(op).await.map(drop)?)
    }

    /// A certificate for a client.
    ///
    /// # Errors
    /// The request or the user is none, it replaces what is another's, or the cluster cannot take it now.
    pub async fn trust_issue(
        &self,
        by: &str,
        request: &CertificateIssueRequest,
    ) -> Result<IssuedCertificate, TrustCallError> {
        let clerk = self.clerk().await?;
        self.read_barrier().await?;
        let trust = self.trust();
        let user = request.user.clone();
        asked::user(&trust, &user)?;
        let (replaces, kind) = replaced(&trust, request)?;
        let subject = match kind {
            CertificateKind::Client => Subject::Client { user: user.clone() },
            CertificateKind::Admin => Subject::Admin { user: user.clone() },
            _ => return Err(TrustRefused::Malformed.into()),
        };
        let wish = Wish {
            csr_der: &request.csr_der,
            subject,
            life_s: clerk.client_life_s(request.ttl_s),
        };
        let (chain, root) = clerk.sign(&trust, &wish)?;
        let listing = Listing {
            kind,
            subject: &user,
            root,
            by,
            replaces,
        };
        // On the list before anybody has it: what is not known could not be revoked.
        clerk.list(self, &chain, listing).await?;
        let serial = chain.serial().map_err(TrustCallError::Request)?;
        let validity = chain.validity().map_err(TrustCallError::Request)?;
        Ok(IssuedCertificate {
            chain: chain.certificates().to_vec(),
            bundle: trust.roots().map(|root| der(&root.der)).collect(),
            serial: serial.as_bytes().to_vec(),
            not_after_unix_s: validity.not_after_unix,
        })
    }

    /// From now on a certificate, or all of a user, are not accepted.
    ///
    /// # Errors
    /// It names nothing, or the cluster cannot take it now.
    pub async fn trust_deny(&self, denial: TrustDenial) -> Result<(), TrustCallError> {
        let denies_root =
            matches!(&denial.subject, Some(trust_denial::Subject::User(user)) if user == ROOT_USER);
        match denies_root {
            true => Err(TrustCallError::RootAsUser),
            false => Ok(self.trust_change(Op::Deny(denial)).await.map(drop)?),
        }
    }

    /// Takes a denial back.
    ///
    /// # Errors
    /// There is none.
    pub async fn trust_allow(&self, denial: TrustDenial) -> Result<(), TrustCallError> {
        Ok(self.trust_change(Op::Allow(denial)).await.map(drop)?)
    }

    /// Begins to change the root; the leader carries it on. `grace_s` 0 for 90 days.
    ///
    /// # Errors
    /// One is under way, or the cluster cannot take it now.
    pub async fn trust_rotate(&self, by: &str, grace_s: i64) -> Result<(), TrustCallError> {
        let clerk = self.clerk().await?;
        // What this member has not heard of yet would be taken for what it follows.
        self.read_barrier().await?;
        let grace_s = if grace_s == 0 { GRACE_S } else { grace_s };
        let op = leader::begin(&clerk.authority, &self.trust(), grace_s, by)?;
        Ok(self.trust_change(op).await.map(drop)?)
    }

    /// Goes on with a rotation that waits. The leader says which members it does without.
    ///
    /// # Errors
    /// No rotation is under way, or the cluster cannot take it now.
    pub async fn trust_rotate_force(&self, without: Without) -> Result<(), TrustCallError> {
        self.read_barrier().await?;
        let op = leader::force(&self.trust(), without);
        Ok(self.trust_change(op).await.map(drop)?)
    }

    /// How far a change of the root is.
    #[must_use]
    pub fn trust_progress(&self) -> Progress {
        self.trust().progress(&self.member_table(), unix_s())
    }

    /// Members that this one has no connection to, of those whom a rotation still counts.
    #[must_use]
    pub fn trust_unreached(&self) -> Vec<MemberId> {
        self.unreached()
    }
}
