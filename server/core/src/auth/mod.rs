//! Users, roles and who may do what: replicated, decided alike by all members at the place in the log where it counts.
//! (ETCD.md 2.11)
//!
//! A request is normalised, flattened into what it needs (`needs`), and then `AuthStore::authorise` looks at all of it
//! in one place, whether the request is applied, read or watched. Passwords and tokens never come here: the edge
//! compares passwords with the hash it finds here, and hands in digests of tokens.

mod authorise;
mod caller;
mod change;
mod grants;
pub mod needs;
mod store;

#[cfg(test)]
mod tests;

pub use caller::Caller;
pub use change::{AuthEvent, Changed};
pub use needs::Need;
pub use store::AuthStore;
