//! The machine that joins: it knows a token, trusts nobody but the root that the token pins, and writes the directory
//! from which the member then starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kvorum_core::{ClusterId, MemberId};
use kvorum_pki::files as on_disk;
use kvorum_pki::tls::PinnedRoot;
use kvorum_pki::{Bundle, Chain, JoinToken, KeyPair, TrustDomain, csr, proof};
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::kvorumpb::{
    JoinGranted, JoinRefusal, JoinRefused, JoinRequest, JoinResponse, TokenRole,
    join_response::Result as Answer,
};
use kvorum_storage::{DataDir, Identity, Origin};
use prost::Message as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::der;
use super::files::Files;
use super::{TrustError, live};
use crate::bootstrap::known_member;
use crate::clock::unix_s;
use crate::peer::JOIN_FRAME_BYTES_MAX;

/// From the dial to the end of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long the cluster may take to answer.
const ANSWER: Duration = Duration::from_secs(40);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// The key of an attempt and its request, so that the next attempt is the same one.
const JOINING_KEY: &str = "joining.key";
const JOINING_CSR: &str = "joining.csr";

/// What a machine says of itself.
#[derive(Clone, Debug)]
pub struct JoinOptions {
    /// Its data directory; empty, or as an attempt before has left it.
    pub data_dir: PathBuf,
    /// What it is called, unless the token says so.
    pub name: String,
    /// Where the other members will reach it.
    pub peer_urls: Vec<String>,
    /// How long to try where nobody is there, or the cluster is busy.
    pub patience: Duration,
}

/// A machine that is a member now; it has not started yet.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its id.
    pub member_id: MemberId,
    /// The cluster's.
    pub cluster_id: ClusterId,
    /// What it is called.
    pub name: String,
    /// All members, it among them.
    pub members: Vec<pb::Member>,
    /// The cluster's trust domain.
    pub domain: TrustDomain,
}

/// Why a machine does not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody answers at the token's addresses.
    #[error(
        "nobody answers at the addresses of the token ({0}): is a member running there, and its peer port reachable from here?"
    )]
    Unreachable(String),
    /// Who answers is not the cluster that made the token.
    #[error(
        "{address} is not a member of the cluster that made this token ({reason}): somebody stands in between, another cluster \
         has this address now, or the root has been changed since the token was made; make a new one on the cluster that \
         you mean: `kvorum token create`"
    )]
    OtherCluster {
        /// Who answered.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Who answers shows the pinned root, but a certificate that does not hold now.
    #[error(
        "the clocks of this machine and of {address} do not agree: {reason}; the token is still good once they do"
    )]
    Clock {
        /// Who answered.
        address: String,
        /// From when to when it holds.
        reason: String,
    },
    /// The cluster does not know the token.
    #[error("{0}")]
    Unknown(String),
    /// Its time is up.
    #[error("{0}")]
    Expired(String),
    /// Somebody else has used it.
    #[error("{0}")]
    Used(String),
    /// It is good for something else.
    #[error("{0}")]
    WrongRole(String),
    /// The proof was not accepted.
    #[error("{0}")]
    Denied(String),
    /// The rules for members speak against it.
    #[error("{0}")]
    Member(String),
    /// The cluster cannot take it now.
    #[error("the cluster cannot take this machine now ({0}); the same command may be repeated")]
    Later(String),
    /// The directory cannot be used, or not written.
    #[error("{0}")]
    Files(String),
    /// The answer does not fit the question.
    #[error("the answer of {0} cannot be used: {1}")]
    Answer(String, String),
}

impl From<TrustError> for JoinError {
    fn from(error: TrustError) -> Self {
        Self::Files(error.to_string())
    }
}

impl From<JoinRefused> for JoinError {
    fn from(refused: JoinRefused) -> Self {
        let text = refused.text.clone();
        match refused.reason() {
            JoinRefusal::TokenUnknown => Self::Unknown(text),
            JoinRefusal::TokenExpired => Self::Expired(text),
            JoinRefusal::TokenUsed => Self::Used(text),
            JoinRefusal::TokenRole => Self::WrongRole(text),
            JoinRefusal::Proof => Self::Denied(text),
            JoinRefusal::Later => Self::Later(text),
            _ => Self::Member(text),
        }
    }
}

/// Joins a cluster: after this, the directory is that of a member that has not started yet. Repeating it with the same
/// token and directory goes on where an attempt was interrupted. Blocks.
///
/// # Errors
/// The token is not good for it, nobody answers, or the directory is not empty.
pub fn join(token: &JoinToken, options: &JoinOptions) -> Result<Joined, JoinError> {
    refuse_a_member(&options.data_dir)?;
    let (files, attempt) = Attempt::prepare(&options.data_dir)?;
    let granted = ask(token, options, TokenRole::Voter, &attempt)?;
    let joined = joined(&granted)?;
    if granted.seal_key.len() != 32 || joined.members.iter().all(|m| m.id != joined.member_id.0) {
        return Err(unusable("it lacks what a member needs"));
    }
    files.write(on_disk::DOMAIN, joined.domain.to_string().as_bytes())?;
    write_seal_key(&files, &granted)?;
    attempt.keep(&files, &granted)?;
    // Last: from here on the directory is a member's.
    write_identity(&options.data_dir, &joined)?;
    attempt_over(&files)?;
    Ok(joined)
}

/// Gets a member whose certificate has expired another one. The directory stays as it is. Blocks.
///
/// # Errors
/// The token is not this member's, nobody answers, or there is no member here.
pub fn rejoin(token: &JoinToken, options: &JoinOptions) -> Result<Joined, JoinError> {
    let own = DataDir::open(&options.data_dir).map_err(|e| JoinError::Files(e.to_string()))?;
    let Some(own) = own.identity().cloned() else {
        return Err(JoinError::Files(format!(
            "there is no member in {}: use `kvorum join`",
            options.data_dir.display()
        )));
    };
    let (files, attempt) = Attempt::prepare(&options.data_dir)?;
    let granted = ask(token, options, TokenRole::Rejoin, &attempt)?;
    let joined = joined(&granted)?;
    if (joined.member_id, joined.cluster_id) != (own.member_id, own.cluster_id) {
        return Err(JoinError::WrongRole(format!(
            "this token is for member {:x}, and member {:x} lives here",
            joined.member_id.0, own.member_id.0
        )));
    }
    if files.read(on_disk::DOMAIN)?.is_some() {
        let own = files.domain()?;
        if own != joined.domain {
            return Err(JoinError::Files(format!(
                "pki/domain says {own}, and this token is of {}: where that is the authority of this member's cluster, \
                 move pki away, and come again with another token",
                joined.domain
            )));
        }
        attempt.keep(&files, &granted)?;
    } else {
        // It has run without certificates so far; with the domain, which comes last, it begins to use them.
        write_seal_key(&files, &granted)?;
        attempt.keep(&files, &granted)?;
        files.write(on_disk::DOMAIN, joined.domain.to_string().as_bytes())?;
    }
    attempt_over(&files)?;
    Ok(joined)
}

fn write_seal_key(files: &Files, granted: &JoinGranted) -> Result<(), JoinError> {
    let seal_key = <[u8; 32]>::try_from(&granted.seal_key[..]);
    let seal_key = seal_key.map_err(|_| unusable("its seal key is none"))?;
    let seal_key = kvorum_pki::seal::SealKey::from_bytes(seal_key);
    Ok(files.write(on_disk::SEAL_KEY, seal_key.to_text().as_bytes())?)
}

pub(super) fn unusable(why: &str) -> JoinError {
    JoinError::Answer("the cluster".into(), why.into())
}

fn refuse_a_member(dir: &Path) -> Result<(), JoinError> {
    let dir_text = dir.display();
    if !dir.exists() {
        return Ok(());
    }
    let files = |error: &dyn std::fmt::Display| JoinError::Files(error.to_string());
    let open = DataDir::open(dir).map_err(|e| files(&e))?;
    match open.identity() {
        Some(known) => Err(JoinError::Files(format!(
            "{dir_text} holds member {:x} already: a machine joins with an empty directory",
            known.member_id.0
        ))),
        None => Ok(()),
    }
}

fn joined(granted: &JoinGranted) -> Result<Joined, JoinError> {
    let domain = <[u8; 16]>::try_from(&granted.domain[..]);
    Ok(Joined {
        member_id: MemberId(granted.member_id),
        cluster_id: ClusterId(granted.cluster_id),
        name: granted.name.clone(),
        members: granted.members.clone(),
        domain: TrustDomain::from_bytes(domain.map_err(|_| unusable("it names no domain"))?),
    })
}

fn write_identity(dir: &Path, joined: &Joined) -> Result<(), JoinError> {
    let failed = |error: &dyn std::fmt::Display| JoinError::Files(error.to_string());
    let mut data_dir = DataDir::open(dir).map_err(|e| failed(&e))?;
    let identity = Identity {
        cluster_id: joined.cluster_id,
        member_id: joined.member_id,
        name: joined.name.clone(),
        origin: Origin::Joined,
        members: joined.members.iter().map(known_member).collect(),
    };
    data_dir.set_identity(identity).map_err(|e| failed(&e))
}

/// The key of this machine and its request for a certificate.
pub(super) struct Attempt {
    pub(super) key: KeyPair,
    pub(super) csr_der: Vec<u8>,
}

fn attempt_over(files: &Files) -> Result<(), JoinError> {
    files.remove(JOINING_KEY)?;
    Ok(files.remove(JOINING_CSR)?)
}

impl Attempt {
    /// The one that was begun here before, or a new one; on the disk before anybody hears of it.
    fn prepare(data_dir: &Path) -> Result<(Files, Self), JoinError> {
        fs::create_dir_all(data_dir)
            .map_err(|e| JoinError::Files(format!("{} cannot be made: {e}", data_dir.display())))?;
        let files = Files::create(&data_dir.join("pki"))?;
        let made = |what| TrustError::pki(what);
        if let (Some(key), Some(csr_der)) = (files.read(JOINING_KEY)?, files.read(JOINING_CSR)?) {
            let key = KeyPair::from_pem(&key).map_err(made("pki/joining.key"))?;
            return Ok((files, Self { key, csr_der }));
        }
        let key = KeyPair::generate().map_err(made("a new key"))?;
        let csr_der = csr::create(&key).map_err(made("a request for a certificate"))?;
        files.write(JOINING_KEY, key.to_pem().as_bytes())?;
        files.write(JOINING_CSR, &csr_der)?;
        Ok((files, Self { key, csr_der }))
    }

    /// Keeps the certificate, if it is for this key.
    fn keep(self, files: &Files, granted: &JoinGranted) -> Result<(), JoinError> {
        let wrong = |error: kvorum_pki::PkiError| unusable(&error.to_string());
        let all = |ders: &[bytes::Bytes]| ders.iter().map(der).collect::<Vec<_>>();
        let chain = Chain::new(all(&granted.chain_der)).map_err(wrong)?;
        let bundle = Bundle::new(self.key, chain).map_err(wrong)?;
        files.write_roots(&all(&granted.bundle_der))?;
        Ok(files.write_bundle(on_disk::NODE_PEM, &bundle)?)
    }
}

pub(super) fn ask(
    token: &JoinToken,
    options: &JoinOptions,
    role: TokenRole,
    attempt: &Attempt,
) -> Result<JoinGranted, JoinError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| JoinError::Files(format!("the system refuses a runtime: {error}")))?;
    runtime.block_on(ask_in_turn(token, options, role, attempt))
}

/// All addresses in turn, until one answers or the time is up.
async fn ask_in_turn(
    token: &JoinToken,
    options: &JoinOptions,
    role: TokenRole,
    attempt: &Attempt,
) -> Result<JoinGranted, JoinError> {
    let begin = Instant::now();
    loop {
        let mut failure = JoinError::Unreachable("it names none".into());
        for address in token.addresses() {
            match ask_at(&address, token, options, role, attempt).await {
                Err(error @ (JoinError::Unreachable(_) | JoinError::Later(_))) => failure = error,
                answered => return answered,
            }
        }
        if begin.elapsed() + PAUSE >= options.patience {
            return Err(failure);
        }
        tracing::info!(reason = %failure, "not joined yet; asking again");
        tokio::time::sleep(PAUSE).await;
    }
}

async fn ask_at(
    address: &str,
    token: &JoinToken,
    options: &JoinOptions,
    role: TokenRole,
    attempt: &Attempt,
) -> Result<JoinGranted, JoinError> {
    let unreachable = |reason: String| JoinError::Unreachable(format!("{address}: {reason}"));
    let pinned = PinnedRoot::new(token.pin());
    let mut stream = dial(address, pinned).await?;
    let (_, tls) = stream.get_ref();
    let other = |reason: String| JoinError::OtherCluster {
        address: address.to_owned(),
        reason,
    };
    let shown: Vec<CertificateDer<'static>> = tls
        .peer_certificates()
        .map(<[_]>::to_vec)
        .unwrap_or_default();
    let cluster = pinned.verify(&shown, unix_s());
    let cluster = cluster.map_err(|refused| other(refused.to_string()))?;
    let exporter = proof::exporter(tls).map_err(|error| unreachable(error.to_string()))?;
    let digest = csr::digest(&attempt.csr_der);
    let request = JoinRequest {
        token_id: token.id().as_bytes().to_vec().into(),
        csr_der: attempt.csr_der.clone().into(),
        proof: proof::mac(&token.secret_digest(), &exporter, &digest)
            .to_vec()
            .into(),
        role: role.into(),
        name: options.name.clone(),
        peer_urls: options.peer_urls.clone(),
        server_version: env!("CARGO_PKG_VERSION").into(),
    };
    let exchanged = timeout(ANSWER, exchange(&mut stream, &request)).await;
    let response = exchanged
        .map_err(|_| JoinError::Later("no answer in time".into()))?
        // The answer may have been lost on the way: the same request may come again.
        .map_err(|error| JoinError::Later(format!("{address}: {error}")))?;
    match response.result {
        Some(Answer::Granted(granted)) if granted.domain == cluster.domain.as_bytes()[..] => {
            Ok(granted)
        }
        Some(Answer::Granted(_)) => Err(other("its answer is another cluster's".into())),
        Some(Answer::Refused(refused)) => Err(refused.into()),
        None => Err(JoinError::Answer(address.to_owned(), "it is empty".into())),
    }
}

/// A connection to a member of the cluster that the token pins.
async fn dial(address: &str, pinned: PinnedRoot) -> Result<TlsStream<TcpStream>, JoinError> {
    let unreachable = |reason: String| JoinError::Unreachable(format!("{address}: {reason}"));
    let socket = timeout(HANDSHAKE, TcpStream::connect(address)).await;
    let socket = socket
        .map_err(|_| unreachable("no answer".into()))?
        .map_err(|error| unreachable(error.to_string()))?;
    let config = pinned.client_config();
    let config = config.map_err(|error| unreachable(error.to_string()))?;
    // No name is sent: who answers is told by the pin.
    let name = ServerName::from(std::net::Ipv4Addr::UNSPECIFIED);
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, socket);
    match timeout(HANDSHAKE, connecting).await {
        Err(_) => Err(unreachable("no handshake".into())),
        Ok(Err(error)) if live::is_about_time(&error) => Err(JoinError::Clock {
            address: address.to_owned(),
            reason: kvorum_pki::tls::explain_io(&error),
        }),
        Ok(Err(error)) if live::is_refusal(&error) => Err(JoinError::OtherCluster {
            address: address.to_owned(),
            reason: kvorum_pki::tls::explain_io(&error),
        }),
        Ok(Err(error)) => Err(unreachable(kvorum_pki::tls::explain_io(&error))),
        Ok(Ok(stream)) => Ok(stream),
    }
}

async fn exchange(
    stream: &mut TlsStream<TcpStream>,
    request: &JoinRequest,
) -> std::io::Result<JoinResponse> {
    let body = request.encode_to_vec();
    let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
    stream.write_u32(length).await?;
    stream.write_all(&body).await?;
    stream.flush().await?;
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > JOIN_FRAME_BYTES_MAX {
        return Err(std::io::Error::other("the answer is too long"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    JoinResponse::decode(&body[..]).map_err(std::io::Error::other)
}
