//! One committed change of the console's tables: all of it or nothing.

use std::sync::Arc;

use bytes::Bytes;
use kvorum_proto::kvorumpb::{
    ConsoleClose, ConsoleEnd, ConsoleEvent, ConsoleFail, ConsoleOp, ConsoleOpen, ConsolePassword,
    ConsoleReset, ConsoleRole, ConsoleSession, ConsoleTouch, ConsoleVia, console_op::Op,
};

use super::rows::Writing;
use super::{Answer, Console, DIGEST_BYTES, Refusal, is_name};
use crate::backend::SideChange;

/// Places that are remembered of an account.
const SOURCES_MAX: usize = 16;
/// Longest PHC string.
const HASH_BYTES_MAX: usize = 512;

pub(super) fn is_digest(bytes: &[u8]) -> bool {
    bytes.len() == DIGEST_BYTES
}

pub(super) fn is_hash(text: &str) -> bool {
    text.starts_with("$argon2id$") && text.len() <= HASH_BYTES_MAX
}

impl Console {
    /// Carries out a change; the changes of rows are to be kept.
    pub fn apply(&mut self, change: &ConsoleOp, notes: &mut Vec<SideChange>) -> Answer {
        let mut writing = Writing {
            console: self,
            notes,
            now_ms: change.now_unix_ms,
        };
        writing.sweep();
        match change.op.as_ref() {
            Some(Op::Attempt(attempt)) => writing.attempt(attempt),
            Some(Op::Fail(fail)) => writing.fail(fail),
            Some(Op::Open(open)) => answer(writing.open(open)),
            Some(Op::Close(close)) => writing.close(close),
            Some(Op::Touch(touch)) => answer(writing.touch(touch)),
            Some(Op::Password(change)) => answer(writing.password(change)),
            Some(Op::LinkCreate(create)) => writing.link_create(create),
            Some(Op::LinkUse(used)) => writing.link_use(used),
            Some(Op::Reset(reset)) => writing.reset(reset),
            Some(Op::Audit(event)) => {
                writing.tell(event.clone());
                Answer::Done
            }
            Some(Op::End(end)) => answer(writing.end(end)),
            None => Answer::Refused(Refusal::Malformed),
        }
    }
}

fn answer(done: Result<(), Refusal>) -> Answer {
    done.map_or_else(Answer::Refused, |()| Answer::Done)
}

fn via_word(via: i32) -> &'static str {
    match ConsoleVia::try_from(via) {
        Ok(ConsoleVia::Password) => "by password",
        Ok(ConsoleVia::Link) => "by set-up link",
        Ok(ConsoleVia::Certificate) => "by certificate",
        _ => "",
    }
}

impl Writing<'_> {
    fn fail(&mut self, fail: &ConsoleFail) -> Answer {
        let wait_ms = self
            .console
            .wait_ms(&fail.account, &fail.source, self.now_ms);
        let detail = match wait_ms {
            0 => String::new(),
            ms => format!("next try in {} s", (ms + 999) / 1000),
        };
        self.tell_refusal(ConsoleEvent {
            who: fail.account.clone(),
            from: fail.source.clone(),
            what: "sign in".into(),
            result: "refused".into(),
            detail,
            ..Default::default()
        });
        Answer::Done
    }

    fn open(&mut self, open: &ConsoleOpen) -> Result<(), Refusal> {
        if !is_name(&open.account) || !is_digest(&open.session) {
            return Err(Refusal::Malformed);
        }
        let by_certificate = open.via() == ConsoleVia::Certificate;
        let role = match self.console.account(&open.account) {
            // The certificate says that its owner is an administrator, whether there is an account or not.
            _ if by_certificate => ConsoleRole::Admin.into(),
            Some(account) if account.password_number == open.password_number => account.role,
            Some(_) => return Err(Refusal::PasswordChanged),
            None => return Err(Refusal::NoAccount),
        };
        self.remove_session(&open.before);
        self.put_session(ConsoleSession {
            digest: open.session.clone(),
            account: open.account.clone(),
            role,
            via: open.via,
            source: open.source.clone(),
            created_unix_ms: self.now_ms,
            seen_unix_ms: self.now_ms,
            certificate: open.certificate.clone(),
        });
        if !by_certificate {
            self.succeeded(&open.account, &open.source);
            self.remember_source(&open.account, &open.source);
        }
        self.tell(ConsoleEvent {
            who: open.account.clone(),
            from: open.source.clone(),
            what: "sign in".into(),
            result: "ok".into(),
            detail: via_word(open.via).into(),
            ..Default::default()
        });
        Ok(())
    }

    pub(super) fn remember_source(&mut self, account: &str, source: &str) {
        let Some(mut account) = self.console.account(account).cloned() else {
            return;
        };
        if account.known_sources.last().is_some_and(|s| s == source) {
            return;
        }
        account.known_sources.retain(|known| known != source);
        account.known_sources.push(source.to_owned());
        let spare = account.known_sources.len().saturating_sub(SOURCES_MAX);
        account.known_sources.drain(..spare);
        self.put_account(account);
    }

    fn close(&mut self, close: &ConsoleClose) -> Answer {
        if let Some(session) = self.remove_session(&close.session) {
            self.tell_of(&session, &close.source, "sign out", "");
        }
        Answer::Done
    }

    fn touch(&mut self, touch: &ConsoleTouch) -> Result<(), Refusal> {
        let mut session = self.live(&touch.session)?;
        session.seen_unix_ms = session.seen_unix_ms.max(self.now_ms);
        self.put_session(session);
        Ok(())
    }

    fn live(&self, digest: &[u8]) -> Result<ConsoleSession, Refusal> {
        let session = self.console.session(digest, self.now_ms);
        session.cloned().ok_or(Refusal::NoSession)
    }

    fn password(&mut self, change: &ConsolePassword) -> Result<(), Refusal> {
        if !is_hash(&change.hash) || !is_digest(&change.session_after) {
            return Err(Refusal::Malformed);
        }
        let session = self.live(&change.session)?;
        let account = self.console.account(&session.account).cloned();
        let mut account = account.ok_or(Refusal::NoAccount)?;
        if account.password_number != change.password_number {
            return Err(Refusal::PasswordChanged);
        }
        account.hash.clone_from(&change.hash);
        account.password_number += 1;
        account.password_unix_ms = self.now_ms;
        self.put_account(account);
        self.remove_sessions_of(&session.account);
        self.succeeded(&session.account, &change.source);
        let session = ConsoleSession {
            digest: change.session_after.clone(),
            created_unix_ms: self.now_ms,
            seen_unix_ms: self.now_ms,
            via: ConsoleVia::Password.into(),
            ..session
        };
        self.put_session(session.clone());
        let detail = "other sessions ended";
        self.tell_of(&session, &change.source, "password changed", detail);
        Ok(())
    }

    fn end(&mut self, end: &ConsoleEnd) -> Result<(), Refusal> {
        let by = self.live(&end.by)?;
        let sessions = &mut self.console.sessions.values();
        let named = sessions
            .find(|session| !end.handle.is_empty() && session.digest.starts_with(&end.handle));
        let digest = named.map(|session| session.digest.clone());
        let digest: Bytes = digest.ok_or(Refusal::NoSession)?;
        let ended: Option<Arc<ConsoleSession>> = self.remove_session(&digest);
        let detail = ended.map(|session| format!("of {} from {}", session.account, session.source));
        let detail = detail.unwrap_or_default();
        self.tell_of(&by, &end.source, "session ended", &detail);
        Ok(())
    }

    fn reset(&mut self, reset: &ConsoleReset) -> Answer {
        let accounts: Vec<String> = self.console.accounts.keys().cloned().collect();
        let sessions: Vec<Bytes> = self.console.sessions.keys().cloned().collect();
        let links: Vec<Bytes> = self.console.links.keys().cloned().collect();
        let attempts: Vec<String> = self.console.attempts.keys().cloned().collect();
        let detail = format!("{} accounts, {} sessions", accounts.len(), sessions.len());
        accounts.iter().for_each(|name| self.remove_account(name));
        for digest in &sessions {
            self.remove_session(digest);
        }
        links.iter().for_each(|digest| self.remove_link(digest));
        for subject in &attempts {
            self.remove_attempts(subject);
        }
        self.tell(ConsoleEvent {
            who: reset.by.clone(),
            what: "console reset".into(),
            result: "ok".into(),
            detail,
            ..Default::default()
        });
        Answer::Done
    }

    fn tell_of(&mut self, session: &ConsoleSession, source: &str, what: &str, detail: &str) {
        self.tell(ConsoleEvent {
            who: session.account.clone(),
            from: source.to_owned(),
            what: what.to_owned(),
            result: "ok".into(),
            detail: detail.to_owned(),
            ..Default::default()
        });
    }
}
