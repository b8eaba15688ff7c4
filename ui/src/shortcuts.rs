//! Keyboard shortcuts: `/`, `g` then a letter, `?`, Esc. Never while typing, never with a modifier.

use leptos::ev;
use leptos::prelude::*;
use leptos_router::NavigateOptions;
use leptos_router::hooks::use_navigate;
use wasm_bindgen::JsCast;
use web_sys::{HtmlElement, HtmlInputElement, KeyboardEvent};

use crate::settings;

/// The prefix box carries this id.
pub(crate) const SEARCH_ID: &str = "prefix";

/// What the help dialog lists.
pub(crate) const LIST: [(&str, &str); 6] = [
    ("/", "Jump to the prefix box"),
    ("g o", "Go to Overview"),
    ("g k", "Go to Keys"),
    ("g s", "Go to Security"),
    ("g a", "Go to About"),
    ("?", "Show this list"),
];

/// What a key press asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing, or the first key of two.
    None,
    Go(&'static str),
    Search,
    Help,
    Dismiss,
}

/// Reads keys one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Keyboard {
    /// True after `g`.
    going: bool,
}

impl Keyboard {
    /// Takes one key press outside of text fields.
    pub(crate) fn press(&mut self, key: &str) -> Action {
        if std::mem::take(&mut self.going) {
            return match key {
                "o" => Action::Go("/"),
                "k" => Action::Go("/keys"),
                "s" => Action::Go("/security"),
                "a" => Action::Go("/about"),
                _ => Action::None,
            };
        }
        self.going = key == "g";
        match key {
            "/" => Action::Search,
            "?" => Action::Help,
            "Escape" => Action::Dismiss,
            _ => Action::None,
        }
    }
}

/// What Esc closes, set by the page that has something to close.
#[derive(Clone, Copy)]
pub(crate) struct Dismiss(pub(crate) RwSignal<Option<String>>);

/// Listens for the life of the page; `help` is turned on by `?`.
pub(crate) fn listen(help: RwSignal<bool>, dismiss: Dismiss) {
    let keyboard = StoredValue::new(Keyboard::default());
    let navigate = StoredValue::new_local(use_navigate());
    let enabled = settings::settings().shortcuts;
    let go =
        move |to: &str| navigate.with_value(|navigate| navigate(to, NavigateOptions::default()));
    let handle = window_event_listener(ev::keydown, move |event| {
        if typing(&event) {
            leave_field(&event);
            return;
        }
        let modified = event.ctrl_key() || event.alt_key() || event.meta_key();
        if modified || help.get_untracked() || asked() || !enabled.get_untracked() {
            return;
        }
        let Some(action) = keyboard.try_update_value(|keyboard| keyboard.press(&event.key()))
        else {
            return;
        };
        match action {
            Action::None => return,
            Action::Go(to) => go(to),
            Action::Help => help.set(true),
            Action::Search if focus_search() => {}
            Action::Search => go("/keys?focus=prefix"),
            Action::Dismiss => match dismiss.0.get_untracked() {
                Some(to) => go(&to),
                None => return,
            },
        }
        event.prevent_default();
    });
    on_cleanup(move || handle.remove());
}

/// Puts the cursor into the prefix box, if the page has one.
pub(crate) fn focus_search() -> bool {
    let found = document().get_element_by_id(SEARCH_ID);
    let Some(input) = found.and_then(|found| found.dyn_into::<HtmlInputElement>().ok()) else {
        return false;
    };
    input.select();
    input.focus().is_ok()
}

/// True while a dialog waits for an answer: it has the keyboard for itself.
fn asked() -> bool {
    let open = document().query_selector("dialog[open]");
    open.is_ok_and(|found| found.is_some())
}

fn target(event: &KeyboardEvent) -> Option<HtmlElement> {
    event.target()?.dyn_into().ok()
}

fn typing(event: &KeyboardEvent) -> bool {
    target(event).is_some_and(|target| {
        matches!(target.tag_name().as_str(), "INPUT" | "TEXTAREA" | "SELECT")
            || target.is_content_editable()
    })
}

/// Esc in a field gives the keyboard back to the page.
fn leave_field(event: &KeyboardEvent) {
    if event.key() == "Escape"
        && let Some(target) = target(event)
    {
        let _ = target.blur();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pressed(keys: &[&str]) -> Vec<Action> {
        let mut keyboard = Keyboard::default();
        keys.iter().map(|key| keyboard.press(key)).collect()
    }

    #[test]
    fn g_and_a_letter_go_somewhere() {
        assert_eq!(pressed(&["g", "k"]), [Action::None, Action::Go("/keys")]);
        assert_eq!(pressed(&["g", "o"])[1], Action::Go("/"));
    }

    #[test]
    fn g_counts_for_one_key_only() {
        assert_eq!(
            pressed(&["g", "x", "k"]),
            [Action::None, Action::None, Action::None]
        );
        assert_eq!(pressed(&["g", "?", "?"])[1..], [Action::None, Action::Help]);
    }

    #[test]
    fn single_keys_act_at_once() {
        assert_eq!(
            pressed(&["/", "?", "Escape", "k"]),
            [Action::Search, Action::Help, Action::Dismiss, Action::None]
        );
    }
}
