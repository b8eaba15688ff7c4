//! A line chart of the last minutes: SVG paths, HTML labels, one cursor for all charts of a page.

use leptos::ev::PointerEvent;
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::Element;

use crate::format;
use crate::plot::{self, Frame, HEIGHT, Points, WIDTH};

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    /// `a` or `b`: picks colour and dash.
    pub(crate) tone: &'static str,
    pub(crate) points: Points,
}

/// A chart. `least` is the lowest value its top may have; `show` writes a value with its unit; `cursor` is the part of
/// the width under the pointer, shared by all charts of the page.
#[component]
pub(crate) fn Chart(
    title: &'static str,
    #[prop(optional)] note: &'static str,
    #[prop(into)] lines: Signal<Vec<Line>>,
    span_ms: Memo<u64>,
    least: f64,
    show: fn(f64) -> String,
    cursor: RwSignal<Option<f64>>,
) -> impl IntoView {
    let frame = Memo::new(move |_| lines.with(|lines| frame_of(lines, span_ms.get(), least)));
    let summary = move || lines.with(|lines| summary(title, lines, frame.get(), show));
    view! {
        <figure class="card chart">
            <figcaption>
                <h2>{title}</h2>
                <Legend lines frame show cursor/>
                <p class="quiet small">{note}</p>
            </figcaption>
            <div
                class="plot"
                on:pointermove=move |event| cursor.set(part_of_width(&event))
                on:pointerleave=move |_| cursor.set(None)
            >
                <svg viewBox=format!("0 0 {WIDTH} {HEIGHT}") preserveAspectRatio="none" role="img" aria-label=summary>
                    <Grid/>
                    {move || lines.with(|lines| curves(lines, frame.get()))}
                    <Cursor cursor/>
                </svg>
                <span class="tick at-top">{move || format::plain(&show(frame.get().top))}</span>
                <span class="tick at-half">{move || format::plain(&show(frame.get().top / 2.0))}</span>
            </div>
            <div class="times" aria-hidden="true">
                <span>{move || format!("{} min ago", span_ms.get() / 60_000)}</span>
                <span>"now"</span>
            </div>
        </figure>
    }
}

fn frame_of(lines: &[Line], span_ms: u64, least: f64) -> Frame {
    let end_ms = lines
        .iter()
        .filter_map(|line| Some(line.points.last()?.0))
        .max()
        .unwrap_or_default();
    let peak = plot::peak(lines.iter().map(|line| &line.points), end_ms, span_ms);
    Frame {
        end_ms,
        span_ms,
        top: plot::round_top(peak, least),
    }
}

/// The chart in words.
fn summary(title: &str, lines: &[Line], frame: Frame, show: fn(f64) -> String) -> String {
    let minutes = frame.span_ms / 60_000;
    let mut text = format!("{title}, last {minutes} minutes.");
    for line in lines {
        let peak = plot::peak([&line.points], frame.end_ms, frame.span_ms);
        let now = line.points.last().and_then(|(_, value)| *value);
        let now = now.map_or_else(|| "none".to_owned(), show);
        text += &format!(" {}: now {now}, highest {}.", line.name, show(peak));
    }
    text
}

fn curves(lines: &[Line], frame: Frame) -> impl IntoView + use<> {
    let curve = |line: &Line| {
        let (area, stroke) = (
            plot::area(&line.points, frame),
            plot::line(&line.points, frame),
        );
        view! {
            <path class="area" data-tone=line.tone d=area/>
            <path class="stroke" data-tone=line.tone d=stroke/>
        }
    };
    lines.iter().map(curve).collect_view()
}

#[component]
fn Grid() -> impl IntoView {
    let rule = |y: f64| view! { <path class="rule" d=format!("M0 {y}H{WIDTH}")/> };
    [0.5, HEIGHT / 2.0, HEIGHT - 0.5]
        .map(rule)
        .into_iter()
        .collect_view()
}

#[component]
fn Cursor(cursor: RwSignal<Option<f64>>) -> impl IntoView {
    let path = move || {
        cursor
            .get()
            .map(|part| format!("M{:.1} 0V{HEIGHT}", part * WIDTH))
    };
    view! { <path class="cursor" d=path/> }
}

/// Names and values: those under the cursor, otherwise the newest.
#[component]
fn Legend(
    lines: Signal<Vec<Line>>,
    frame: Memo<Frame>,
    show: fn(f64) -> String,
    cursor: RwSignal<Option<f64>>,
) -> impl IntoView {
    let entry = move |line: &Line| {
        let frame = frame.get();
        let time_ms = cursor
            .get()
            .map_or(frame.end_ms, |part| frame.time_at(part));
        let value = plot::value_at(&line.points, time_ms).map_or_else(|| "–".to_owned(), show);
        view! {
            <span class="legend" data-tone=line.tone>
                <i></i>
                {line.name}
                <b>{value}</b>
            </span>
        }
    };
    let entries = move || lines.with(|lines| lines.iter().map(entry).collect_view());
    view! { <p class="legends">{entries}</p> }
}

/// Where the pointer is, from 0 at the left edge to 1 at the right.
fn part_of_width(event: &PointerEvent) -> Option<f64> {
    let plot: Element = event.current_target()?.dyn_into().ok()?;
    let bounds = plot.get_bounding_client_rect();
    let part = (f64::from(event.client_x()) - bounds.left()) / bounds.width();
    part.is_finite().then(|| part.clamp(0.0, 1.0))
}
