//! Replies read with as little work as tells whether they are right.
//!
//! These readers look at protobuf fields in place. `--check` holds each of them against a full decoding
//! with the messages of `kvorum-proto`.

use anyhow::{Result, bail, ensure};

use crate::keyspace::{KEY_BYTES, KeyNumber};

/// A store revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision(pub(crate) i64);

/// A lease's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaseId(pub(crate) i64);

/// A field's content.
enum Content<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of one message, in the order sent.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        bail!("protobuf number is cut off or too long")
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8]> {
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            bail!("protobuf field of {length} bytes runs past its message");
        };
        self.rest = rest;
        Ok(bytes)
    }

    /// The next field's number and content.
    fn next(&mut self) -> Result<Option<(u64, Content<'a>)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let content = match tag & 7 {
            0 => Content::Number(self.number()?),
            1 => self.bytes(8).map(|_| Content::Fixed)?,
            2 => {
                let length = self.number()? as usize;
                Content::Bytes(self.bytes(length)?)
            }
            5 => self.bytes(4).map(|_| Content::Fixed)?,
            kind => bail!("protobuf wire type {kind}"),
        };
        Ok(Some((tag >> 3, content)))
    }
}

fn header_revision(header: &[u8]) -> Result<Revision> {
    let mut fields = Fields { rest: header };
    while let Some((number, content)) = fields.next()? {
        if let (3, Content::Number(revision)) = (number, content) {
            return Ok(Revision(revision as i64));
        }
    }
    bail!("response header without a revision")
}

/// What a range asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) first: KeyNumber,
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
}

/// A key-value pair, as far as it is looked at.
#[derive(Default)]
struct Pair<'a> {
    key: &'a [u8],
    value: &'a [u8],
    mod_revision: i64,
}

fn pair(bytes: &[u8]) -> Result<Pair<'_>> {
    let mut pair = Pair::default();
    let mut fields = Fields { rest: bytes };
    while let Some((number, content)) = fields.next()? {
        match (number, content) {
            (1, Content::Bytes(key)) => pair.key = key,
            (3, Content::Number(revision)) => pair.mod_revision = revision as i64,
            (5, Content::Bytes(value)) => pair.value = value,
            _ => {}
        }
    }
    Ok(pair)
}

/// A PutResponse's revision.
pub(crate) fn put(bytes: &[u8]) -> Result<Revision> {
    let mut fields = Fields { rest: bytes };
    match fields.next()? {
        Some((1, Content::Bytes(header))) => header_revision(header),
        _ => bail!("put reply does not start with a header"),
    }
}

/// Checks that a RangeResponse holds exactly the keys asked for.
pub(crate) fn range(bytes: &[u8], asked: Asked) -> Result<Revision> {
    let mut fields = Fields { rest: bytes };
    let (mut revision, mut pairs, mut count) = (None, 0_u64, 0_u64);
    while let Some((number, content)) = fields.next()? {
        match (number, content) {
            (1, Content::Bytes(header)) => revision = Some(header_revision(header)?),
            (2, Content::Bytes(kv)) => {
                check_pair(&pair(kv)?, asked, pairs)?;
                pairs += 1;
            }
            (3, Content::Number(more)) => {
                ensure!(more == 0, "range reply says there are more keys")
            }
            (4, Content::Number(number)) => count = number,
            _ => {}
        }
    }
    ensure!(
        pairs == asked.keys,
        "range reply has {pairs} keys instead of {}",
        asked.keys
    );
    ensure!(
        count == asked.keys,
        "range reply counts {count} keys instead of {}",
        asked.keys
    );
    match revision {
        Some(revision) => Ok(revision),
        None => bail!("range reply without a header"),
    }
}

fn check_pair(pair: &Pair<'_>, asked: Asked, at: u64) -> Result<()> {
    // The first and the last key are compared; between them the server's order and count must do.
    if at == 0 || at + 1 == asked.keys {
        let expected: [u8; KEY_BYTES] = asked.first.plus(at).key();
        ensure!(
            pair.key == expected,
            "range reply has {:?} where {:?} belongs",
            String::from_utf8_lossy(pair.key),
            String::from_utf8_lossy(&expected)
        );
    }
    let length = pair.value.len();
    ensure!(
        length == asked.value_bytes,
        "value of {length} bytes instead of {}",
        asked.value_bytes
    );
    Ok(())
}

/// Checks that a TxnResponse took its success branch with one put.
pub(crate) fn txn(bytes: &[u8]) -> Result<Revision> {
    let mut fields = Fields { rest: bytes };
    let (mut revision, mut succeeded, mut puts) = (None, false, 0);
    while let Some((number, content)) = fields.next()? {
        match (number, content) {
            (1, Content::Bytes(header)) => revision = Some(header_revision(header)?),
            (2, Content::Number(flag)) => succeeded = flag == 1,
            (3, Content::Bytes(op)) => match (Fields { rest: op }).next()? {
                Some((2, Content::Bytes(_))) => puts += 1,
                _ => bail!("txn reply holds something else than a put"),
            },
            _ => {}
        }
    }
    ensure!(
        succeeded,
        "txn took its failure branch although the key exists"
    );
    ensure!(puts == 1, "txn reply holds {puts} puts instead of 1");
    match revision {
        Some(revision) => Ok(revision),
        None => bail!("txn reply without a header"),
    }
}

/// The lease that was granted.
pub(crate) fn lease_grant(bytes: &[u8]) -> Result<LeaseId> {
    let lease = lease(bytes)?;
    ensure!(
        lease.0 != LeaseId(0) && lease.1 > 0,
        "lease granted as {lease:?}"
    );
    Ok(lease.0)
}

/// Checks that a keep-alive found its lease.
pub(crate) fn lease_keep_alive(bytes: &[u8], expected: LeaseId) -> Result<()> {
    let (id, ttl) = lease(bytes)?;
    ensure!(
        id == expected,
        "keep-alive reply for lease {id:?} instead of {expected:?}"
    );
    ensure!(
        ttl > 0,
        "keep-alive reply with TTL {ttl}: the lease is gone"
    );
    Ok(())
}

/// Grant and keep-alive replies share their fields.
fn lease(bytes: &[u8]) -> Result<(LeaseId, i64)> {
    let mut fields = Fields { rest: bytes };
    let (mut id, mut ttl) = (LeaseId(0), 0);
    while let Some((number, content)) = fields.next()? {
        match (number, content) {
            (2, Content::Number(number)) => id = LeaseId(number as i64),
            (3, Content::Number(seconds)) => ttl = seconds as i64,
            _ => {}
        }
    }
    Ok((id, ttl))
}

/// A change seen by a watcher.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    pub(crate) value: &'a [u8],
    pub(crate) mod_revision: Revision,
}

/// What a WatchResponse says.
pub(crate) enum WatchReply {
    Created,
    /// So many changes.
    Changes(u64),
}

/// Reads a WatchResponse and hands every put in it to `take`.
pub(crate) fn watch<'a>(
    bytes: &'a [u8],
    mut take: impl FnMut(Change<'a>) -> Result<()>,
) -> Result<WatchReply> {
    let mut fields = Fields { rest: bytes };
    let (mut created, mut changes) = (false, 0);
    while let Some((number, content)) = fields.next()? {
        match (number, content) {
            (3, Content::Number(flag)) => created = flag == 1,
            (4, Content::Number(1)) => bail!("server canceled the watch"),
            (11, Content::Bytes(event)) => {
                take(change(event)?)?;
                changes += 1;
            }
            _ => {}
        }
    }
    if created {
        return Ok(WatchReply::Created);
    }
    Ok(WatchReply::Changes(changes))
}

fn change(event: &[u8]) -> Result<Change<'_>> {
    let mut fields = Fields { rest: event };
    let mut change = None;
    while let Some((number, content)) = fields.next()? {
        match (number, content) {
            (1, Content::Number(kind)) => ensure!(kind == 0, "event of type {kind}, not a put"),
            (2, Content::Bytes(kv)) => change = Some(pair(kv)?),
            _ => {}
        }
    }
    match change {
        Some(pair) => Ok(Change {
            value: pair.value,
            mod_revision: Revision(pair.mod_revision),
        }),
        None => bail!("event without a key-value pair"),
    }
}

#[cfg(test)]
mod tests;
