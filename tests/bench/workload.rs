//! The kinds of load, and the rows of the standard table.

use std::{fmt, str::FromStr};

use anyhow::{Result, bail};

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Overwrites a random key.
    Put,
    /// Reads a random key, linearizable.
    Get,
    /// Reads a random key, serializable.
    SerializableGet,
    /// Reads so many keys in a row from a random one on.
    Range(u64),
    /// Overwrites a random key if it exists.
    Txn,
    /// 80 % linearizable gets, 20 % txns.
    Mix,
    /// Puts that every client watches.
    Watch,
    /// Keep-alives of one lease per client.
    Lease,
}

impl Workload {
    pub(crate) const ALL: [Self; 9] = [
        Self::Put,
        Self::Get,
        Self::SerializableGet,
        Self::Range(100),
        Self::Range(1000),
        Self::Txn,
        Self::Mix,
        Self::Watch,
        Self::Lease,
    ];

    /// The client counts of the standard table; a filter on the command line overrides them.
    pub(crate) fn standard_clients(self) -> &'static [u32] {
        match self {
            Self::Range(1000) | Self::Mix => &[16, 256],
            _ => &[1, 16, 256, 1000],
        }
    }

    /// What one operation is called.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Watch => "events",
            _ => "ops",
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put => f.write_str("put"),
            Self::Get => f.write_str("get"),
            Self::SerializableGet => f.write_str("sget"),
            Self::Range(keys) => write!(f, "range{keys}"),
            Self::Txn => f.write_str("txn"),
            Self::Mix => f.write_str("mix"),
            Self::Watch => f.write_str("watch"),
            Self::Lease => f.write_str("lease"),
        }
    }
}

impl FromStr for Workload {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "put" => Ok(Self::Put),
            "get" => Ok(Self::Get),
            "sget" => Ok(Self::SerializableGet),
            "txn" => Ok(Self::Txn),
            "mix" => Ok(Self::Mix),
            "watch" => Ok(Self::Watch),
            "lease" => Ok(Self::Lease),
            _ => match name
                .strip_prefix("range")
                .and_then(|keys| keys.parse().ok())
            {
                Some(keys) if keys > 0 => Ok(Self::Range(keys)),
                _ => bail!(
                    "workload {name:?}: use put, get, sget, range100, range1000, txn, mix, watch, lease"
                ),
            },
        }
    }
}

/// Which members clients talk to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Through {
    /// There is one only.
    #[default]
    Alone,
    /// The leader of several.
    Leader,
    /// All of several, each client one of them.
    All,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) through: Through,
    pub(crate) workload: Workload,
    pub(crate) clients: u32,
    pub(crate) connections: u32,
}

/// Connections that so many clients share, unless the command line says otherwise.
pub(crate) fn connections(clients: u32) -> u32 {
    match clients {
        0..=16 => 1,
        17..=256 => clients.div_ceil(16),
        _ => clients.div_ceil(10),
    }
}

/// How many of `clients` each connection carries.
pub(crate) fn spread(clients: u32, connections: u32) -> Vec<u32> {
    let (each, more) = (clients / connections, clients % connections);
    (0..connections)
        .map(|at| each + u32::from(at < more))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for workload in Workload::ALL {
            assert_eq!(
                workload.to_string().parse::<Workload>().expect("known"),
                workload
            );
        }
        assert!("range0".parse::<Workload>().is_err());
        assert!("rangers".parse::<Workload>().is_err());
    }

    #[test]
    fn clients_share_connections_evenly() {
        let layout = [1, 16, 256, 1000].map(connections);
        assert_eq!(layout, [1, 1, 16, 100]);
        assert_eq!(spread(1000, 100), vec![10; 100]);
        assert_eq!(spread(10, 4), [3, 3, 2, 2]);
    }
}
