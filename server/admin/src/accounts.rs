//! What the login asks of the replicated tables, and nothing more.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use kvorum_core::console::{Answer, Console};
use kvorum_member::Handle;
use kvorum_proto::kvorumpb::console_op::Op;

use crate::source::Refusal;

/// Replicated accounts, sessions and events.
pub(crate) trait Accounts: Send + Sync + 'static {
    /// The tables as this member has them.
    fn tables(&self) -> Arc<Console>;

    /// Changes them everywhere.
    fn change(&self, op: Op) -> BoxFuture<'_, Result<Answer, Refusal>>;

    /// The clock that changes are made by, milliseconds since 1970.
    fn now_ms(&self) -> i64;
}

/// The tables of a member.
pub(crate) struct MemberAccounts(pub(crate) Handle);

impl Accounts for MemberAccounts {
    fn tables(&self) -> Arc<Console> {
        self.0.console()
    }

    fn change(&self, op: Op) -> BoxFuture<'_, Result<Answer, Refusal>> {
        Box::pin(async move {
            let answer = self.0.console_change(op).await;
            answer.map_err(|error| Refusal::Unavailable(error.to_string()))
        })
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(crate::member_source::unix_ms()).unwrap_or(i64::MAX)
    }
}
