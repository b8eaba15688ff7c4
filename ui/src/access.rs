//! Who is signed in, as far as this page knows; and what to show instead of the app while nobody is.

use kvorum_api::SessionState;
use leptos::ev;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::{self, Failure};

/// Somebody who types or points is there; that is told the server this often at most.
const PRESENCE_EVERY_MS: u64 = 4 * 60 * 1000;

/// What the page knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Standing {
    /// It is asking.
    #[default]
    Asking,
    /// It could not ask.
    Failed(Failure),
    /// The server's word.
    Told(SessionState),
}

/// The login, shared by context.
#[derive(Clone, Copy)]
pub(crate) struct Access {
    pub(crate) standing: RwSignal<Standing>,
    /// True if a session ended while this page stood.
    pub(crate) expired: RwSignal<bool>,
    /// True until somebody was signed in on this page.
    fresh: StoredValue<bool>,
}

impl Access {
    /// Asks who is signed in, and follows what other requests learn about it.
    pub(crate) fn provide() -> Self {
        let access = Self {
            standing: RwSignal::default(),
            expired: RwSignal::new(false),
            fresh: StoredValue::new(true),
        };
        provide_context(access);
        api::when_signed_out(move || access.lost());
        access.ask();
        access.tell_presence();
        access
    }

    /// Asks the server again.
    pub(crate) fn ask(self) {
        spawn_local(async move {
            let told = match api::session().await {
                Ok(state) => Standing::Told(state),
                Err(failure) => Standing::Failed(failure),
            };
            self.take(told);
        });
    }

    /// Takes the server's word.
    pub(crate) fn take(self, told: Standing) {
        if let Standing::Told(SessionState::SignedOut { .. }) = &told
            && self.account().is_some()
        {
            self.expired.set(true);
        }
        if matches!(told, Standing::Told(SessionState::SignedIn { .. })) {
            self.expired.set(false);
            self.fresh.set_value(false);
        }
        self.standing.set(told);
    }

    /// Signs out, and says so rather than that the session has ended.
    pub(crate) fn sign_out(self) {
        spawn_local(async move {
            match api::sign_out().await {
                Ok(state) => {
                    self.standing.set(Standing::Told(state));
                    self.expired.set(false);
                }
                Err(failure) => self.standing.set(Standing::Failed(failure)),
            }
        });
    }

    /// A request was refused for want of a session.
    fn lost(self) {
        if self.admitted_now() {
            self.ask();
        }
    }

    /// True if nobody has been signed in since this page was opened.
    pub(crate) fn is_fresh(self) -> bool {
        self.fresh.get_value()
    }

    /// True if the pages may be shown.
    pub(crate) fn admitted(self) -> Memo<bool> {
        Memo::new(move |_| self.standing.with(is_admitted))
    }

    fn admitted_now(self) -> bool {
        self.standing.with_untracked(is_admitted)
    }

    /// Who is signed in.
    fn account(self) -> Option<String> {
        self.standing.with_untracked(account_of)
    }

    /// Who is signed in; none where there is no login.
    pub(crate) fn who(self) -> Memo<Option<String>> {
        Memo::new(move |_| self.standing.with(account_of))
    }

    /// A session that is used by looking alone would end: typing and pointing keep it.
    fn tell_presence(self) {
        let told_ms = StoredValue::new(api::now_ms());
        let present = move || {
            let now_ms = api::now_ms();
            let due = now_ms.saturating_sub(told_ms.get_value()) > PRESENCE_EVERY_MS;
            if due && self.account().is_some() {
                told_ms.set_value(now_ms);
                self.ask();
            }
        };
        let pointed = window_event_listener(ev::pointerdown, move |_| present());
        let typed = window_event_listener(ev::keydown, move |_| present());
        on_cleanup(move || {
            pointed.remove();
            typed.remove();
        });
    }
}

/// The login of this page.
pub(crate) fn access() -> Access {
    expect_context()
}

fn is_admitted(standing: &Standing) -> bool {
    matches!(
        standing,
        Standing::Told(SessionState::Open | SessionState::SignedIn { .. })
    )
}

fn account_of(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Told(SessionState::SignedIn { account, .. }) => Some(account.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_servers_word_lets_anybody_in() {
        let signed_in = SessionState::SignedIn {
            account: "ada".into(),
            has_password: true,
            ends_unix_ms: 0,
        };
        let signed_out = SessionState::SignedOut {
            first_run: false,
            certificate: None,
        };
        assert!(!is_admitted(&Standing::Asking));
        assert!(!is_admitted(&Standing::Told(signed_out)));
        assert!(is_admitted(&Standing::Told(SessionState::Open)));
        let standing = Standing::Told(signed_in);
        assert!(is_admitted(&standing));
        assert_eq!(account_of(&standing).as_deref(), Some("ada"));
    }
}
