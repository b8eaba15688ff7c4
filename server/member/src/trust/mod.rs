//! The certificates of a member whose cluster has an authority of its own. (SECURITY.md 3.2, 3.3)
//!
//! What is trusted is replicated (`kvorum_core::trust`); here it is acted on. The [`Keeper`] opens the files of `pki/`
//! before anything listens, and hands out the TLS of every listener. Then it runs beside the member: it keeps the files in
//! step with what is replicated, renews this member's certificates, tells the cluster what it trusts and shows, and on
//! the leader renews the issuing certificate and carries a change of the root on. It also answers those who want to join,
//! and administrators.
//!
//! Keys are nowhere but in files of members and, sealed, in the replicated state. Each member signs for itself, and does
//! so only while it is listed as a member.

mod admin;
mod asked;
mod authority;
mod carried;
mod clients;
mod enrol;
mod files;
mod join;
mod join_server;
mod keeper;
mod leader;
mod live;
mod membership;
mod place;
mod renewal;
mod revocation_list;
mod seen;

use std::path::PathBuf;
use std::time::Duration;

use kvorum_core::MemberId;
use kvorum_pki::ClientCerts;

pub(crate) use admin::Clerk;
pub use admin::{IssuedCertificate, MadeToken, TrustCallError};
pub(crate) use carried::{Heir, carry_over};
pub use clients::{ClientIdentity, ClientTrust};
pub use enrol::{Enrolled, Enrolment, enrol};
pub use join::{JoinError, JoinOptions, Joined, join, rejoin};
pub use keeper::Keeper;
/// Why a handshake failed, in words that say what to do.
pub use kvorum_pki::tls::explain_io as explain_tls;
pub use leader::Without;
pub(crate) use place::{NewPlace, is_at};

/// How the certificates of a member are kept.
#[derive(Clone, Debug)]
pub struct TrustOptions {
    /// Where keys and certificates are.
    pub pki_dir: PathBuf,
    /// This member.
    pub member_id: MemberId,
    /// How long its own certificate lives.
    pub node_life: Duration,
    /// How long certificates of clients live if nobody says otherwise.
    pub client_life: Duration,
    /// How long the console's certificate lives.
    pub console_life: Duration,
    /// Names and addresses under which clients and browsers reach this member.
    pub names: Vec<String>,
    /// What the client listener asks of clients.
    pub client_certs: ClientCerts,
}

/// Why the certificates of a member cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// A file is missing, or not safe; the text says what to do.
    #[error("{0}")]
    Files(String),
    /// A certificate or a key is not what it should be.
    #[error("{what}: {source}")]
    Pki {
        /// Which.
        what: &'static str,
        /// What is wrong with it.
        source: kvorum_pki::PkiError,
    },
    /// A key in the replicated state cannot be opened with this member's seal key.
    #[error(
        "{0} cannot be opened with pki/seal.key: is that file another cluster's? Copy pki/seal.key of another member of this \
         cluster over it, and start this member again"
    )]
    Sealed(&'static str),
    /// What is in the files belongs to another authority than what is in the snapshot.
    #[error("{0}")]
    Foreign(String),
    /// The replicated state holds something that is none.
    #[error("the replicated trust state is damaged: {0}")]
    State(&'static str),
}

impl TrustError {
    pub(crate) fn pki(what: &'static str) -> impl FnOnce(kvorum_pki::PkiError) -> Self {
        move |source| Self::Pki { what, source }
    }
}
