//! The whole router as callers see it, over a store in memory.

mod attacks;
mod council;
mod hostile;
mod ledger;
mod login;
mod memory;
mod tls;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use kvorum_api::{
    Change, ErrorBody, ErrorCode, Event, KeyHistory, KeyListing, KeyView, Overview, base64,
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tower::ServiceExt;

use crate::{AdminOptions, router_over};
use memory::Memory;

fn console() -> Router {
    console_over(Memory::with_some_keys())
}

fn console_over(memory: Memory) -> Router {
    let options = AdminOptions {
        host_names: vec!["console.example".into()],
        ..AdminOptions::default()
    };
    router_over(
        Arc::new(memory),
        ledger::Ledger::new(),
        Arc::new(council::Council::default()),
        options,
    )
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).expect("the body is the documented JSON")
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("headers are ASCII"))
    }
}

async fn ask(router: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(router, "GET", path, headers).await
}

async fn send(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:2382");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a valid request");
    let response = router
        .clone()
        .oneshot(request)
        .await
        .expect("the router cannot fail");
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .expect("a body in memory")
        .to_bytes()
        .to_vec();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

async fn get<T: DeserializeOwned>(path: &str) -> T {
    let answer = ask(&console(), path, &[]).await;
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    answer.json()
}

async fn refused(path: &str) -> (StatusCode, ErrorBody) {
    let answer = ask(&console(), path, &[]).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let body: ErrorBody = answer.json();
    assert_eq!(answer.header("x-request-id"), body.request_id);
    (answer.status, body)
}

fn names(listing: &KeyListing) -> (Vec<String>, Vec<String>) {
    let text = |octets: &kvorum_api::Octets| octets.text.clone().expect("test keys are text");
    (
        listing
            .folders
            .iter()
            .map(|folder| text(&folder.prefix))
            .collect(),
        listing.keys.iter().map(|row| text(&row.key)).collect(),
    )
}

#[tokio::test]
async fn the_overview_is_the_members() {
    let overview: Overview = get("/admin/v1/overview").await;
    assert_eq!(overview.identity.member_name, "memory");
    assert_eq!(overview.now.store.keys, 6);
}

#[tokio::test]
async fn a_prefix_is_listed_as_folders_and_keys() {
    let listing: KeyListing = get("/admin/v1/keys?delimiter=/").await;
    assert_eq!(
        names(&listing),
        (vec!["app/".into(), "zoo/".into()], vec!["motd".into()])
    );
    assert_eq!((listing.folders[0].count, listing.count), (4, 6));
    let inside: KeyListing = get("/admin/v1/keys?delimiter=/&prefix=app/").await;
    assert_eq!(
        names(&inside),
        (
            vec!["app/config/".into()],
            vec!["app/a".into(), "app/b".into()]
        )
    );
}

#[tokio::test]
async fn a_listing_says_whether_its_count_is_all() {
    let exact: serde_json::Value = get("/admin/v1/keys?delimiter=/").await;
    assert_eq!(exact["count"], 6);
    assert_eq!(exact["count_capped"], false);
    let memory = Memory::with_some_keys().counting_up_to(3);
    let answer = ask(&console_over(memory), "/admin/v1/keys?delimiter=/", &[]).await;
    let capped: serde_json::Value = answer.json();
    assert_eq!(capped["count"], 3);
    assert_eq!(capped["count_capped"], true);
    assert_eq!(capped["folders"][0]["count"], 3);
    assert_eq!(capped["folders"][0]["count_capped"], true);
    assert_eq!(capped["folders"][1]["count_capped"], false);
}

#[tokio::test]
async fn without_a_delimiter_all_keys_are_listed() {
    let listing: KeyListing = get("/admin/v1/keys?prefix=app/").await;
    assert_eq!(
        names(&listing).1,
        ["app/a", "app/b", "app/config/x", "app/config/y"]
    );
    assert_eq!(listing.next_cursor, None);
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let mut seen = Vec::new();
    let mut query = "/admin/v1/keys?limit=2".to_owned();
    loop {
        let listing: KeyListing = get(&query).await;
        assert!(listing.keys.len() <= 2);
        seen.extend(names(&listing).1);
        let Some(cursor) = listing.next_cursor else {
            break;
        };
        query = format!(
            "/admin/v1/keys?limit=2&revision={}&cursor={cursor}",
            listing.revision
        );
    }
    assert_eq!(
        seen,
        [
            "app/a",
            "app/b",
            "app/config/x",
            "app/config/y",
            "motd",
            "zoo/ä"
        ]
    );
}

#[tokio::test]
async fn a_listing_can_be_read_at_an_old_revision() {
    let listing: KeyListing = get("/admin/v1/keys?revision=2").await;
    assert_eq!(names(&listing).1, ["app/a"]);
    assert_eq!((listing.revision, listing.current_revision), (2, 9));
}

#[tokio::test]
async fn a_key_is_shown_with_its_metadata() {
    let key = base64::encode_url(b"app/a");
    let view: KeyView = get(&format!("/admin/v1/key?key={key}")).await;
    assert_eq!(view.value.text.as_deref(), Some("second"));
    assert_eq!(
        (
            view.row.version,
            view.row.create_revision,
            view.row.mod_revision
        ),
        (2, 2, 8)
    );
    let old: KeyView = get(&format!("/admin/v1/key?key={key}&revision=3")).await;
    assert_eq!(old.value.text.as_deref(), Some("first"));
}

#[tokio::test]
async fn a_large_value_is_cut_and_says_so() {
    let memory = Memory::default();
    memory.put(b"large", &vec![b'x'; 1 << 20]);
    let key = base64::encode_url(b"large");
    let view: KeyView = ask(
        &console_over(memory),
        &format!("/admin/v1/key?key={key}"),
        &[],
    )
    .await
    .json();
    assert!(view.value_cut);
    assert_eq!(
        (view.row.value_bytes, view.value.bytes().len()),
        (1 << 20, 256 << 10)
    );
}

#[tokio::test]
async fn the_past_of_a_key_includes_its_deletions() {
    let memory = Memory::default();
    memory.put(b"k", b"1");
    memory.delete(b"k");
    memory.put(b"k", b"2");
    let key = base64::encode_url(b"k");
    let past: KeyHistory = ask(
        &console_over(memory),
        &format!("/admin/v1/key/history?key={key}"),
        &[],
    )
    .await
    .json();
    let kinds: Vec<(i64, bool)> = past
        .versions
        .iter()
        .map(|version| (version.revision, version.change == Change::Delete))
        .collect();
    assert_eq!(kinds, [(4, false), (3, true), (2, false)]);
}

#[tokio::test]
async fn refusals_name_the_parameter_and_what_to_do() {
    for (path, status, word) in [
        ("/admin/v1/keys?limit=0", 400, "limit is \"0\""),
        ("/admin/v1/keys?limit=1001", 400, "1 to 1000"),
        ("/admin/v1/keys?revision=-1", 400, "revision is \"-1\""),
        ("/admin/v1/keys?revision=x", 400, "revision is \"x\""),
        (
            "/admin/v1/keys?prefix=a&prefix64=YQ",
            400,
            "exclude each other",
        ),
        (
            "/admin/v1/keys?prefix=a&cursor=Yg",
            400,
            "cursor belongs to another prefix",
        ),
        ("/admin/v1/keys?cursor=*", 400, "cursor is not base64"),
        ("/admin/v1/keys?colour=red", 400, "colour"),
        ("/admin/v1/keys?revision=99", 416, "future revision"),
        ("/admin/v1/key", 400, "key is missing"),
        ("/admin/v1/key?key=", 400, "key is empty"),
        (
            "/admin/v1/key?key=bm9uZQ",
            404,
            "does not exist at revision 9",
        ),
        ("/admin/v1/nothing", 404, "no such route"),
        ("/admin", 404, "no such route"),
        ("/admin/", 404, "no such route"),
    ] {
        let (got, body) = refused(path).await;
        assert_eq!(got.as_u16(), status, "{path}");
        assert!(body.message.contains(word), "{path}: {}", body.message);
    }
}

#[tokio::test]
async fn a_compacted_revision_is_gone() {
    let memory = Memory::with_some_keys();
    memory.compact(5);
    let answer = ask(&console_over(memory), "/admin/v1/keys?revision=2", &[]).await;
    assert_eq!(answer.status, StatusCode::GONE);
    assert_eq!(answer.json::<ErrorBody>().code, ErrorCode::Compacted);
}

#[tokio::test]
async fn only_reading_is_offered() {
    for path in ["/admin/v1/keys", "/admin/v1/key", "/", "/keys"] {
        for method in ["POST", "PUT", "DELETE"] {
            let answer = send(&console(), method, path, &[]).await;
            assert_eq!(
                answer.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
            assert_eq!(answer.json::<ErrorBody>().code, ErrorCode::MethodNotAllowed);
        }
    }
}

#[tokio::test]
async fn a_rebound_name_is_refused() {
    let console = console();
    for (host, allowed) in [
        ("localhost", true),
        ("LOCALHOST:2382", true),
        ("127.0.0.1:2382", true),
        ("127.8.8.8", true),
        ("[::1]:2382", true),
        ("console.example", true),
        ("console.example.", true),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("192.0.2.1", false),
        ("[2001:db8::1]:2382", false),
        ("", false),
        ("[", false),
    ] {
        for path in ["/", "/admin/v1/overview"] {
            let answer = ask(&console, path, &[("host", host)]).await;
            let wanted = if allowed {
                StatusCode::OK
            } else {
                StatusCode::MISDIRECTED_REQUEST
            };
            assert_eq!(answer.status, wanted, "{host:?} {path}");
        }
    }
}

#[tokio::test]
async fn another_sites_page_gets_nothing() {
    let console = console();
    for (site, allowed) in [
        ("cross-site", false),
        ("same-site", false),
        ("same-origin", true),
        ("none", true),
    ] {
        let answer = ask(&console, "/admin/v1/overview", &[("sec-fetch-site", site)]).await;
        assert_eq!(answer.status == StatusCode::OK, allowed, "{site}");
    }
    // A link from elsewhere may open the page itself.
    assert_eq!(
        ask(&console, "/", &[("sec-fetch-site", "cross-site")])
            .await
            .status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let console = console();
    for path in [
        "/",
        "/keys",
        "/admin/v1/overview",
        "/admin/v1/nothing",
        "/nothing.js",
    ] {
        let answer = ask(&console, path, &[]).await;
        assert_eq!(
            answer.header("content-security-policy"),
            "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
             font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(
            answer.header("cross-origin-opener-policy"),
            "same-origin",
            "{path}"
        );
        assert_eq!(answer.header("x-request-id").len(), 16, "{path}");
    }
}

#[tokio::test]
async fn the_page_stands_at_every_address_of_the_app() {
    let console = console();
    for path in ["/", "/keys", "/keys/deep", "/about", "/index.html"] {
        let answer = ask(&console, path, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(answer.header("cache-control"), "no-cache");
    }
    assert_eq!(
        ask(&console, "/missing.js", &[]).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn an_unchanged_page_is_not_sent_again() {
    let console = console();
    let tag = ask(&console, "/", &[]).await.header("etag").to_owned();
    let again = ask(&console, "/", &[("if-none-match", &tag)]).await;
    assert_eq!(
        (again.status, again.body.len()),
        (StatusCode::NOT_MODIFIED, 0)
    );
    assert_eq!(again.header("etag"), tag);
    let changed = ask(&console, "/", &[("if-none-match", "\"0000\"")]).await;
    assert_eq!(changed.status, StatusCode::OK);
}

/// Reads the next event of a stream.
async fn next_event(
    body: &mut axum::body::BodyDataStream,
    rest: &mut String,
) -> Option<(u64, Event)> {
    loop {
        if let Some((block, behind)) = rest.split_once("\n\n") {
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::trim)
            };
            let event = field("data:").map(|text| serde_json::from_str(text).expect("an event"));
            let id = field("id:").map(|id| id.parse().expect("a number"));
            *rest = behind.to_owned();
            if let Some(pair) = id.zip(event) {
                return Some(pair);
            }
            continue;
        }
        let chunk = body.next().await?.expect("a body in memory");
        rest.push_str(std::str::from_utf8(&chunk).expect("events are text"));
    }
}

async fn stream(console: &Router) -> axum::body::BodyDataStream {
    let request = Request::get("/admin/v1/events")
        .header("host", "localhost")
        .body(Body::empty());
    let request = request.expect("a valid request");
    let response = console
        .clone()
        .oneshot(request)
        .await
        .expect("the router cannot fail");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body().into_data_stream()
}

#[tokio::test(start_paused = true)]
async fn the_stream_starts_with_the_state_and_goes_on_with_samples() {
    let console = console();
    let mut body = stream(&console).await;
    let mut rest = String::new();
    let (first, state) = next_event(&mut body, &mut rest)
        .await
        .expect("the stream is open");
    let Event::State { overview, samples } = state else {
        panic!("{state:?}")
    };
    assert_eq!((overview.now.store.keys, samples.len()), (6, 1));
    let (second, next) = next_event(&mut body, &mut rest)
        .await
        .expect("the stream is open");
    assert!(matches!(next, Event::Sample { .. }), "{next:?}");
    assert_eq!(second, first + 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_slow_part_travels_whole() {
    let memory = Memory::with_some_keys();
    let term = memory.term();
    let console = console_over(memory);
    let mut body = stream(&console).await;
    let mut rest = String::new();
    next_event(&mut body, &mut rest).await.expect("the state");
    term.store(7, std::sync::atomic::Ordering::Relaxed);
    let (_, event) = next_event(&mut body, &mut rest)
        .await
        .expect("the stream is open");
    let Event::Changed { overview, .. } = event else {
        panic!("{event:?}")
    };
    assert_eq!(overview.raft.term, 7);
}

#[tokio::test(start_paused = true)]
async fn a_tab_that_fell_behind_starts_over() {
    let console = console();
    let mut body = stream(&console).await;
    let mut rest = String::new();
    next_event(&mut body, &mut rest).await.expect("the state");
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let (_, event) = next_event(&mut body, &mut rest)
        .await
        .expect("the stream is open");
    let Event::State { samples, .. } = event else {
        panic!("{event:?}")
    };
    assert!(samples.len() >= 60);
}

#[tokio::test(start_paused = true)]
async fn there_are_only_so_many_streams_and_a_closed_one_makes_room() {
    let console = console();
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(stream(&console).await);
    }
    let refused = ask(&console, "/admin/v1/events", &[]).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    open.pop();
    open.push(stream(&console).await);
}

#[tokio::test(start_paused = true)]
async fn streams_end_when_the_process_stops() {
    let (stop, stopping) = watch::channel(false);
    let options = AdminOptions {
        stopping: Some(stopping),
        ..AdminOptions::default()
    };
    let memory = Arc::new(Memory::with_some_keys());
    let console = router_over(
        memory,
        ledger::Ledger::new(),
        Arc::new(council::Council::default()),
        options,
    );
    let mut body = stream(&console).await;
    let mut rest = String::new();
    next_event(&mut body, &mut rest).await.expect("the state");
    stop.send(true).expect("the console listens");
    while next_event(&mut body, &mut rest).await.is_some() {}
}
