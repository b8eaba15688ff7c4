//! One-time links: the first account is made by one, and a lost password is replaced by one.

use bytes::Bytes;
use kvorum_proto::kvorumpb::{
    ConsoleAccount, ConsoleEvent, ConsoleLink, ConsoleLinkCreate, ConsoleLinkUse, ConsoleRole,
    ConsoleSession, ConsoleVia,
};

use super::apply::{is_digest, is_hash};
use super::rows::Writing;
use super::{ACCOUNTS_MAX, Answer, Console, Refusal, is_name};

/// Links there can be; the one that expires first makes way.
const LINKS_MAX: usize = 16;
/// No link lives longer.
const LIFE_MAX_MS: i64 = 24 * 60 * 60 * 1000;
/// A link that has expired is remembered for so long, so that it can be told from one that never was.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1000;

impl Console {
    /// The link of a code, if it can be used now.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn link(&self, digest: &[u8], now_ms: i64) -> Result<&ConsoleLink, Refusal> {
        let link = self.links.get(digest).ok_or(Refusal::LinkUnknown)?;
        if now_ms >= link.expires_unix_ms {
            return Err(Refusal::LinkExpired);
        }
        if link.first_run && self.has_accounts() {
            return Err(Refusal::LinkNotNeeded);
        }
        Ok(link)
    }
}

impl Writing<'_> {
    pub(super) fn link_create(&mut self, create: &ConsoleLinkCreate) -> Answer {
        if !is_digest(&create.code) || !(create.account.is_empty() || is_name(&create.account)) {
            return Answer::Refused(Refusal::Malformed);
        }
        if create.first_run && self.console.has_accounts() {
            return Answer::Refused(Refusal::LinkNotNeeded);
        }
        while self.console.links.len() >= LINKS_MAX {
            let links = self.console.links.values();
            let oldest = links.min_by_key(|link| (link.expires_unix_ms, link.digest.clone()));
            let Some(digest) = oldest.map(|link| link.digest.clone()) else {
                break;
            };
            self.remove_link(&digest);
        }
        let life_ms = create.life_ms.clamp(0, LIFE_MAX_MS);
        self.put_link(ConsoleLink {
            digest: create.code.clone(),
            expires_unix_ms: self.now_ms.saturating_add(life_ms),
            first_run: create.first_run,
            account: create.account.clone(),
        });
        let purpose = if create.first_run {
            "for the first account"
        } else {
            "for an account"
        };
        self.tell(ConsoleEvent {
            who: create.by.clone(),
            what: "set-up link made".into(),
            result: "ok".into(),
            detail: format!("{purpose} {}", create.account).trim().into(),
            ..Default::default()
        });
        Answer::Done
    }

    /// Burns the link, sets the password, ends the account's other sessions and opens one.
    pub(super) fn link_use(&mut self, used: &ConsoleLinkUse) -> Answer {
        match self.try_link(used) {
            Ok(()) => Answer::Done,
            Err(refused) => {
                self.tell(ConsoleEvent {
                    who: used.account.clone(),
                    from: used.source.clone(),
                    what: "set-up link used".into(),
                    result: refused.to_string(),
                    ..Default::default()
                });
                Answer::Refused(refused)
            }
        }
    }

    fn try_link(&mut self, used: &ConsoleLinkUse) -> Result<(), Refusal> {
        if !is_name(&used.account) || !is_hash(&used.hash) || !is_digest(&used.session) {
            return Err(Refusal::Malformed);
        }
        let link = self.console.link(&used.code, self.now_ms)?;
        if !link.account.is_empty() && link.account != used.account {
            return Err(Refusal::LinkOfOther);
        }
        let before = self.console.account(&used.account).cloned();
        if before.is_none() && self.console.accounts.len() >= ACCOUNTS_MAX {
            return Err(Refusal::TooManyAccounts);
        }
        self.remove_link(&used.code);
        let detail = match before {
            Some(_) => "new password",
            None => "new account",
        };
        let before = before.unwrap_or_else(|| ConsoleAccount {
            name: used.account.clone(),
            role: ConsoleRole::Admin.into(),
            created_unix_ms: self.now_ms,
            ..Default::default()
        });
        let role = before.role;
        self.put_account(ConsoleAccount {
            hash: used.hash.clone(),
            password_unix_ms: self.now_ms,
            password_number: before.password_number + 1,
            ..before
        });
        self.remove_sessions_of(&used.account);
        self.remove_session(&used.before);
        self.put_session(ConsoleSession {
            digest: used.session.clone(),
            account: used.account.clone(),
            role,
            via: ConsoleVia::Link.into(),
            source: used.source.clone(),
            created_unix_ms: self.now_ms,
            seen_unix_ms: self.now_ms,
            ..Default::default()
        });
        self.succeeded(&used.account, &used.source);
        self.remember_source(&used.account, &used.source);
        self.tell(ConsoleEvent {
            who: used.account.clone(),
            from: used.source.clone(),
            what: "set-up link used".into(),
            result: "ok".into(),
            detail: detail.into(),
            ..Default::default()
        });
        Ok(())
    }

    pub(super) fn sweep_links(&mut self, now_ms: i64) {
        let links = self.console.links.values();
        let old = links.filter(|link| now_ms.saturating_sub(link.expires_unix_ms) > REMEMBERED_MS);
        let old: Vec<Bytes> = old.map(|link| link.digest.clone()).collect();
        for digest in old {
            self.remove_link(&digest);
        }
    }
}
