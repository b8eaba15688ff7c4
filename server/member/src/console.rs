//! The console's accounts as the shell sees them: a view to read, changes to propose, and links to hand out.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kvorum_core::Error;
use kvorum_core::auth::Caller;
use kvorum_core::console::{Answer, Console, Refusal};
use kvorum_core::reply::Reply;
use kvorum_proto::kvorumpb::{
    ConsoleEvent, ConsoleLinkCreate, ConsoleOp, ConsoleReset, command::Op as Command,
    console_op::Op,
};
use sha2::{Digest, Sha256};

use crate::handle::Handle;

/// A link can be used for so long.
pub const LINK_LIFE_MS: i64 = 15 * 60 * 1000;
/// 128 bits, which nobody guesses.
const CODE_BYTES: usize = 16;

/// Why the console's tables were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleError {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The cluster cannot do it now.
    #[error(transparent)]
    Cluster(#[from] Error),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// What a link is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkPurpose {
    /// The first account; refused once there is one.
    FirstRun,
    /// A new account or a new password, by word of somebody with access to the member's machine.
    Granted {
        /// Only for this account.
        account: Option<String>,
    },
}

/// A link that was made. The code is shown once and kept nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ConsoleLink {
    /// Goes behind `/setup#`.
    pub code: String,
    /// Not usable from here on.
    pub expires_unix_ms: i64,
}

impl std::fmt::Debug for ConsoleLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleLink")
            .field("expires_unix_ms", &self.expires_unix_ms)
            .finish_non_exhaustive()
    }
}

impl Handle {
    /// The console's tables as this member has them.
    #[must_use]
    pub fn console(&self) -> Arc<Console> {
        self.shared.view.read().console.clone()
    }

    /// Changes the console's tables, by this machine's clock.
    ///
    /// # Errors
    /// The cluster cannot take it now. What the tables answer is no error.
    pub async fn console_change(&self, op: Op) -> Result<Answer, Error> {
        let change = ConsoleOp {
            now_unix_ms: unix_ms(),
            op: Some(op),
        };
        // The console has accounts of its own; what a client may do is none of its concern.
        match self
            .propose(&Caller::own(), Command::Console(change))
            .await?
        {
            Reply::Console(answer) => Ok(answer),
            // A command that was applied before a snapshot has an outcome that nobody knows.
            _ => Err(Error::Timeout),
        }
    }

    /// Makes a one-time link. `by` says in the events who asked for it.
    ///
    /// # Errors
    /// There is an account already and the link was for the first, or the cluster cannot do it now.
    pub async fn console_link(
        &self,
        purpose: LinkPurpose,
        by: &str,
    ) -> Result<ConsoleLink, ConsoleError> {
        let mut code = [0; CODE_BYTES];
        getrandom::fill(&mut code).map_err(|_| ConsoleError::NoRandom)?;
        let code = code_text(&code);
        let (first_run, account) = match purpose {
            LinkPurpose::FirstRun => (true, None),
            LinkPurpose::Granted { account } => (false, account),
        };
        let create = ConsoleLinkCreate {
            code: digest(code.as_bytes()),
            life_ms: LINK_LIFE_MS,
            first_run,
            account: account.unwrap_or_default(),
            by: by.to_owned(),
        };
        let expires_unix_ms = unix_ms() + LINK_LIFE_MS;
        done(self.console_change(Op::LinkCreate(create)).await?)?;
        Ok(ConsoleLink {
            code,
            expires_unix_ms,
        })
    }

    /// Forgets all accounts, sessions and links of the console; its events stay.
    ///
    /// # Errors
    /// The cluster cannot do it now.
    pub async fn console_reset(&self, by: &str) -> Result<(), ConsoleError> {
        let reset = ConsoleReset { by: by.to_owned() };
        done(self.console_change(Op::Reset(reset)).await?)
    }

    /// Adds an event to those that the console shows. It must hold no secret.
    ///
    /// # Errors
    /// The cluster cannot do it now.
    pub async fn audit(&self, event: ConsoleEvent) -> Result<(), ConsoleError> {
        done(self.console_change(Op::Audit(event)).await?)
    }
}

/// SHA-256, under which secrets of the console are known.
#[must_use]
pub fn digest(secret: &[u8]) -> prost::bytes::Bytes {
    prost::bytes::Bytes::copy_from_slice(&Sha256::digest(secret))
}

fn done(answer: Answer) -> Result<(), ConsoleError> {
    match answer {
        Answer::Done => Ok(()),
        Answer::Refused(refused) => Err(refused.into()),
        // Only tries of passwords wait.
        Answer::Wait(_) => Err(Error::Timeout.into()),
    }
}

/// Hexadecimal: easy to mark by a double click, and the same in every URL.
fn code_text(code: &[u8]) -> String {
    use std::fmt::Write as _;
    code.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unix_ms() -> i64 {
    // A clock before 1970 is one that stands still.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
