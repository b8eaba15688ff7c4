//! What a person prefers: theme and shortcuts, kept by the browser.

use leptos::prelude::*;

/// `assets/theme.js` reads the same entry before the first paint.
const THEME: &str = "kvorum.theme";
const SHORTCUTS: &str = "kvorum.shortcuts";

/// Light, dark, or what the system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    System,
    Light,
    Dark,
}

impl Theme {
    pub(crate) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub(crate) fn named(name: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|theme| theme.name() == name)
            .unwrap_or(Self::System)
    }
}

/// Preferences, shared by context.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) theme: RwSignal<Theme>,
    pub(crate) shortcuts: RwSignal<bool>,
}

impl Settings {
    /// Reads what was kept and keeps what changes.
    pub(crate) fn provide() {
        let settings = Self {
            theme: RwSignal::new(Theme::named(&load(THEME).unwrap_or_default())),
            shortcuts: RwSignal::new(load(SHORTCUTS).as_deref() != Some("off")),
        };
        Effect::new(move || {
            let theme = settings.theme.get().name();
            keep(THEME, theme);
            if let Some(root) = document().document_element() {
                // The attribute drives `color-scheme`; nothing else reads it.
                let _ = root.set_attribute("data-theme", theme);
            }
        });
        Effect::new(move || {
            keep(
                SHORTCUTS,
                if settings.shortcuts.get() {
                    "on"
                } else {
                    "off"
                },
            )
        });
        provide_context(settings);
    }
}

/// The preferences of this page.
pub(crate) fn settings() -> Settings {
    expect_context()
}

fn load(name: &str) -> Option<String> {
    window().local_storage().ok()??.get_item(name).ok()?
}

/// A browser that keeps nothing (private mode) costs the memory, not the setting.
fn keep(name: &str, value: &str) {
    if let Ok(Some(storage)) = window().local_storage() {
        let _ = storage.set_item(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::Theme;

    #[test]
    fn an_unknown_theme_is_the_systems() {
        assert_eq!(Theme::named("dark"), Theme::Dark);
        assert_eq!(Theme::named("sepia"), Theme::System);
    }
}
