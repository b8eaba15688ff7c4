//! The stream of lease renewals on both sides.

use std::time::Duration;

use bytes::Bytes;
use kvorum_proto::etcdserverpb as pb;
use prost::Message;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    messages::{Answer, Outcome, Rpc},
    pair::{Pair, Side},
    wire::{Duplex, Head, PATIENCE, Reply, framed},
};

const PATH: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// One stream on each side.
pub(crate) struct Renewals([Duplex; 2]);

impl Renewals {
    pub(crate) async fn open(pair: &Pair) -> Self {
        let head = Head::grpc(PATH);
        Self([
            pair.kvorum.connection.stream(&head).await,
            pair.etcd.connection.stream(&head).await,
        ])
    }

    /// Sends one message and waits for one answer; a stream that ended is opened again.
    ///
    /// # Errors
    /// A side said what no side may say.
    pub(crate) async fn ask(
        &mut self,
        pair: &Pair,
        request: &Bytes,
    ) -> Result<[Outcome; 2], String> {
        let mut outcomes = Vec::new();
        for (duplex, side) in self.0.iter_mut().zip(pair.sides()) {
            duplex.send(request);
            outcomes.push(answer(duplex, side).await?);
        }
        if outcomes
            .iter()
            .any(|outcome| !matches!(outcome, Outcome::Odd(reply) if reply.code.is_none()))
        {
            *self = Self::open(pair).await;
        }
        let etcd = outcomes.pop().ok_or("two sides")?;
        let kvorum = outcomes.pop().ok_or("two sides")?;
        Ok([kvorum, etcd])
    }

    /// A client that says no more gets an orderly end.
    ///
    /// # Errors
    /// The ends differ.
    pub(crate) async fn half_close(&mut self, pair: &Pair) -> Result<(), String> {
        let mut ends = Vec::new();
        for (duplex, side) in self.0.iter_mut().zip(pair.sides()) {
            duplex.half_close();
            ends.push(answer(duplex, side).await?);
        }
        *self = Self::open(pair).await;
        if ends[0] == ends[1] {
            Ok(())
        } else {
            Err(format!(
                "ends of renewals: kvorum {:?}, etcd {:?}",
                ends[0], ends[1]
            ))
        }
    }

    /// Waits until the lease has ended on both sides.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) async fn wait_gone(&self, pair: &Pair, lease: i64) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        for side in pair.sides() {
            while remaining(side, lease).await? {
                if Instant::now() > until {
                    return Err(format!(
                        "lease {lease} of 1 s still lives ({})",
                        side.version
                    ));
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}

/// A list of leases tells what is there; the time left tells what should be.
async fn remaining(side: &Side, lease: i64) -> Result<bool, String> {
    let head = Head::grpc(Rpc::LeaseLeases.path());
    let reply = side.connection.call(&head, framed(&[])).await;
    match Outcome::of(Rpc::LeaseLeases, reply) {
        Outcome::Answer(Answer::LeaseLeases(reply)) => {
            Ok(reply.leases.iter().any(|status| status.id == lease))
        }
        other => Err(format!("leases: {other:?}")),
    }
}

/// The next message or the end, whichever comes.
async fn answer(duplex: &Duplex, side: &Side) -> Result<Outcome, String> {
    let next = async {
        loop {
            let (messages, end) = duplex.inbox.take();
            if !messages.is_empty() || end.is_some() {
                return (messages, end);
            }
            duplex.inbox.changed().await;
        }
    };
    let Ok((messages, end)) = timeout(PATIENCE, next).await else {
        return Err("no answer to a renewal".to_owned());
    };
    match (messages.as_slice(), end) {
        ([message], None) => {
            let mut answer = pb::LeaseKeepAliveResponse::decode(message.clone())
                .map_err(|error| format!("no renewal: {error}"))?;
            if answer.encoded_len() != message.len() {
                return Err(format!("a field of its own: {message:?}"));
            }
            let header = answer.header.as_mut().ok_or("no header")?;
            if header.raft_term != side.term {
                return Err(format!("term {} where {} is", header.raft_term, side.term));
            }
            header.raft_term = 1;
            // Still open: told from an end by the missing code.
            Ok(Outcome::Odd(Reply {
                messages: vec![answer.encode_to_vec().into()],
                ..Reply::default()
            }))
        }
        (
            [],
            Some(Reply {
                code: Some(code),
                text,
                broken: None,
                ..
            }),
        ) if code != 0 => Ok(Outcome::Refused { code, text }),
        ([], Some(end)) => Ok(Outcome::Odd(end)),
        (messages, end) => Err(format!(
            "{} renewals for one request, end {end:?}",
            messages.len()
        )),
    }
}
