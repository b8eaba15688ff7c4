//! Who may call which route of the API: one table, from which the router is made, and nothing is served that is not in it.

use std::sync::Arc;

use axum::http::Method;
use axum::routing::{MethodRouter, get, post};

use crate::authority;
use crate::login::{self, Caller};
use crate::routes::{self, Console};

/// Whom a route answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody: only what the login itself is made of.
    Public,
    /// Whoever is signed in; everybody where there is no login.
    SignedIn,
    /// Whoever is signed in by name: such a change is nobody's where there is no login.
    Named,
}

/// A route and its rule.
pub(crate) struct Rule {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    pub(crate) handler: fn() -> MethodRouter<Arc<Console>>,
}

type Handler = fn() -> MethodRouter<Arc<Console>>;

const fn reads(path: &'static str, access: Access, handler: Handler) -> Rule {
    Rule {
        method: Method::GET,
        path,
        access,
        handler,
    }
}

const fn changes(path: &'static str, access: Access, handler: Handler) -> Rule {
    Rule {
        method: Method::POST,
        path,
        access,
        handler,
    }
}

/// Every route of the API. No GET changes anything.
pub(crate) const RULES: &[Rule] = &[
    reads("/admin/v1/session", Access::Public, || get(login::session)),
    changes("/admin/v1/login", Access::Public, || post(login::sign_in)),
    changes("/admin/v1/login/certificate", Access::Public, || {
        post(login::sign_in_by_certificate)
    }),
    changes("/admin/v1/setup/check", Access::Public, || {
        post(login::set_up_check)
    }),
    changes("/admin/v1/setup", Access::Public, || post(login::set_up)),
    changes("/admin/v1/logout", Access::Public, || post(login::sign_out)),
    changes("/admin/v1/password", Access::SignedIn, || {
        post(login::change_password)
    }),
    changes("/admin/v1/sessions/end", Access::SignedIn, || {
        post(login::end_session)
    }),
    reads("/admin/v1/security", Access::SignedIn, || {
        get(login::security)
    }),
    reads("/admin/v1/audit", Access::SignedIn, || get(login::audit)),
    reads("/admin/v1/authority", Access::SignedIn, || {
        get(authority::authority)
    }),
    changes("/admin/v1/authority/tokens", Access::Named, || {
        post(authority::create_token)
    }),
    changes("/admin/v1/authority/tokens/revoke", Access::Named, || {
        post(authority::revoke_token)
    }),
    changes("/admin/v1/authority/revoke", Access::Named, || {
        post(authority::revoke)
    }),
    changes("/admin/v1/authority/allow", Access::Named, || {
        post(authority::allow)
    }),
    changes("/admin/v1/authority/rotate", Access::Named, || {
        post(authority::rotate)
    }),
    reads("/admin/v1/overview", Access::SignedIn, || {
        get(routes::overview)
    }),
    reads("/admin/v1/events", Access::SignedIn, || get(routes::events)),
    reads("/admin/v1/keys", Access::SignedIn, || get(routes::keys)),
    reads("/admin/v1/key", Access::SignedIn, || get(routes::key)),
    reads("/admin/v1/key/history", Access::SignedIn, || {
        get(routes::history)
    }),
];

/// What the table says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may go on.
    Pass,
    /// Somebody must be signed in; also where there is no such route.
    SignInFirst,
    /// Only somebody with a name may, and this console asks for none.
    LoginIsOff,
    /// There is no such route.
    NoRoute,
    /// The route takes another method.
    OtherMethod(&'static str),
}

/// Judges a request for the API.
pub(crate) fn judge(method: &Method, path: &str, caller: &Caller) -> Verdict {
    let is_stranger = matches!(caller, Caller::Nobody);
    let method = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let at_path = || RULES.iter().filter(|rule| rule.path == path);
    let rule = at_path().find(|rule| rule.method == *method);
    match (rule, at_path().next()) {
        (Some(rule), _) if rule.access == Access::Public => Verdict::Pass,
        _ if is_stranger => Verdict::SignInFirst,
        (Some(rule), _) if rule.access == Access::Named && caller.session().is_none() => {
            Verdict::LoginIsOff
        }
        (Some(_), _) => Verdict::Pass,
        (None, Some(other)) if other.method == Method::POST => Verdict::OtherMethod("POST"),
        (None, Some(_)) => Verdict::OtherMethod("GET"),
        (None, None) => Verdict::NoRoute,
    }
}
