//! Who is at work in the state file right now.
//!
//! redb trusts the structure of its pages and panics on some damage. A panic cannot be turned into an error where
//! panics abort, but whoever tells the operator about it can say which file is damaged instead of calling it a bug.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
pub(super) struct Guarded(Option<Database>);

impl Guarded {
    pub(super) fn new(db: Database) -> Self {
        Self(Some(db))
    }
}

impl Deref for Guarded {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0.as_ref().expect("taken only when it is dropped")
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut Database {
        self.0.as_mut().expect("taken only when it is dropped")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _inside = Inside::enter();
        drop(self.0.take());
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
