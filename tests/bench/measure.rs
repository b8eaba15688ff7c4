//! One cell of the table: a load on a server for some seconds, and what it cost both sides.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::{
    http2::{Connection, ConnectionId, Dial, Event, Load, Nanos, Path, Pool, SlotId},
    keyspace::KeyNumber,
    lease::Leases,
    tally::{Phase, Tally},
    template::{self, Template},
    unary::{Plan, Unary},
    usage::{self, Memory, Pid, Usage},
    watch::Watch,
    workload::{Row, Workload, spread},
};

/// Most putters that share a connection.
const PUTTERS_PER_CONNECTION: u32 = 16;

/// How long a cell runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// The server under load, or all members of one. Without pids its costs stay unknown.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Whom the clients dial, in turn.
    pub(crate) dials: Vec<Dial>,
    /// Everyone whose costs count.
    pub(crate) pids: Vec<Pid>,
}

/// What a cell shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) server: Option<ServerCost>,
    /// Client CPU per operation, and how much of one core that was.
    pub(crate) client_cpu_us: f64,
    pub(crate) client_cores: f64,
    pub(crate) errors: u64,
    pub(crate) error_texts: Vec<String>,
}

/// What the server spent on each operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ServerCost {
    pub(crate) cpu_us: f64,
    pub(crate) written_bytes: f64,
    pub(crate) resident_mib: f64,
}

/// A load with a tally.
trait Counted: Load {
    fn tally(&mut self) -> &mut Tally;
}

impl Counted for Unary {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Counted for Leases {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Counted for Watch {
    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

/// Counters of both sides at one moment.
struct Moment {
    at: Nanos,
    server: Option<Usage>,
    client_cpu_us: f64,
}

impl Moment {
    fn take(pool: &Pool, target: &Target) -> Result<Self> {
        let server = Usage::of_all(&target.pids)?;
        Ok(Self {
            at: pool.now(),
            server,
            client_cpu_us: usage::own_cpu_us(),
        })
    }
}

/// Runs one cell.
pub(crate) fn measure(
    target: &Target,
    row: Row,
    plan: Plan,
    putters: u32,
    spans: Spans,
) -> Result<Cell> {
    let slots = spread(row.clients, row.connections);
    match row.workload {
        Workload::Watch => {
            let connections = putters.div_ceil(PUTTERS_PER_CONNECTION);
            let putters = spread(putters, connections);
            let load = Watch::new(plan, &slots, &putters)?;
            // The load itself starts the putters when the watches stand.
            let pool = Pool::connect(&target.dials, &[&slots[..], &putters].concat())?;
            run(pool, load, &slots, target, spans)
        }
        Workload::Lease => {
            let load = Leases::new(plan.check, &slots)?;
            run(
                Pool::connect(&target.dials, &slots)?,
                load,
                &slots,
                target,
                spans,
            )
        }
        _ => {
            let load = Unary::new(plan, &slots)?;
            run(
                Pool::connect(&target.dials, &slots)?,
                load,
                &slots,
                target,
                spans,
            )
        }
    }
}

fn begin_all(pool: &mut Pool, load: &mut impl Load, slots: &[u32]) -> Result<()> {
    for (at, count) in (0..).zip(slots) {
        for slot in 0..*count {
            pool.begin(load, ConnectionId(at), SlotId(slot))?;
        }
    }
    Ok(())
}

fn run(
    mut pool: Pool,
    mut load: impl Counted,
    slots: &[u32],
    target: &Target,
    spans: Spans,
) -> Result<Cell> {
    begin_all(&mut pool, &mut load, slots)?;
    turn_until(&mut pool, &mut load, spans.warm_up)?;
    load.tally().phase = Phase::Measure;
    let before = Moment::take(&pool, target)?;
    turn_until(&mut pool, &mut load, spans.measured)?;
    let after = Moment::take(&pool, target)?;
    load.tally().phase = Phase::Drain;
    let memory = Memory::of_all(&target.pids)?;
    while load.tally().in_flight > 0 {
        let deadline = pool.now().plus(Duration::from_secs(1));
        pool.turn(&mut load, deadline)?;
    }
    Ok(cell(load.tally(), &before, &after, memory))
}

fn turn_until(pool: &mut Pool, load: &mut impl Load, span: Duration) -> Result<()> {
    let deadline = pool.now().plus(span);
    while pool.turn(load, deadline)? < deadline {}
    Ok(())
}

fn cell(tally: &Tally, before: &Moment, after: &Moment, memory: Option<Memory>) -> Cell {
    let operations = tally.operations.max(1) as f64;
    let seconds = after.at.since(before.at) as f64 / 1e9;
    let client_cpu_us = after.client_cpu_us - before.client_cpu_us;
    let server = match (before.server, after.server) {
        (Some(before), Some(after)) => Some(ServerCost {
            cpu_us: (after.cpu_us - before.cpu_us) / operations,
            written_bytes: (after.written_bytes - before.written_bytes) as f64 / operations,
            resident_mib: memory.unwrap_or_default().resident_mib,
        }),
        _ => None,
    };
    Cell {
        per_second: tally.operations as f64 / seconds,
        p50_us: tally.latency_us(0.5),
        p99_us: tally.latency_us(0.99),
        p999_us: tally.latency_us(0.999),
        server,
        client_cpu_us: client_cpu_us / operations,
        client_cores: client_cpu_us / 1e6 / seconds,
        errors: tally.errors,
        error_texts: tally.error_texts.clone(),
    }
}

/// Puts every key once and checks that they are there. Tells the rate.
pub(crate) fn fill(dial: &Dial, plan: Plan) -> Result<f64> {
    let plan = Plan {
        workload: Workload::Put,
        fill: true,
        ..plan
    };
    let slots = spread(256, 16);
    let mut load = Unary::new(plan, &slots)?;
    let mut pool = Pool::connect(std::slice::from_ref(dial), &slots)?;
    load.tally.phase = Phase::Measure;
    let before = pool.now();
    begin_all(&mut pool, &mut load, &slots)?;
    while load.tally.in_flight > 0 {
        let deadline = pool.now().plus(Duration::from_secs(1));
        pool.turn(&mut load, deadline)?;
    }
    let seconds = pool.now().since(before) as f64 / 1e9;
    ensure!(
        load.tally.errors == 0,
        "loading keys: {}",
        load.tally.error_texts.join("; ")
    );
    let counted = count(dial)?;
    ensure!(
        counted == plan.keys,
        "{counted} keys after loading {}",
        plan.keys
    );
    Ok(plan.keys as f64 / seconds)
}

/// How many keys the bench has on the server, by a linearizable count.
pub(crate) fn count(dial: &Dial) -> Result<u64> {
    let reply = call(dial, "/etcdserverpb.KV/Range", &template::count())?;
    let reply: kvorum_proto::etcdserverpb::RangeResponse = prost::Message::decode(&reply[..])?;
    u64::try_from(reply.count).context("a negative count")
}

/// Reads one key, linearizable, whether it exists or not.
pub(crate) fn read_one(dial: &Dial) -> Result<()> {
    let mut get = Template::get(false);
    get.set_keys(KeyNumber(0), 1);
    call(dial, "/etcdserverpb.KV/Range", get.message()).map(|_| ())
}

/// Whether this member leads its cluster.
pub(crate) fn is_leader(dial: &Dial) -> Result<bool> {
    use kvorum_proto::etcdserverpb as pb;
    let ask = template::framed(&pb::StatusRequest {});
    let reply = call(dial, "/etcdserverpb.Maintenance/Status", &ask)?;
    let status: pb::StatusResponse = prost::Message::decode(&reply[..])?;
    let own = status.header.unwrap_or_default().member_id;
    Ok(own != 0 && status.leader == own)
}

/// One unary call on its own connection.
fn call(dial: &Dial, path: &str, message: &[u8]) -> Result<Vec<u8>> {
    let mut pool = Pool::connect(std::slice::from_ref(dial), &[1])?;
    let mut once = Once {
        path: Path::new(path),
        message,
        reply: None,
        outcome: None,
    };
    pool.begin(&mut once, ConnectionId(0), SlotId(0))?;
    while once.outcome.is_none() {
        let deadline = pool.now().plus(Duration::from_secs(1));
        pool.turn(&mut once, deadline)?;
    }
    match once.outcome {
        Some(Err(text)) => anyhow::bail!("{path}: {text}"),
        _ => once
            .reply
            .with_context(|| format!("{path}: reply without a message")),
    }
}

struct Once<'a> {
    path: Path,
    message: &'a [u8],
    reply: Option<Vec<u8>>,
    outcome: Option<Result<(), String>>,
}

impl Load for Once<'_> {
    fn begin(&mut self, _: ConnectionId, slot: SlotId, on: &mut Connection, _: Nanos) {
        on.call(slot, &self.path, self.message, true);
    }

    fn take(&mut self, _: ConnectionId, on: &mut Connection, event: Event, _: Nanos) -> Result<()> {
        match event {
            Event::Message { span, .. } => self.reply = Some(on.bytes(&span).to_vec()),
            Event::End { outcome, .. } => self.outcome = Some(outcome),
        }
        Ok(())
    }
}
