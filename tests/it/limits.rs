//! A small machine under large requests: what a member may take of the memory holds, whatever clients ask for.

mod lists;
pub(crate) mod sizes;
mod slow_watchers;
