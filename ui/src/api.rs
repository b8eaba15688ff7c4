//! The only HTTP of the console: one typed function per route, and the event stream.

use gloo_net::http::Request;
use kvorum_api::{ErrorBody, ErrorCode, Event, KeyHistory, KeyListing, KeyView, base64};
use leptos::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsCast;
use wasm_bindgen::closure::Closure;
use web_sys::{EventSource, MessageEvent};

use crate::address::{self, DELIMITER, KeysAddress};
use crate::live::Live;

/// Lines of a page of a listing.
const PAGE_LINES: u32 = 100;
/// After a connection that the browser has given up.
const REOPEN_AFTER: std::time::Duration = std::time::Duration::from_secs(2);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `None` if the server was not reached at all.
    pub(crate) code: Option<ErrorCode>,
    pub(crate) message: String,
    pub(crate) request_id: Option<String>,
}

impl Failure {
    fn unreachable(cause: &gloo_net::Error) -> Self {
        Self {
            code: None,
            message: format!("The member does not answer ({cause})."),
            request_id: None,
        }
    }
}

/// A page of keys as it is answered.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub(crate) struct Listed {
    /// The page.
    #[serde(flatten)]
    pub(crate) page: KeyListing,
    /// True if counting the keys under the prefix stopped early: there are at least `page.count`.
    pub(crate) count_capped: bool,
}

/// A page of keys.
pub(crate) async fn keys(at: &KeysAddress) -> Result<Listed, Failure> {
    let mut url = format!(
        "/admin/v1/keys?limit={PAGE_LINES}&prefix64={}",
        base64::encode_url(&at.prefix)
    );
    if !at.flat {
        url += &format!("&delimiter={}", char::from(DELIMITER));
    }
    if let Some(cursor) = &at.cursor {
        url += &format!("&cursor={}", address::escape(cursor));
    }
    if let Some(revision) = at.revision {
        url += &format!("&revision={revision}");
    }
    get(&url).await
}

/// One key.
pub(crate) async fn key(key: &[u8], revision: Option<i64>) -> Result<KeyView, Failure> {
    let revision = revision.unwrap_or_default();
    get(&format!(
        "/admin/v1/key?key={}&revision={revision}",
        base64::encode_url(key)
    ))
    .await
}

/// One key's past.
pub(crate) async fn history(key: &[u8]) -> Result<KeyHistory, Failure> {
    get(&format!(
        "/admin/v1/key/history?key={}",
        base64::encode_url(key)
    ))
    .await
}

async fn get<T: DeserializeOwned>(url: &str) -> Result<T, Failure> {
    let unreachable = |cause| Failure::unreachable(&cause);
    let response = Request::get(url).send().await.map_err(unreachable)?;
    if response.ok() {
        return response.json().await.map_err(unreachable);
    }
    let body: Result<ErrorBody, _> = response.json().await;
    Err(match body {
        Ok(body) => Failure {
            code: Some(body.code),
            message: body.message,
            request_id: Some(body.request_id),
        },
        Err(_) => Failure {
            code: Some(ErrorCode::Internal),
            message: format!("The member answered with status {}.", response.status()),
            request_id: response.headers().get("x-request-id"),
        },
    })
}

/// Keeps `live` up to date for as long as the page stands.
pub(crate) fn follow(live: RwSignal<Live>) {
    let Ok(source) = EventSource::new("/admin/v1/events") else {
        // Only a malformed address fails here, and this one is fixed.
        return;
    };
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |message: MessageEvent| {
        let text = message.data().as_string().unwrap_or_default();
        match serde_json::from_str::<Event>(&text) {
            Ok(event) => live.update(|live| live.apply(event, now_ms())),
            Err(error) => leptos::logging::error!("event stream: {error}"),
        }
    });
    let failed = source.clone();
    let on_error = Closure::<dyn FnMut()>::new(move || {
        live.update(|live| live.connected = false);
        // The browser reconnects by itself unless the server refused.
        if failed.ready_state() == EventSource::CLOSED {
            set_timeout(move || follow(live), REOPEN_AFTER);
        }
    });
    source.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    source.set_onerror(Some(on_error.as_ref().unchecked_ref()));
    // The stream lives as long as the page.
    on_message.forget();
    on_error.forget();
}

/// The browser's clock.
pub(crate) fn now_ms() -> u64 {
    js_sys::Date::now() as u64
}
