//! What kvorum has to reach beside etcd: the stage-1 floors of its performance targets.

use crate::workload::{Row, Through, Workload};

/// From so many clients on, CPU per operation counts.
const CPU_CLIENTS_MIN: u32 = 16;
/// Largest share of etcd's CPU per operation.
pub(crate) const CPU_SHARE_MAX: f64 = 1.0 / 3.0;

/// The lowest ratio of rates for a row; `None` where nothing was promised.
pub(crate) fn rate(row: Row) -> Option<f64> {
    let by_clients = |floors: [f64; 4]| match row.clients {
        1 => Some(floors[0]),
        16 => Some(floors[1]),
        256 => Some(floors[2]),
        1000 => Some(floors[3]),
        _ => None,
    };
    match (row.through, row.workload) {
        (Through::Leader, workload) => return several(workload, by_clients),
        (Through::All, Workload::Put) => return Some(3.2),
        (Through::All, Workload::Get) => return Some(3.1),
        (Through::All, Workload::SerializableGet) => return Some(3.3),
        (Through::All, _) => return None,
        (Through::Alone, _) => {}
    }
    match row.workload {
        Workload::Put => by_clients([1.15, 1.7, 2.4, 1.9]),
        Workload::Get => by_clients([1.6, 2.1, 3.5, 3.0]),
        Workload::Range(_) => Some(2.5),
        Workload::Txn => Some(2.8),
        Workload::Mix => Some(2.4),
        Workload::Watch => Some(2.2),
        Workload::SerializableGet | Workload::Lease => None,
    }
}

/// Several members, through their leader.
fn several(workload: Workload, by_clients: impl Fn([f64; 4]) -> Option<f64>) -> Option<f64> {
    match workload {
        Workload::Put => by_clients([1.2, 2.3, 2.9, 2.4]),
        Workload::Get => by_clients([1.3, 2.0, 2.2, 1.8]),
        Workload::Txn => Some(3.5),
        Workload::Watch => Some(2.2),
        _ => None,
    }
}

/// The highest ratio of p99: never above etcd's, and half of it for the delivery of events.
pub(crate) fn p99(row: Row) -> f64 {
    match row.workload {
        Workload::Watch => 0.5,
        _ => 1.0,
    }
}

/// The highest ratio of CPU per operation.
pub(crate) fn cpu(row: Row) -> Option<f64> {
    (row.clients >= CPU_CLIENTS_MIN).then_some(CPU_SHARE_MAX)
}
