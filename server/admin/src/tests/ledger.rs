//! Accounts in memory, with a clock that tests set.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use kvorum_core::console::{Answer, Console};
use kvorum_proto::kvorumpb::{ConsoleLinkCreate, ConsoleOp, console_op::Op};
use sha2::{Digest, Sha256};

use crate::accounts::Accounts;
use crate::source::Refusal;

/// The real tables, without a log.
#[derive(Default)]
pub(super) struct Ledger {
    tables: Mutex<Arc<Console>>,
    now_ms: AtomicI64,
    /// Changes so far: what would have gone through the log.
    changes: AtomicU64,
    /// Every text that went through.
    told: Mutex<String>,
}

impl Ledger {
    pub(super) fn new() -> Arc<Self> {
        let ledger = Self::default();
        ledger.pass(1_700_000_000_000);
        Arc::new(ledger)
    }

    /// Lets time pass.
    pub(super) fn pass(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Everything that was proposed, to look for secrets in it.
    pub(super) fn told(&self) -> String {
        self.told.lock().expect("no panic under it").clone()
    }

    /// A link's code, as the member would make it.
    pub(super) fn link(&self, code: &str, first_run: bool) -> Answer {
        self.run(Op::LinkCreate(ConsoleLinkCreate {
            code: Bytes::copy_from_slice(&Sha256::digest(code.as_bytes())),
            life_ms: 15 * 60 * 1000,
            first_run,
            ..Default::default()
        }))
    }

    pub(super) fn run(&self, op: Op) -> Answer {
        self.changes.fetch_add(1, Ordering::SeqCst);
        *self.told.lock().expect("no panic under it") += &format!("{op:?}\n");
        let change = ConsoleOp {
            now_unix_ms: self.now_ms(),
            op: Some(op),
        };
        let mut tables = self.tables.lock().expect("no panic under it");
        Arc::make_mut(&mut tables).apply(&change, &mut Vec::new())
    }
}

impl Accounts for Ledger {
    fn tables(&self) -> Arc<Console> {
        self.tables.lock().expect("no panic under it").clone()
    }

    fn change(&self, op: Op) -> BoxFuture<'_, Result<Answer, Refusal>> {
        Box::pin(ready(Ok(self.run(op))))
    }

    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::SeqCst)
    }
}
