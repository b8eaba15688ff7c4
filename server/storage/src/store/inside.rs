//! Who is at work in the state file right now.
//!
//! redb trusts the structure of its pages and panics on some damage. A panic cannot be turned into an error where
//! panics abort, but whoever tells the operator about it can say which file is damaged instead of calling it a bug.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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

/// The state file, if the calling thread is at work in it: for panic hooks.
#[must_use]
pub fn file_under_work() -> Option<PathBuf> {
    if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
        return None;
    }
    // A hook must not wait: whoever holds the lock may be the one who panics.
    FILE.try_lock().ok().and_then(|file| file.clone())
}
