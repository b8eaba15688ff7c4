//! The pages. One file per page; larger pages have a folder beside it.

mod about;
mod keys;
mod login;
mod missing;
mod overview;
mod security;
mod setup;

pub(crate) use about::AboutPage;
pub(crate) use keys::KeysPage;
pub(crate) use login::LoginPage;
pub(crate) use missing::MissingPage;
pub(crate) use overview::OverviewPage;
pub(crate) use security::SecurityPage;
pub(crate) use setup::SetupPage;
