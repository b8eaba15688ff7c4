//! How many operations a request came to, counted as etcd does. (etcd: server/storage/mvcc/metrics_txn.go)

/// Operations of one request, those inside transactions included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpCounts {
    /// Ranges, with each comparison and each look at what a put or a delete replaces.
    pub ranges: u64,
    /// Puts.
    pub puts: u64,
    /// Deletes, however many keys each removed.
    pub deletes: u64,
    /// Bytes of the keys and values that were put.
    pub put_bytes: u64,
    /// Groups of more than one operation.
    pub txns: u64,
}

impl OpCounts {
    /// Counts of operations that were one group.
    #[must_use]
    pub fn grouped(self) -> Self {
        let operations = self.ranges + self.puts + self.deletes;
        Self {
            txns: u64::from(operations > 1),
            ..self
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            ranges: self.ranges + other.ranges,
            puts: self.puts + other.puts,
            deletes: self.deletes + other.deletes,
            put_bytes: self.put_bytes + other.put_bytes,
            txns: self.txns + other.txns,
        }
    }
}
