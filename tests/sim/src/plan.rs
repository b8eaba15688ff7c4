//! What one seed is like: sizes, speeds and faults, all drawn from the seed, so that seeds differ from each other more
//! than runs of one setting do. (Groce et al.: Swarm testing, 2012)

use kvorum_tests::harness::generate::Dice;

use crate::mutant::Mutant;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A machine loses power.
    Crash,
    /// All machines lose power at once.
    CrashAll,
    /// A process dies; its disk keeps what was written.
    Kill,
    /// A process stands still for a while.
    Pause,
    /// The leader stands still for longer than the others need to elect another.
    PauseLeader,
    /// One direction between two members.
    CutOneWay,
    /// Both directions between two members.
    CutPair,
    /// One member, from all others.
    Isolate,
    /// The leader, from all others.
    IsolateLeader,
    /// Two halves that meet in one member only.
    Bridge,
    /// A link that comes and goes.
    Flap,
    /// A disk that takes long for each sync.
    SlowDisk,
    /// A disk that does not answer for a while.
    HangDisk,
    /// A sync that fails with EIO.
    SyncError,
    /// A disk without room for a while.
    FullDisk,
    /// Bits that rot.
    BitFlip,
    /// Clocks that run at other speeds.
    ClockRate,
    /// The leadership is handed over by command.
    Transfer,
    /// A member more, as a learner.
    AddLearner,
    /// A learner votes.
    Promote,
    /// A member less.
    Remove,
    /// The leader is removed.
    RemoveLeader,
    /// A member is replaced by another in one change.
    Replace,
}

/// What the swarm is drawn from: all but `PauseLeader`, which has a profile.
pub(crate) const FAULTS: [Fault; 22] = [
    Fault::Crash,
    Fault::CrashAll,
    Fault::Kill,
    Fault::Pause,
    Fault::CutOneWay,
    Fault::CutPair,
    Fault::Isolate,
    Fault::IsolateLeader,
    Fault::Bridge,
    Fault::Flap,
    Fault::SlowDisk,
    Fault::HangDisk,
    Fault::SyncError,
    Fault::FullDisk,
    Fault::BitFlip,
    Fault::ClockRate,
    Fault::Transfer,
    Fault::AddLearner,
    Fault::Promote,
    Fault::Remove,
    Fault::RemoveLeader,
    Fault::Replace,
];

/// Which faults a run is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Any mixture.
    #[default]
    Swarm,
    /// None at all.
    Calm,
    /// Power failures, dying processes, disks.
    Disks,
    /// The network.
    Partitions,
    /// Processes that stand still, clocks, late messages. (etcd #20418)
    Pauses,
    /// Members come and go.
    Members,
    /// As `Pauses`, with a network that delivers messages twice: what the transport must never do.
    Duplicates,
}

impl Profile {
    /// All, by name.
    pub const ALL: [(&'static str, Self); 7] = [
        ("swarm", Self::Swarm),
        ("calm", Self::Calm),
        ("disks", Self::Disks),
        ("partitions", Self::Partitions),
        ("pauses", Self::Pauses),
        ("members", Self::Members),
        ("duplicates", Self::Duplicates),
    ];

    /// The profile of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|(_, profile)| *profile)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, profile)| *profile == self);
        found.map_or("", |(name, _)| *name)
    }

    fn faults(self) -> &'static [Fault] {
        use Fault as F;
        match self {
            Self::Swarm => &FAULTS,
            Self::Calm => &[],
            Self::Disks => &[
                F::Crash,
                F::CrashAll,
                F::Kill,
                F::SlowDisk,
                F::HangDisk,
                F::SyncError,
                F::FullDisk,
                F::BitFlip,
            ],
            Self::Partitions => &[
                F::CutOneWay,
                F::CutPair,
                F::Isolate,
                F::IsolateLeader,
                F::Bridge,
                F::Flap,
            ],
            Self::Pauses | Self::Duplicates => &[
                F::Pause,
                F::PauseLeader,
                F::PauseLeader,
                F::ClockRate,
                F::IsolateLeader,
                F::Transfer,
            ],
            Self::Members => &[
                F::AddLearner,
                F::Promote,
                F::Remove,
                F::RemoveLeader,
                F::Replace,
                F::Crash,
                F::IsolateLeader,
                F::Transfer,
            ],
        }
    }
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Draws everything.
    pub seed: u64,
    /// Client calls.
    pub ops: u64,
    /// Which faults.
    pub profile: Profile,
    /// A bug that is built in.
    pub mutant: Option<Mutant>,
}

/// From least to most.
pub(crate) type Span = (u64, u64);

/// What was drawn.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// What it was drawn for.
    pub order: Order,
    /// Members at first.
    pub members: u64,
    /// Clients that read and write.
    pub clients: usize,
    /// Clients that watch.
    pub watchers: usize,
    /// Keys.
    pub keys: u64,
    /// A client's pause between two calls, µs.
    pub think_us: Span,
    /// A client waits so long for an answer, µs.
    pub patience_us: Span,
    /// Faults that may occur, and the mean time between two, µs.
    pub faults: Vec<Fault>,
    pub fault_every_us: u64,
    /// A message's time on the way, µs.
    pub delay_us: Span,
    /// Of a million messages so many are lost, late, and doubled.
    pub lost_ppm: u64,
    pub late_ppm: u64,
    pub doubled_ppm: u64,
    /// The time of a sync, µs, and how many of a million take much longer.
    pub sync_us: Span,
    pub sync_late_ppm: u64,
    /// Between an input and the turn that takes it, µs.
    pub turn_us: u64,
    /// Between two looks of the store thread, µs.
    pub flush_every_us: u64,
    /// Sizes that make things happen often.
    pub tail_bytes: usize,
    pub lag_bytes: usize,
    pub segment_bytes: u64,
    pub recent_bytes: usize,
    pub compact_slice: usize,
    pub digest_interval_ms: u64,
    /// Clocks differ by up to so many per mille.
    pub clock_permille: u64,
    /// The log's disk writes through, as with `O_DSYNC`.
    pub durable_log: bool,
    /// The rules for changes of the members, and what learners wish.
    pub strict: bool,
    pub auto_promote: bool,
    /// Clients do not notice that a member stands still, and what they asked may come before what peers sent.
    pub unnoticed: bool,
    /// Compactions among the calls, in a thousand.
    pub compact_permille: u64,
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub(crate) fn draw(order: Order) -> Self {
        let mut dice = Dice::new(order.seed ^ 0x706c_616e);
        let profile = order.profile;
        let all = profile.faults();
        let faults: Vec<Fault> = match profile {
            Profile::Swarm => all.iter().copied().filter(|_| dice.one_in(3)).collect(),
            _ => all.to_vec(),
        };
        let calm = profile == Profile::Calm;
        let members = match profile {
            Profile::Swarm => dice.pick(&[1, 3, 3, 3, 3, 3, 3, 5, 5, 5]),
            _ => dice.pick(&[3, 3, 3, 5]),
        };
        Self {
            order,
            members,
            clients: 3 + dice.index(10),
            watchers: 1 + dice.index(5),
            keys: dice.pick(&[3, 8, 10, 10, 12]),
            think_us: dice.pick(&[(0, 2_000), (0, 20_000), (1_000, 60_000)]),
            patience_us: dice.pick(&[
                (300_000, 1_000_000),
                (1_000_000, 5_000_000),
                (7_000_000, 9_000_000),
            ]),
            faults,
            fault_every_us: dice.pick(&[300_000, 1_000_000, 1_000_000, 3_000_000]),
            delay_us: dice.pick(&[(50, 300), (100, 2_000), (500, 20_000)]),
            lost_ppm: if calm {
                0
            } else {
                dice.pick(&[0, 0, 1_000, 10_000, 100_000])
            },
            late_ppm: if calm {
                0
            } else {
                dice.pick(&[0, 1_000, 20_000])
            },
            doubled_ppm: if profile == Profile::Duplicates {
                300_000
            } else {
                0
            },
            sync_us: dice.pick(&[(20, 200), (200, 2_000), (1_000, 8_000)]),
            sync_late_ppm: dice.pick(&[0, 1_000, 20_000]),
            turn_us: dice.pick(&[0, 20, 200]),
            flush_every_us: dice.pick(&[30_000, 200_000, 1_000_000, 2_000_000]),
            tail_bytes: dice.pick(&[0, 2_000, 20_000, 4 << 20]),
            lag_bytes: dice.pick(&[0, 20_000, 4 << 20]),
            segment_bytes: dice.pick(&[8, 16, 64, 256]) * 4096,
            recent_bytes: dice.pick(&[0, 2_000, 100_000, 1 << 20]),
            compact_slice: dice.pick(&[1, 4, 1_000]),
            digest_interval_ms: dice.pick(&[200, 1_000, 5_000]),
            clock_permille: if calm { 0 } else { dice.pick(&[0, 20, 100]) },
            durable_log: dice.one_in(2),
            strict: dice.one_in(2),
            auto_promote: dice.one_in(2),
            unnoticed: matches!(profile, Profile::Pauses | Profile::Duplicates),
            compact_permille: dice.pick(&[0, 1, 5, 20]),
        }
    }
}

/// A number of a span.
pub(crate) fn within(dice: &mut Dice, span: Span) -> u64 {
    span.0 + dice.below(span.1 - span.0 + 1)
}
