//! Requests of every RPC, several per input: each is decoded as its method's message; what the core knows is checked as
//! a member checks it, applied, told to a watcher, and after a restart everything must be as it was.

use bytes::Bytes;
use kvorum_core::mvcc::check;
use kvorum_proto::etcdserverpb as pb;
use kvorum_proto::{METHODS, healthpb, kvorumpb, v3electionpb, v3lockpb};
use kvorum_tests::harness::generate::{Dice, Generator, Operation};
use kvorum_tests::harness::model::{Limits, Model, WatchStream};
use prost::Message;

use crate::input::{Input, put_piece};
use crate::subject::{Setup, Subject};
use crate::watchers::Watchers;

const MAX_TXN_OPS: usize = 16;
/// Requests of one input that are carried out.
const REQUESTS_MAX: usize = 64;

/// What happens around requests; chosen by bytes above the methods.
const SURROUNDINGS: [Around; 4] = [Around::Flush, Around::Restart, Around::Pass, Around::Read];

#[derive(Clone, Copy)]
enum Around {
    Flush,
    Restart,
    Pass,
    Read,
}

/// What a message is, for the core.
enum Meaning {
    Operation(Operation),
    Watch(pb::WatchRequest),
    /// Not for the core; that it decodes is all.
    Other,
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(input.u8());
    for _ in 0..REQUESTS_MAX {
        if input.is_empty() {
            break;
        }
        let choice = usize::from(input.u8()) % (METHODS.len() + SURROUNDINGS.len());
        let piece = input.piece();
        match METHODS.get(choice) {
            Some(method) => world.request(&method.path(), Bytes::copy_from_slice(piece)),
            None => world.surround(SURROUNDINGS[choice - METHODS.len()], piece),
        }
    }
    world.finish();
}

struct World {
    subject: Subject,
    watchers: Watchers,
    next_lease: i64,
}

impl World {
    fn new(options: u8) -> Self {
        let setup = Setup {
            limits: Limits {
                max_txn_ops: MAX_TXN_OPS,
                ..Limits::default()
            },
            recent_bytes: [0, 400, 3_000, 1 << 20][usize::from(options & 3)],
            slice: [1, 3, 1_000, 1_000][usize::from(options >> 2 & 3)],
        };
        Self {
            subject: Subject::new(setup),
            watchers: Watchers::new(),
            next_lease: 1 << 40,
        }
    }

    fn request(&mut self, path: &str, message: Bytes) {
        self.subject.compact_some();
        match meaning(path, message) {
            Some(Meaning::Operation(operation)) => self.operate(operation),
            Some(Meaning::Watch(request)) => self.watchers.request(request, &self.subject.store),
            Some(Meaning::Other) | None => {}
        }
    }

    fn operate(&mut self, mut operation: Operation) {
        match &mut operation {
            // A member chooses the id, and refuses what the machine would not understand.
            Operation::LeaseGrant(grant) if grant.id == 0 => {
                self.next_lease += 1;
                grant.id = self.next_lease;
            }
            Operation::Alarm(alarm) if check::alarm(alarm).is_err() => return,
            _ => {}
        }
        let (_, applied) = self.subject.run(&operation);
        if let Some(applied) = applied {
            self.watchers.publish(&applied, &self.subject.store);
        }
    }

    fn surround(&mut self, around: Around, piece: &[u8]) {
        match around {
            Around::Flush => self.operate(Operation::Flush),
            Around::Restart => {
                self.subject.restart();
                self.watchers = Watchers::new();
            }
            Around::Pass => {
                let ms = i64::from(Input::new(piece).u16()) * 10;
                for id in self.subject.pass(ms) {
                    let (_, applied) = self.subject.expire(id);
                    self.watchers.publish(&applied, &self.subject.store);
                }
            }
            Around::Read => self.watchers.read(&self.subject.store),
        }
    }

    /// Everything that can be read is the same after a flush and a restart.
    fn finish(mut self) {
        self.watchers.read(&self.subject.store);
        let before = self.everything();
        self.operate(Operation::Flush);
        assert_eq!(self.everything(), before, "a flush changed something");
        self.subject.restart();
        assert_eq!(self.everything(), before, "a restart changed something");
    }

    fn everything(&mut self) -> String {
        let all = pb::RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            ..Default::default()
        };
        let hash = pb::HashKvRequest::default();
        let asked = [
            Operation::Range(all),
            Operation::HashKv(hash),
            Operation::LeaseLeases,
            Operation::Alarm(pb::AlarmRequest::default()),
        ];
        let answers = asked.map(|operation| self.subject.run(&operation).0);
        format!("{answers:?}")
    }
}

/// Decodes a message; what it says must survive being written and read again.
fn read<M: Message + Default + PartialEq + std::fmt::Debug>(message: Bytes) -> Option<M> {
    let read = M::decode(message).ok()?;
    let written = read.encode_to_vec();
    assert_eq!(written.len(), read.encoded_len());
    let again = M::decode(written.as_slice()).expect("it was just written");
    assert!(again == read, "{read:?} came back as {again:?}");
    Some(read)
}

macro_rules! other {
    ($message:expr, $type:ty) => {
        read::<$type>($message).map(|_| Meaning::Other)
    };
}

/// `None` if the message is none of that method, or the method is not known here.
fn meaning(path: &str, message: Bytes) -> Option<Meaning> {
    let (service, name) = path.trim_start_matches('/').split_once('/')?;
    match service {
        "etcdserverpb.KV" => kv(name, message),
        "etcdserverpb.Watch" => read(message).map(Meaning::Watch),
        "etcdserverpb.Lease" => lease(name, message),
        "etcdserverpb.Cluster" => cluster(name, message),
        "etcdserverpb.Maintenance" => maintenance(name, message),
        "etcdserverpb.Auth" => auth(name, message),
        "v3lockpb.Lock" | "v3electionpb.Election" => concurrency(name, message),
        "kvorumpb.Membership" => other!(message, kvorumpb::ReplaceMemberRequest),
        "kvorumpb.Trust" => trust(name, message),
        "grpc.health.v1.Health" => other!(message, healthpb::HealthCheckRequest),
        _ => None,
    }
}

fn kv(name: &str, message: Bytes) -> Option<Meaning> {
    Some(Meaning::Operation(match name {
        "Range" | "RangeStream" => Operation::Range(read(message)?),
        "Put" => Operation::Put(read(message)?),
        "DeleteRange" => Operation::DeleteRange(read(message)?),
        "Txn" => Operation::Txn(read(message)?),
        "Compact" => Operation::Compact(read(message)?),
        _ => return None,
    }))
}

fn lease(name: &str, message: Bytes) -> Option<Meaning> {
    Some(Meaning::Operation(match name {
        "LeaseGrant" => Operation::LeaseGrant(read(message)?),
        "LeaseRevoke" => Operation::LeaseRevoke(read(message)?),
        "LeaseKeepAlive" => Operation::LeaseKeepAlive(read(message)?),
        "LeaseTimeToLive" => Operation::LeaseTimeToLive(read(message)?),
        "LeaseLeases" => {
            let _: pb::LeaseLeasesRequest = read(message)?;
            Operation::LeaseLeases
        }
        _ => return None,
    }))
}

fn cluster(name: &str, message: Bytes) -> Option<Meaning> {
    match name {
        "MemberAdd" => other!(message, pb::MemberAddRequest),
        "MemberRemove" => other!(message, pb::MemberRemoveRequest),
        "MemberUpdate" => other!(message, pb::MemberUpdateRequest),
        "MemberList" => other!(message, pb::MemberListRequest),
        "MemberPromote" => other!(message, pb::MemberPromoteRequest),
        _ => None,
    }
}

fn trust(name: &str, message: Bytes) -> Option<Meaning> {
    match name {
        "TokenCreate" => other!(message, kvorumpb::TokenCreateRequest),
        "TokenList" => other!(message, kvorumpb::TokenListRequest),
        "TokenRevoke" => other!(message, kvorumpb::TokenRevokeRequest),
        "CertificateIssue" => other!(message, kvorumpb::CertificateIssueRequest),
        "CertificateList" => other!(message, kvorumpb::CertificateListRequest),
        "Revoke" | "Unrevoke" => other!(message, kvorumpb::RevokeCertificateRequest),
        "RotateCa" => other!(message, kvorumpb::RotateCaRequest),
        "TrustStatus" => other!(message, kvorumpb::TrustStatusRequest),
        "RevocationList" => other!(message, kvorumpb::RevocationListRequest),
        _ => None,
    }
}

fn maintenance(name: &str, message: Bytes) -> Option<Meaning> {
    match name {
        "Alarm" => read(message).map(|alarm| Meaning::Operation(Operation::Alarm(alarm))),
        "HashKV" => read(message).map(|hash| Meaning::Operation(Operation::HashKv(hash))),
        "Status" => other!(message, pb::StatusRequest),
        "Defragment" => other!(message, pb::DefragmentRequest),
        "Hash" => other!(message, pb::HashRequest),
        "Snapshot" => other!(message, pb::SnapshotRequest),
        "MoveLeader" => other!(message, pb::MoveLeaderRequest),
        "Downgrade" => other!(message, pb::DowngradeRequest),
        _ => None,
    }
}

fn auth(name: &str, message: Bytes) -> Option<Meaning> {
    match name {
        "AuthEnable" => other!(message, pb::AuthEnableRequest),
        "AuthDisable" => other!(message, pb::AuthDisableRequest),
        "AuthStatus" => other!(message, pb::AuthStatusRequest),
        "Authenticate" => other!(message, pb::AuthenticateRequest),
        "UserAdd" => other!(message, pb::AuthUserAddRequest),
        "UserGet" => other!(message, pb::AuthUserGetRequest),
        "UserList" => other!(message, pb::AuthUserListRequest),
        "UserDelete" => other!(message, pb::AuthUserDeleteRequest),
        "UserChangePassword" => other!(message, pb::AuthUserChangePasswordRequest),
        "UserGrantRole" => other!(message, pb::AuthUserGrantRoleRequest),
        "UserRevokeRole" => other!(message, pb::AuthUserRevokeRoleRequest),
        "RoleAdd" => other!(message, pb::AuthRoleAddRequest),
        "RoleGet" => other!(message, pb::AuthRoleGetRequest),
        "RoleList" => other!(message, pb::AuthRoleListRequest),
        "RoleDelete" => other!(message, pb::AuthRoleDeleteRequest),
        "RoleGrantPermission" => other!(message, pb::AuthRoleGrantPermissionRequest),
        "RoleRevokePermission" => other!(message, pb::AuthRoleRevokePermissionRequest),
        _ => None,
    }
}

fn concurrency(name: &str, message: Bytes) -> Option<Meaning> {
    match name {
        "Lock" => other!(message, v3lockpb::LockRequest),
        "Unlock" => other!(message, v3lockpb::UnlockRequest),
        "Campaign" => other!(message, v3electionpb::CampaignRequest),
        "Proclaim" => other!(message, v3electionpb::ProclaimRequest),
        "Leader" | "Observe" => other!(message, v3electionpb::LeaderRequest),
        "Resign" => other!(message, v3electionpb::ResignRequest),
        _ => None,
    }
}

/// Stories of the model's generator, as inputs, and one empty message for every method.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = (0..64).map(story).collect();
    seeds.extend((0..METHODS.len()).map(|at| vec![0, at as u8, 0, 0]));
    seeds
}

fn story(seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(!seed);
    let mut generator = Generator::new(seed, MAX_TXN_OPS);
    // The generator looks at a model for revisions that mean something.
    let mut model = Model::new(Limits {
        max_txn_ops: MAX_TXN_OPS,
        ..Limits::default()
    });
    let streams = vec![WatchStream::new(true); kvorum_tests::harness::generate::STREAMS];
    let mut bytes = vec![dice.any() as u8];
    for _ in 0..4 + dice.below(24) {
        let compaction = generator.compaction(&model);
        let operation = compaction.unwrap_or_else(|| generator.next(&model, &streams));
        // The model's refusals are answers too.
        let _ = crate::answer::of_model(&mut model, &operation);
        if let Some((choice, piece)) = written(&operation) {
            bytes.push(choice);
            put_piece(&mut bytes, &piece);
        }
    }
    bytes
}

fn written(operation: &Operation) -> Option<(u8, Vec<u8>)> {
    let around = |at: usize, piece: Vec<u8>| Some(((METHODS.len() + at) as u8, piece));
    let (name, message) = match operation {
        Operation::Range(request) => ("Range", request.encode_to_vec()),
        Operation::Put(request) => ("Put", request.encode_to_vec()),
        Operation::DeleteRange(request) => ("DeleteRange", request.encode_to_vec()),
        Operation::Txn(request) => ("Txn", request.encode_to_vec()),
        Operation::Compact(request) => ("Compact", request.encode_to_vec()),
        Operation::LeaseGrant(request) => ("LeaseGrant", request.encode_to_vec()),
        Operation::LeaseRevoke(request) => ("LeaseRevoke", request.encode_to_vec()),
        Operation::LeaseKeepAlive(request) => ("LeaseKeepAlive", request.encode_to_vec()),
        Operation::LeaseTimeToLive(request) => ("LeaseTimeToLive", request.encode_to_vec()),
        Operation::LeaseLeases => ("LeaseLeases", Vec::new()),
        Operation::Alarm(request) => ("Alarm", request.encode_to_vec()),
        Operation::HashKv(request) => ("HashKV", request.encode_to_vec()),
        Operation::Watch(_, request) => ("Watch", request.encode_to_vec()),
        Operation::Flush => return around(0, Vec::new()),
        Operation::Restart => return around(1, Vec::new()),
        Operation::Pass(ms) => {
            let tens = u16::try_from(ms / 10).unwrap_or(u16::MAX);
            return around(2, tens.to_be_bytes().to_vec());
        }
        Operation::Deliver(_) => return around(3, Vec::new()),
        Operation::Reconnect(_) => return None,
    };
    let at = METHODS.iter().position(|method| method.name == name)?;
    Some((at as u8, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_surface_is_fed() {
        for method in METHODS {
            assert!(
                meaning(&method.path(), Bytes::new()).is_some(),
                "{}: name its request in `meaning`",
                method.path()
            );
        }
    }

    #[test]
    fn stories_hold_requests_that_decode() {
        for seed in seeds().iter().take(64) {
            let mut input = Input::new(&seed[1..]);
            while !input.is_empty() {
                let choice = usize::from(input.u8());
                let piece = Bytes::copy_from_slice(input.piece());
                if let Some(method) = METHODS.get(choice) {
                    assert!(meaning(&method.path(), piece).is_some(), "{method:?}");
                }
            }
        }
    }
}
