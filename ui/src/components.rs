//! The parts that pages are made of.

mod chart;
mod copy;
mod form;
mod help;
mod icon;
mod meter;
mod nav;
mod states;
mod switch;
mod top_bar;

pub(crate) use chart::{Chart, Line};
pub(crate) use copy::Copy;
pub(crate) use form::{Field, Refused, Send, sentence};
pub(crate) use help::{Help, Shortcuts};
pub(crate) use icon::{Icon, Mark, Shape};
pub(crate) use meter::Meter;
pub(crate) use nav::Nav;
pub(crate) use states::{Command, Empty, Failed, Skeleton};
pub(crate) use switch::{Choice, LinkSwitch};
pub(crate) use top_bar::{ThemeSwitch, TopBar};
