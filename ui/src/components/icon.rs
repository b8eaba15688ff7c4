//! Line drawings, 20 units square, in the colour of the text around them.

use leptos::prelude::*;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Gauge,
    Key,
    About,
    Sun,
    Moon,
    Screen,
    Copy,
    Done,
    Close,
    Folder,
    Back,
    Shield,
    Leave,
}

impl Shape {
    fn path(self) -> &'static str {
        match self {
            Self::Gauge => {
                "M3.5 14.5a7 7 0 1 1 13 0M10 12.5l3.2-4.2M10 13.8a1 1 0 1 0 0-2 1 1 0 0 0 0 2"
            }
            Self::Key => {
                "M8.2 10.8 16 3M13 6l2 2M11 8l1.6 1.6M6.3 16.5a3.3 3.3 0 1 0 0-6.6 3.3 3.3 0 0 0 0 6.6"
            }
            Self::About => "M10 9.2v4.3M10 6.6v.1M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14",
            Self::Sun => {
                "M10 13a3 3 0 1 0 0-6 3 3 0 0 0 0 6M10 2.8v1.4M10 15.8v1.4M2.8 10h1.4M15.8 10h1.4M4.9 4.9l1 1\
                 M14.1 14.1l1 1M4.9 15.1l1-1M14.1 5.9l1-1"
            }
            Self::Moon => "M16.2 12A6.6 6.6 0 0 1 8 3.8 6.6 6.6 0 1 0 16.2 12Z",
            Self::Screen => "M3.5 4.5h13v8.5h-13ZM7.5 16.5h5M10 13v3.5",
            Self::Copy => "M7.5 7.5h8v8h-8ZM12.5 7.5v-3h-8v8h3",
            Self::Done => "M4.5 10.5l3.5 3.5 7.5-8",
            Self::Close => "M5 5l10 10M15 5L5 15",
            Self::Folder => "M2.8 15.2V5h4.6l1.7 2h8.1v8.2Z",
            Self::Shield => {
                "M10 2.8 16 5v4.6c0 3.6-2.4 6-6 7.6-3.6-1.6-6-4-6-7.6V5ZM7.4 9.8l1.9 1.9 3.4-3.6"
            }
            Self::Leave => "M11.5 6.5V4h-8v12h8v-2.5M8 10h9M14.2 7.2 17 10l-2.8 2.8",
            Self::Back => "M11.5 5l-5 5 5 5",
        }
    }
}

/// A drawing beside a text that says the same.
#[component]
pub(crate) fn Icon(shape: Shape) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 20 20" aria-hidden="true">
            <path d=shape.path()/>
        </svg>
    }
}

/// The mark: three members, two of them agree.
#[component]
pub(crate) fn Mark() -> impl IntoView {
    view! {
        <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
            <path class="mark-bond" d="M8.5 22.5 16 9"/>
            <path class="mark-open" d="M19 10.5 23.2 18.4M12.5 23.5h7"/>
            <circle class="mark-full" cx="16" cy="8" r="4.5"/>
            <circle class="mark-full" cx="8" cy="23.5" r="4.5"/>
            <circle class="mark-open" cx="24" cy="23.5" r="3.6"/>
        </svg>
    }
}
