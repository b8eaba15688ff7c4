//! Plays steps on a pair and compares what comes back.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::harness::model::{Limits, Model};
use prost::Message;

use crate::{
    differences::{self, Asked, Exchange, LIST, Mended},
    messages::{Answer, Outcome, Rpc},
    pair::{MAX_TXN_OPS, MIN_LEASE_TTL_S, Pair},
    renewals::Renewals,
    rules,
    step::Step,
    story::FIRST_MEMBER,
    watching::Watching,
    wire::{Head, Reply, framed},
};

/// Leases that are shorter could end in the middle of a story, on one side before the other.
const LASTING_TTL_S: i64 = 120;

const RESOURCE_EXHAUSTED: i32 = 8;
const NO_SPACE: &str = "etcdserver: mvcc: database space exceeded";

/// How many watch streams a story has.
pub(crate) const STREAMS: usize = kvorum_tests::harness::generate::STREAMS;

/// What a run has counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Requests sent to each side.
    pub(crate) requests: u64,
    pub(crate) kinds: BTreeMap<String, u64>,
    /// How each call ended on etcd's side.
    pub(crate) outcomes: BTreeMap<String, u64>,
    pub(crate) events: u64,
    pub(crate) listed: BTreeMap<&'static str, u64>,
    /// How often something that the model had due did not come from either side.
    pub(crate) model_off: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.events += other.events;
        self.model_off += other.model_off;
        for (all, some) in [
            (&mut self.kinds, &other.kinds),
            (&mut self.outcomes, &other.outcomes),
        ] {
            for (name, count) in some {
                *all.entry(name.clone()).or_default() += count;
            }
        }
        for (name, count) in &other.listed {
            *self.listed.entry(name).or_default() += count;
        }
    }
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Go,
    /// A listed difference has left the stores in different states.
    Parted,
}

/// A difference that no entry of the list explains.
pub(crate) type Unexplained = String;

/// A story being played.
pub(crate) struct Play {
    pub(crate) pair: Pair,
    pub(crate) model: Model,
    pub(crate) streams: Vec<Watching>,
    renewals: Renewals,
    pub(crate) tally: Tally,
}

impl Play {
    pub(crate) async fn start(tight: bool) -> Self {
        let pair = Pair::start(tight).await;
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            streams.push(Watching::open(&pair).await);
        }
        let limits = Limits {
            max_txn_ops: MAX_TXN_OPS,
            min_lease_ttl_s: MIN_LEASE_TTL_S,
        };
        Self {
            renewals: Renewals::open(&pair).await,
            pair,
            model: Model::new(limits),
            streams,
            tally: Tally::default(),
        }
    }

    /// Plays one step.
    ///
    /// # Errors
    /// The two sides differ, and the list does not say why.
    pub(crate) async fn step(&mut self, step: &Step) -> Result<Flow, Unexplained> {
        *self.tally.kinds.entry(step.kind()).or_default() += 1;
        if step.spells_out_nothing() {
            self.listed(differences::NOT_ASKED);
            return Ok(Flow::Go);
        }
        match step {
            Step::Call(rpc, request) => self.call(*rpc, request).await,
            Step::KeepAlive(request) => self.keep_alive(request).await,
            Step::Watch(stream, request) => self.watch(*stream, request).await,
            Step::Reconnect(stream) => self.reconnect(*stream).await,
            Step::HalfClose(stream) => {
                self.settle(*stream).await?;
                self.streams[*stream].half_close();
                Ok(Flow::Go)
            }
            Step::HalfCloseKeepAlive => {
                self.tally.requests += 1;
                self.renewals.half_close(&self.pair).await?;
                Ok(Flow::Go)
            }
            Step::Settle => self.settle_all().await,
            Step::Expire { lease, keys } => self.expire(*lease, keys).await,
            Step::Odd { head, body } => self.odd(head, body).await,
        }
    }

    async fn both(&mut self, head: &Head, body: Bytes) -> [Reply; 2] {
        self.tally.requests += 1;
        let [kvorum, etcd] = self.pair.sides().map(|side| &side.connection);
        let (kvorum, etcd) = tokio::join!(kvorum.call(head, body.clone()), etcd.call(head, body));
        [kvorum, etcd]
    }

    async fn call(&mut self, rpc: Rpc, request: &Bytes) -> Result<Flow, Unexplained> {
        if rpc == Rpc::Compact {
            self.settle_all().await?;
            for stream in &self.streams {
                stream.in_step().await;
            }
        }
        let replies = self.both(&Head::grpc(rpc.path()), framed(request)).await;
        let [kvorum, etcd] = replies.map(|reply| Outcome::of(rpc, reply));
        let kept = [kvorum.clone(), etcd.clone()];
        let flow = self.compare(Asked::Call(rpc, request), kvorum, etcd)?;
        if flow == Flow::Go {
            if kept[1].answer().is_some() {
                self.tell(rpc, request);
            }
            if kept[1].is_refused(RESOURCE_EXHAUSTED, NO_SPACE) {
                self.tell_full();
            }
            if rpc == Rpc::LeaseGrant {
                self.end_short_lease(&kept).await?;
            }
            if rpc == Rpc::Compact {
                self.ended_by_compaction().await?;
            }
        }
        Ok(flow)
    }

    /// What was accepted happens to the model too.
    fn tell(&mut self, rpc: Rpc, request: &Bytes) {
        fn read<M: Message + Default>(request: &Bytes) -> Option<M> {
            M::decode(request.clone()).ok()
        }
        let model = &mut self.model;
        let agreed = match rpc {
            Rpc::Put => read(request).map(|request| model.put(&request).is_ok()),
            Rpc::DeleteRange => read(request).map(|request| model.delete_range(&request).is_ok()),
            Rpc::Txn => read(request).map(|request| model.txn(&request).is_ok()),
            Rpc::Compact => read(request).map(|request| model.compact(&request).is_ok()),
            // Under an id of the server's own it is ended at once.
            Rpc::LeaseGrant => read(request)
                .filter(|request: &pb::LeaseGrantRequest| request.id != 0)
                .map(|request| model.lease_grant(&request).is_ok()),
            Rpc::LeaseRevoke => read(request).map(|request| model.lease_revoke(&request).is_ok()),
            Rpc::Alarm => read(request).map(|request| {
                model.alarm(&request);
                true
            }),
            _ => None,
        };
        if agreed == Some(false) {
            self.tally.model_off += 1;
        }
    }

    /// A store that runs full says so with an alarm of its own.
    fn tell_full(&mut self) {
        self.model.alarm(&pb::AlarmRequest {
            action: pb::alarm_request::AlarmAction::Activate.into(),
            member_id: FIRST_MEMBER,
            alarm: pb::AlarmType::Nospace.into(),
        });
    }

    /// Applies rules and list; what is left must be equal.
    pub(crate) fn compare(
        &mut self,
        asked: Asked<'_>,
        mut kvorum: Outcome,
        mut etcd: Outcome,
    ) -> Result<Flow, Unexplained> {
        let terms = self.pair.sides().map(|side| side.term);
        if let (Outcome::Answer(kvorum), Outcome::Answer(etcd)) = (&mut kvorum, &mut etcd) {
            rules::settle(asked, kvorum, etcd, terms)?;
        }
        self.count_outcome(asked, &etcd);
        let mut exchange = Exchange {
            asked,
            kvorum,
            etcd,
            model: &self.model,
        };
        let mut flow = Flow::Go;
        for entry in LIST.iter().filter(|entry| (entry.at)(self.pair.reference)) {
            if exchange.kvorum == exchange.etcd {
                break;
            }
            let mended = (entry.mend)(&mut exchange);
            if mended != Mended::No {
                *self.tally.listed.entry(entry.name).or_default() += 1;
            }
            if mended == Mended::Parted {
                flow = Flow::Parted;
            }
        }
        if exchange.kvorum == exchange.etcd {
            Ok(flow)
        } else {
            Err(apart(&exchange.kvorum, &exchange.etcd))
        }
    }

    pub(crate) fn listed(&mut self, name: &'static str) {
        *self.tally.listed.entry(name).or_default() += 1;
    }

    fn count_outcome(&mut self, asked: Asked<'_>, etcd: &Outcome) {
        let what = match asked {
            Asked::Call(rpc, _) => format!("{rpc:?}"),
            Asked::KeepAlive(_) => "LeaseKeepAlive".to_owned(),
            Asked::Watch(_) => "Watch".to_owned(),
            Asked::Odd(_) => "odd".to_owned(),
        };
        let how = match etcd {
            Outcome::Answer(_) => "answered".to_owned(),
            Outcome::Refused { code, text } => {
                format!(
                    "{code} {}",
                    text.split(": proto").next().unwrap_or_default()
                )
            }
            Outcome::Odd(reply) => format!("HTTP {}, code {:?}", reply.http_status, reply.code),
        };
        *self
            .tally
            .outcomes
            .entry(format!("{what}: {how}"))
            .or_default() += 1;
    }

    async fn odd(&mut self, head: &Head, body: &Bytes) -> Result<Flow, Unexplained> {
        let replies = self.both(head, body.clone()).await;
        let rpc = Rpc::ALL.iter().find(|rpc| rpc.path() == head.path);
        let [kvorum, etcd] = replies.map(|reply| match rpc {
            Some(rpc) => Outcome::of(*rpc, reply),
            None => Outcome::Odd(reply),
        });
        self.compare(Asked::Odd(head), kvorum, etcd)
    }

    /// A lease that would end by itself is ended at once; so is one whose id each server chose for itself.
    async fn end_short_lease(&mut self, granted: &[Outcome; 2]) -> Result<(), Unexplained> {
        let lease = |outcome: &Outcome| match outcome.answer() {
            Some(Answer::LeaseGrant(reply)) => Some((reply.id, reply.ttl)),
            _ => None,
        };
        let (Some((kvorum, ttl)), Some((etcd, _))) = (lease(&granted[0]), lease(&granted[1]))
        else {
            return Ok(());
        };
        if kvorum == etcd && ttl >= LASTING_TTL_S {
            return Ok(());
        }
        let head = Head::grpc(Rpc::LeaseRevoke.path());
        self.tally.requests += 1;
        let mut outcomes = Vec::new();
        for (side, id) in self.pair.sides().into_iter().zip([kvorum, etcd]) {
            let request = framed(&pb::LeaseRevokeRequest { id }.encode_to_vec());
            let reply = side.connection.call(&head, request).await;
            outcomes.push(Outcome::of(Rpc::LeaseRevoke, reply));
        }
        if kvorum == etcd {
            let _ = self
                .model
                .lease_revoke(&pb::LeaseRevokeRequest { id: kvorum });
        }
        let asked = Asked::Call(Rpc::LeaseRevoke, &Bytes::new());
        let etcd = outcomes.pop().expect("two sides");
        let kvorum = outcomes.pop().expect("two sides");
        self.compare(asked, kvorum, etcd).map(|_| ())
    }

    async fn expire(&mut self, lease: i64, keys: &[Bytes]) -> Result<Flow, Unexplained> {
        let grant = pb::LeaseGrantRequest { ttl: 1, id: lease };
        let replies = self
            .both(
                &Head::grpc(Rpc::LeaseGrant.path()),
                framed(&grant.encode_to_vec()),
            )
            .await;
        let [kvorum, etcd] = replies.map(|reply| Outcome::of(Rpc::LeaseGrant, reply));
        let granted = etcd.answer().is_some();
        let asked = Bytes::from(grant.encode_to_vec());
        self.compare(Asked::Call(Rpc::LeaseGrant, &asked), kvorum, etcd)?;
        if !granted {
            return Ok(Flow::Go);
        }
        let _ = self.model.lease_grant(&grant);
        for key in keys {
            let put = pb::PutRequest {
                key: key.clone(),
                lease,
                ..Default::default()
            };
            Box::pin(self.call(Rpc::Put, &put.encode_to_vec().into())).await?;
        }
        self.renewals.wait_gone(&self.pair, lease).await?;
        let _ = self
            .model
            .lease_revoke(&pb::LeaseRevokeRequest { id: lease });
        self.settle_all().await
    }

    async fn keep_alive(&mut self, request: &Bytes) -> Result<Flow, Unexplained> {
        self.tally.requests += 1;
        let [kvorum, etcd] = self.renewals.ask(&self.pair, request).await?;
        self.compare(Asked::KeepAlive(request), kvorum, etcd)
    }
}

/// Both sides, in words.
pub(crate) fn apart(kvorum: &impl std::fmt::Debug, etcd: &impl std::fmt::Debug) -> String {
    const LENGTH: usize = 1_500;
    let (kvorum, etcd) = (format!("{kvorum:?}"), format!("{etcd:?}"));
    let common = kvorum
        .bytes()
        .zip(etcd.bytes())
        .take_while(|(one, other)| one == other)
        .count();
    let from = common.saturating_sub(300);
    let cut = |text: &str| {
        let bytes = text.as_bytes();
        let end = bytes.len().min(from + LENGTH);
        String::from_utf8_lossy(bytes.get(from..end).unwrap_or_default()).into_owned()
    };
    format!(
        "from byte {from} on\n  kvorum {}\n  etcd   {}",
        cut(&kvorum),
        cut(&etcd)
    )
}
