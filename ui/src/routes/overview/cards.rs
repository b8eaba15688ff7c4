//! Where things stand: database, raft, the member itself.

use kvorum_api::Overview;
use leptos::prelude::*;

use crate::app::now;
use crate::components::{Copy, Meter};
use crate::format;
use crate::verdict;

/// A text out of the newest overview; empty before the first.
fn of(pick: fn(&Overview) -> String) -> Signal<String> {
    let live = now().live;
    let text =
        Memo::new(move |_| live.with(|live| live.overview.as_ref().map(pick).unwrap_or_default()));
    text.into()
}

#[component]
fn Fact(name: &'static str, #[prop(into)] value: Signal<String>) -> impl IntoView {
    view! { <div><dt>{name}</dt><dd>{value}</dd></div> }
}

#[component]
pub(super) fn DatabaseCard() -> impl IntoView {
    let live = now().live;
    let part = move |pick: fn(&Overview) -> f64| {
        Signal::derive(move || {
            live.with(|live| live.overview.as_ref().map(pick).unwrap_or_default())
        })
    };
    let used = part(|it| share(it, it.now.store.db_size_in_use));
    let taken = part(|it| verdict::quota_used(it).unwrap_or_default());
    view! {
        <section class="card third database">
            <h2>"Database"</h2>
            <p class="figure">{of(|it| format::bytes(it.now.store.db_size))}</p>
            <p class="quiet small">{of(quota_note)}</p>
            <Meter label="Database size against quota" used shadow=taken/>
            <dl class="facts">
                <Fact name="In use" value=of(|it| format::bytes(it.now.store.db_size_in_use))/>
                <Fact name="Rounded up to pages" value=of(|it| format::bytes(rounding(it)))/>
                <Fact name="Left until the quota" value=of(left)/>
            </dl>
        </section>
    }
}

fn share(overview: &Overview, bytes: u64) -> f64 {
    match overview.now.store.quota {
        0 => 0.0,
        quota => bytes as f64 / quota as f64,
    }
}

fn quota_note(overview: &Overview) -> String {
    match verdict::quota_used(overview) {
        Some(used) => {
            format!(
                "{} of {}",
                format::percent(used),
                format::bytes(overview.now.store.quota)
            )
        }
        None => "no quota".to_owned(),
    }
}

/// What the size counts beyond the bytes in use.
fn rounding(overview: &Overview) -> u64 {
    overview
        .now
        .store
        .db_size
        .saturating_sub(overview.now.store.db_size_in_use)
}

fn left(overview: &Overview) -> String {
    match overview.now.store.quota {
        0 => "unlimited".to_owned(),
        quota => format::bytes(quota.saturating_sub(overview.now.store.db_size)),
    }
}

#[component]
pub(super) fn RaftCard() -> impl IntoView {
    let behind = |it: &Overview| match it.now.committed.saturating_sub(it.now.applied) {
        0 => "none".to_owned(),
        behind => format::plural(behind, "entry", "entries"),
    };
    view! {
        <section class="card third">
            <h2>"Raft"</h2>
            <dl class="facts">
                <Fact name="Leader" value=of(leader)/>
                <Fact name="Term" value=of(|it| format::count(it.raft.term))/>
                <Fact name="Committed index" value=of(|it| format::count(it.now.committed))/>
                <Fact name="Not yet applied" value=of(behind)/>
                <Fact name="Members" value=of(members)/>
                <Fact name="Alarms" value=of(alarms)/>
            </dl>
        </section>
    }
}

fn leader(overview: &Overview) -> String {
    let raft = &overview.raft;
    match (raft.leader_id.is_empty(), raft.is_leader) {
        (true, _) => "none".to_owned(),
        (_, true) => format!("{}, this member", raft.leader_name),
        (_, false) if raft.leader_name.is_empty() => raft.leader_id.clone(),
        (_, false) => raft.leader_name.clone(),
    }
}

fn members(overview: &Overview) -> String {
    let voters = format::plural(u64::from(overview.raft.voters), "voter", "voters");
    match overview.raft.learners {
        0 => voters,
        learners => format!(
            "{voters}, {}",
            format::plural(u64::from(learners), "learner", "learners")
        ),
    }
}

fn alarms(overview: &Overview) -> String {
    if overview.alarms.is_empty() {
        return "none".to_owned();
    }
    let alarm = |alarm: &kvorum_api::Alarm| format!("{} on {}", alarm.kind, alarm.member_id);
    overview
        .alarms
        .iter()
        .map(alarm)
        .collect::<Vec<_>>()
        .join(", ")
}

#[component]
pub(super) fn MemberCard() -> impl IntoView {
    let now = now();
    let started = Memo::new(move |_| {
        now.live
            .with(|live| live.overview.as_ref().map(|it| it.identity.started_unix_ms))
    });
    let uptime = Signal::derive(move || {
        let running_ms = started
            .get()
            .map(|started| now.clock_ms.get().saturating_sub(started));
        running_ms.map(format::duration).unwrap_or_default()
    });
    let (member_id, cluster_id) = (
        of(|it| it.identity.member_id.clone()),
        of(|it| it.identity.cluster_id.clone()),
    );
    view! {
        <section class="card member">
            <h2>"Member"</h2>
            <dl class="strip">
                <Fact name="Name" value=of(|it| it.identity.member_name.clone())/>
                <Fact name="Version" value=of(|it| it.identity.version.clone())/>
                <Fact name="Running for" value=uptime/>
                <div><dt>"Member id"</dt><dd><code>{member_id}</code><Copy text=member_id what="member id"/></dd></div>
                <div><dt>"Cluster id"</dt><dd><code>{cluster_id}</code><Copy text=cluster_id what="cluster id"/></dd></div>
            </dl>
        </section>
    }
}
