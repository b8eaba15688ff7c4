//! Work in a state file that may be rotten, kept apart: redb panics on some damage, and where panics abort, that
//! would end the process.
//!
//! The work runs on a thread of its own. A panic there is told to whoever waits; then, where panics abort, the panic
//! hook never returns, and the thread sleeps for as long as the process lives. So this is for a tool that looks once,
//! and for a start that gives up the file.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Once;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::inside::Inside;
use crate::error::StorageError;

thread_local! {
    static CAPTIVE: RefCell<Option<Sender<String>>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Before any other hook: a captive's panic is news for whoever waits, and nothing else.
fn set_hook() {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let waiting = CAPTIVE
                .try_with(|c| c.try_borrow().ok().and_then(|c| c.clone()))
                .ok()
                .flatten();
            let Some(waiting) = waiting else {
                return before(panic);
            };
            let told = panic
                .payload_as_str()
                .unwrap_or("no message")
                .replace('\n', " ");
            // Whoever waits holds the receiver until this thread has answered.
            let _ = waiting.send(told);
            if cfg!(panic = "abort") {
                loop {
                    std::thread::park();
                }
            }
        }));
    });
}

/// Runs `work` where a panic is no more than an error about the file at `path`.
///
/// # Errors
/// What `work` gives back; `Corrupt` if it panicked.
pub fn contain<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    set_hook();
    let (told, panics): (Sender<String>, Receiver<String>) = channel();
    let (done, result) = channel();
    let spawned = std::thread::Builder::new()
        .name("contained".into())
        .spawn(move || {
            CAPTIVE.with(|c| *c.borrow_mut() = Some(told));
            let _inside = Inside::enter();
            let worked = work();
            CAPTIVE.with(|c| c.borrow_mut().take());
            // Whoever waits is gone only if the process ends.
            let _ = done.send(worked);
        });
    spawned.map_err(|e| StorageError::io(path, "start a thread for", e))?;
    // Ends when the thread drops its sender, which it does before it answers.
    match panics.recv() {
        Ok(panic) => {
            let what = format!("its structure makes no sense to redb ({panic})");
            Err(StorageError::damaged(path, what))
        }
        Err(_) => result.recv().unwrap_or_else(|_| {
            let what = "reading it ended without an answer";
            Err(StorageError::damaged(path, what))
        }),
    }
}
