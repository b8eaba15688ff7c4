//! Panics, each told with its place, and the one kind that a run cannot survive.
//!
//! redb trusts its pages. While a panic of it unwinds, a rotten page may make it panic once more, and that ends a process
//! whatever it catches. In the product the first panic has ended it already, with one line; here it would end all seeds
//! that run beside. So that thread stays where it is for ever, and whoever runs the seeds is told to go on without it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::PanicHookInfo;
use std::sync::{Once, OnceLock};

type Tell = Box<dyn Fn(u64, &str) + Send + Sync>;

thread_local! {
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
    /// Panics that nobody has caught yet.
    static FALLING: Cell<u32> = const { Cell::new(0) };
    static SEED: Cell<u64> = const { Cell::new(0) };
    static ROTTEN: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();
static LOST: OnceLock<Tell> = OnceLock::new();

/// Says what to do when the thread of a seed will not come back: it is told the seed, and where redb panicked first. The
/// first to call this is heard.
pub fn on_lost(tell: impl Fn(u64, &str) + Send + Sync + 'static) {
    let _already = LOST.set(Box::new(tell));
}

/// From here on this thread plays a seed.
pub(crate) fn listen(seed: u64) {
    HOOK.call_once(|| std::panic::set_hook(Box::new(heard)));
    SEED.set(seed);
    ROTTEN.set(false);
    FALLING.set(0);
}

/// A file of this seed has flipped bits.
pub(crate) fn note_rot() {
    ROTTEN.set(true);
}

fn heard(info: &PanicHookInfo<'_>) {
    FALLING.set(FALLING.get() + 1);
    if FALLING.get() == 1 {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PLACE.with(|p| *p.borrow_mut() = place);
        return;
    }
    let first = PLACE.with(|p| p.borrow().clone());
    match LOST.get() {
        Some(tell) if ROTTEN.get() && first.contains("/redb-") => {
            tell(SEED.get(), &first);
            loop {
                std::thread::park();
            }
        }
        _ => eprintln!(
            "seed {}: a panic while another ({first}) unwinds: {info}",
            SEED.get()
        ),
    }
}

/// What a panic that was caught says, and where.
pub(crate) fn text(panic: &(dyn Any + Send)) -> String {
    FALLING.set(0);
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_default();
    let place = PLACE.with(|p| p.borrow().clone());
    format!("{text} ({place})")
}
