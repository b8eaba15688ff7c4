//! The pages. One file per page; larger pages have a folder beside it.

mod about;
mod keys;
mod missing;
mod overview;

pub(crate) use about::AboutPage;
pub(crate) use keys::KeysPage;
pub(crate) use missing::MissingPage;
pub(crate) use overview::OverviewPage;
