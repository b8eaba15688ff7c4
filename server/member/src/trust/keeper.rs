//! The task beside a member that keeps its certificates.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvorum_core::trust::{Stage, Trust, TrustRefused, made_by_member};
use kvorum_core::{Error, MemberId};
use kvorum_pki::{LiveTls, spki_sha256};
use kvorum_proto::kvorumpb::{TrustAck, TrustInit, trust_op::Op};
use prost::Message as _;
use rustls_pki_types::CertificateDer;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::admin::{Clerk, Listing, ROOT_USER};
use super::authority::{Authority, der};
use super::clients::ClientTrust;
use super::files::{FOUNDING, Files};
use super::leader::{self, StepError};
use super::live::{Listeners, Shows};
use super::renewal::{Own, Renewing};
use super::{TrustError, TrustOptions, join_server};
use crate::clock::unix_s;
use crate::families::gauges;
use crate::handle::Handle;
use crate::peer::{JoinAsk, PeerTls};
use crate::start::{Member, StartError};

/// Requests to join that wait for the task.
const JOINS_MAX: usize = 16;
/// A look that takes longer begins anew, with what is known by then.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// So much of a look waits for the cluster, as long as this member does not know where it stands.
const CATCH_UP: Duration = Duration::from_millis(500);
/// A leader that has just begun does not know yet whom it can reach.
const SETTLED: Duration = Duration::from_secs(5);
/// Between two looks while something is due.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// Between two looks while nothing is.
const LOOK_LATER: Duration = Duration::from_secs(60);

/// The certificates of this member and the trust in others, kept in step with what is replicated.
pub struct Keeper {
    options: TrustOptions,
    files: Files,
    authority: Arc<Authority>,
    own: Own,
    listeners: Listeners,
    /// It has seen what the cluster knew after its start.
    is_current: bool,
    /// Since when it leads, as far as it has looked.
    leads: Option<Instant>,
    /// The roots in the file are not those that are trusted.
    unwritten_roots: bool,
    /// The last failure that was told.
    told: Option<String>,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

impl Keeper {
    /// Reads the files, and makes the TLS of all listeners from them.
    ///
    /// # Errors
    /// A file is missing, damaged or not safe.
    pub fn open(options: TrustOptions) -> Result<Self, TrustError> {
        let files = Files::open(&options.pki_dir)?;
        let authority = Arc::new(Authority {
            domain: files.domain()?,
            seal_key: files.seal_key()?,
        });
        let own = Own::load(&files)?;
        let trust = Arc::new(kvorum_pki::Trust {
            domain: Some(authority.domain),
            roots: files.roots()?,
            ..kvorum_pki::Trust::default()
        });
        let listeners = Listeners::new(&shows(&own), trust, options.client_certs)?;
        Ok(Self {
            options,
            files,
            authority,
            own,
            listeners,
            is_current: false,
            leads: None,
            unwritten_roots: false,
            told: None,
        })
    }

    /// For listeners of clients.
    #[must_use]
    pub fn client_tls(&self) -> LiveTls {
        self.listeners.client.clone()
    }

    /// For the console. Administrators may show their certificates there.
    #[must_use]
    pub fn console_tls(&self) -> LiveTls {
        self.listeners.console.clone()
    }

    /// For connections between members.
    #[must_use]
    pub fn peer_tls(&self) -> PeerTls {
        PeerTls::own(self.listeners.peer.clone())
    }

    /// Judges certificates of clients.
    #[must_use]
    pub fn client_trust(&self) -> ClientTrust {
        self.listeners.client_trust()
    }

    /// Runs beside the member until that stops, on a thread of its own.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn run(self, member: &Member) -> Result<(), StartError> {
        let failed = |source| StartError::System {
            what: "a thread cannot be started",
            source,
        };
        let handle = member.handle()?;
        let clerk = Arc::new(Clerk::new(self.authority.clone(), &self.options));
        // A member has one keeper.
        let _set = handle.shared.clerk.set(clerk);
        let (asks, asked) = mpsc::channel(JOINS_MAX);
        if let Some(peers) = handle.shared.cluster.peers() {
            // A request that finds no place is refused by being dropped.
            peers.serve_joins(Arc::new(move |ask| drop(asks.try_send(ask))));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let thread = std::thread::Builder::new().name("trust".into());
        let running = thread.spawn(move || runtime.block_on(self.keep(handle, asked)));
        running.map(drop).map_err(failed)
    }

    async fn keep(mut self, handle: Handle, mut asked: mpsc::Receiver<JoinAsk>) {
        let expiry = gauges(
            handle.registry(),
            "kvorum_certificate_expiry_seconds",
            "When the certificates of this member end, seconds since 1970.",
            &["certificate"],
        );
        let mut carried = tokio::spawn(handle.run());
        let mut changes = handle.shared.trust.subscribe();
        loop {
            let trust = changes.borrow_and_update().clone();
            // Who waits for the cluster must not keep a revocation waiting that came meanwhile.
            let looked = timeout(LOOK_MAX, self.look(&handle, &trust)).await;
            let pause = looked.unwrap_or(Duration::ZERO);
            self.own.tell_expiry(&expiry);
            tokio::select! {
                // It ends with the member.
                _ = &mut carried => return,
                Some(ask) = asked.recv() => {
                    let clerk = handle.shared.clerk.get().cloned();
                    tokio::spawn(join_server::answer(handle.clone(), clerk, ask));
                }
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Does what is due; how long until the next look.
    async fn look(&mut self, handle: &Handle, trust: &Trust) -> Duration {
        match self.step(handle, trust).await {
            Ok(pause) => {
                self.told = None;
                pause
            }
            Err(error) => {
                let text = error.to_string();
                // Others may have done it, or there is no leader now: the next look knows more.
                let passes = matches!(
                    error,
                    StepError::Refused(
                        Error::Timeout
                            | Error::NoLeader
                            | Error::LeaderChanged
                            | Error::NotLeader
                            | Error::Stopped
                            | Error::Trust(TrustRefused::Stale | TrustRefused::Exists)
                    )
                );
                if !passes && self.told.as_ref() != Some(&text) {
                    tracing::error!(error = text, "the certificates cannot be kept");
                    self.told = Some(text);
                }
                LOOK_SOON
            }
        }
    }

    async fn step(&mut self, handle: &Handle, trust: &Trust) -> Result<Duration, StepError> {
        if !trust.is_ready() {
            self.found(handle).await?;
            return Ok(LOOK_SOON);
        }
        if !self.is_current {
            // What a member remembers at its start may be older than its own certificates.
            let current = timeout(CATCH_UP, handle.read_barrier()).await;
            self.is_current = matches!(current, Ok(Ok(())));
            if self.is_current {
                return Ok(Duration::ZERO);
            }
        }
        if trust.domain() != &self.authority.domain.as_bytes()[..] {
            return Err(TrustError::State("it is another cluster's; see pki/domain").into());
        }
        let accepted = Arc::new(self.authority.accepted(trust));
        let jitter = jitter(self.options.member_id.0);
        let renewing = self.renew(handle, trust, &accepted, jitter);
        // Where nothing can be renewed, as on a full disk, all the rest goes on: whom to trust, and what others wait for.
        self.put_into_effect(&accepted)?;
        let newest = trust.acks().map(|ack| {
            let told = (ack.serial.to_vec(), ack.not_after_unix_s);
            (MemberId(ack.member_id), told)
        });
        self.listeners.peer.note_newest(newest.collect());
        self.files.remove(FOUNDING)?;
        // What it remembers may be old, and would be told for the truth of now.
        let told = match self.is_current {
            true => self.tell(handle, trust).await,
            false => Ok(()),
        };
        if let Some(leads) = self.leads_since(handle) {
            let is_settled = leads >= SETTLED;
            leader::step(handle, &self.authority, trust, jitter, is_settled).await?;
        }
        told?;
        renewing?;
        let stage = trust.progress(&handle.member_table(), unix_s()).stage;
        // A member that does not know yet where it stands has told nothing of itself, and others wait for that.
        if stage != Stage::None || !self.is_current {
            return Ok(LOOK_SOON);
        }
        let left = self.own.due_unix_s(jitter).saturating_sub(unix_s());
        let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        Ok(left.clamp(LOOK_SOON, LOOK_LATER))
    }

    /// For how long this member leads; none if it does not.
    fn leads_since(&mut self, handle: &Handle) -> Option<Duration> {
        match handle.leads() {
            true => Some(self.leads.get_or_insert_with(Instant::now).elapsed()),
            false => {
                self.leads = None;
                None
            }
        }
    }

    /// The founder's authority becomes the cluster's.
    async fn found(&mut self, handle: &Handle) -> Result<(), StepError> {
        let Some(founding) = self.files.read(FOUNDING)? else {
            // Another member's authority is on its way here, or this one's: it may lead before it has read its log.
            if !handle.leads() {
                return Ok(());
            }
            handle.read_barrier().await?;
            if handle.trust().is_ready() {
                return Ok(());
            }
            return Err(TrustError::State(
                "there is no authority in it, and no pki/founding to begin one with; were these files put beside a \
                 restored snapshot? `kvorum snapshot restore --pki-dir` keeps the authority",
            )
            .into());
        };
        let init = TrustInit::decode(&founding[..]);
        let init = init.map_err(|_| TrustError::State("pki/founding cannot be read"))?;
        handle.trust_change(Op::Init(init)).await?;
        tracing::info!(domain = %self.authority.domain, "the certificate authority of this cluster begins");
        Ok(())
    }

    fn renew(
        &mut self,
        handle: &Handle,
        trust: &Trust,
        accepted: &kvorum_pki::Trust,
        jitter: u32,
    ) -> Result<(), TrustError> {
        let id = self.options.member_id.0;
        let members = handle.members();
        let renewing = Renewing {
            authority: &self.authority,
            trust,
            accepted,
            options: &self.options,
            member_name: &handle.identity().name,
            is_member: members.iter().any(|m| m.id == id),
            is_current: self.is_current,
            is_alone: members.iter().all(|m| m.id == id),
            jitter,
        };
        self.own.renew(&renewing, &self.files)
    }

    fn put_into_effect(&mut self, accepted: &Arc<kvorum_pki::Trust>) -> Result<(), TrustError> {
        let renewed = self.own.take_renewed();
        let known = self.listeners.trusted();
        if known != *accepted || renewed.node || renewed.other {
            self.unwritten_roots |= known.roots != accepted.roots;
            self.listeners
                .replace(&shows(&self.own), accepted, renewed.node)?;
        }
        if self.unwritten_roots {
            self.files.write_roots(&accepted.roots)?;
            self.unwritten_roots = false;
        }
        Ok(())
    }

    async fn tell(&self, handle: &Handle, trust: &Trust) -> Result<(), StepError> {
        self.acknowledge(handle, trust).await?;
        self.list_admin(handle, trust).await?;
        if let Some(seen) = self.listeners.seen.news(trust) {
            handle.trust_change(seen).await?;
        }
        Ok(())
    }

    /// Tells the cluster what this member trusts and shows.
    async fn acknowledge(&self, handle: &Handle, trust: &Trust) -> Result<(), StepError> {
        let chain = self.own.node.chain();
        let what = TrustError::pki("pki/node.pem");
        let (serial, validity) = match (chain.serial(), chain.validity()) {
            (Ok(serial), Ok(validity)) => (serial, validity),
            (Err(error), _) | (_, Err(error)) => return Err(what(error).into()),
        };
        let ack = TrustAck {
            member_id: self.options.member_id.0,
            bundle: trust.bundle(),
            root: root_of(trust, chain.certificates()),
            serial: serial.as_bytes().to_vec().into(),
            not_after_unix_s: validity.not_after_unix,
        };
        if trust.ack(self.options.member_id) != Some(&ack) {
            handle.trust_change(Op::Ack(ack)).await?;
        }
        Ok(())
    }

    /// The administrator's certificate of this member is on the list, so that it can be found there and revoked.
    async fn list_admin(&self, handle: &Handle, trust: &Trust) -> Result<(), StepError> {
        let Some(admin) = &self.own.admin else {
            return Ok(());
        };
        let chain = admin.chain();
        let what = TrustError::pki("pki/admin.pem");
        let serial = match (chain.serial(), chain.validity()) {
            (Ok(serial), Ok(validity)) if validity.not_after_unix > unix_s() => serial,
            (Ok(_), Ok(_)) => return Ok(()),
            (Err(error), _) | (_, Err(error)) => return Err(what(error).into()),
        };
        if trust.certificates().any(|c| c.serial == serial.as_bytes()) {
            return Ok(());
        }
        let Some(clerk) = handle.shared.clerk.get() else {
            return Ok(());
        };
        let kind = kvorum_proto::kvorumpb::CertificateKind::Admin;
        let by = made_by_member(self.options.member_id);
        let earlier = trust
            .certificates()
            .filter(|c| c.kind() == kind && c.issued_by == by && c.subject == ROOT_USER);
        let listing = Listing {
            kind,
            subject: ROOT_USER,
            root: root_of(trust, chain.certificates()),
            by: &by,
            replaces: earlier.map(|c| c.serial.clone()).take(64).collect(),
        };
        clerk.list(handle, chain, listing).await
    }
}

/// The root whose issuing certificate a chain has been signed with; 0 if that is none of now.
fn root_of(trust: &Trust, chain: &[CertificateDer<'static>]) -> u64 {
    let Some(issuer) = trust.issuer() else {
        return 0;
    };
    let spki = spki_sha256(&der(&issuer.der)).ok();
    let mut above = chain.iter().skip(1);
    let is_of = above.any(|c| spki.is_some() && spki_sha256(c).ok() == spki);
    match (is_of, trust.rotation()) {
        (true, _) => issuer.root,
        (false, Some(rotation)) => rotation.old_root,
        (false, None) => 0,
    }
}

fn shows(own: &Own) -> Shows<'_> {
    Shows {
        node: &own.node,
        console: own.console.as_ref(),
        join: own.join.as_ref(),
    }
}

/// A number that differs between members.
fn jitter(member: u64) -> u32 {
    let mixed = member.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(mixed >> 32).unwrap_or(0)
}
