//! Who is at work in the state file right now.
//!
//! redb trusts the structure of its pages and panics on some damage. A panic cannot be turned into an error where
//! panics abort, but whoever tells the operator about it can say which file is damaged instead of calling it a bug.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use redb::Database;

use crate::error::StorageError;

static FILE: Mutex<Option<PathBuf>> = Mutex::new(None);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Names the file that is opened.
pub(super) fn name(path: &Path) {
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(path.to_path_buf());
}

/// This thread is inside redb while this lives.
#[derive(Debug)]
pub(super) struct Inside(());

impl Inside {
    pub(super) fn enter() -> Self {
        DEPTH.with(|depth| depth.set(depth.get().saturating_add(1)));
        Self(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get().saturating_sub(1)));
    }
}

/// The database, which is also closed as somebody who is inside.
#[derive(Debug)]
pub(super) struct Guarded {
    db: Option<Database>,
    replaced: AtomicBool,
    given_up: Arc<AtomicBool>,
}

impl Guarded {
    /// A database, and the flag that ends all access of its backend to the file.
    pub(super) fn new(db: Database, given_up: Arc<AtomicBool>) -> Self {
        Self {
            db: Some(db),
            replaced: AtomicBool::new(false),
            given_up,
        }
    }

    /// Another file has its name now: it is read as long as somebody needs it, and then let go as it is.
    pub(super) fn note_replaced(&self) {
        self.replaced.store(true, Ordering::SeqCst);
    }

    /// Keeps redb from a last commit to a file that nobody will open again. Where the file rotted, which is why a peer's
    /// state may have taken its place, that commit could panic.
    fn give_up(&mut self) {
        self.given_up.store(true, Ordering::SeqCst);
        // redb writes no more once it has seen the backend fail, and this looks there first.
        if let Some(db) = &mut self.db {
            let _refused = db.check_integrity();
        }
    }
}

impl Deref for Guarded {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.db.as_ref().expect("taken only when it is dropped")
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Database {
        self.db.as_mut().expect("taken only when it is dropped")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _inside = Inside::enter();
        if self.replaced.load(Ordering::SeqCst) {
            self.give_up();
        }
        drop(self.db.take());
    }
}

/// What a panic of the calling thread means, if that thread is at work in the state file: for panic hooks.
#[must_use]
pub fn damage_under_work(panic: &str) -> Option<StorageError> {
    if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
        return None;
    }
    // A hook must not wait: whoever holds the lock may be the one who panics.
    let file = FILE.try_lock().ok()?.clone()?;
    let what = format!("its structure makes no sense to redb ({panic})");
    Some(StorageError::damaged(file, what))
}
