//! Reads merged values into types, and notes what cannot be read.

use std::path::PathBuf;
use std::time::Duration;

use super::keys;
use super::problem::Problem;
use super::sources::{Given, Merged, Source};
use super::units;
use super::url::{self, ListenUrl};

/// What turns a listener off.
const NONE: &str = "none";

/// The merged values and what was found wrong with them so far.
#[derive(Debug)]
pub(crate) struct Reader {
    merged: Merged,
    /// Found so far.
    pub(crate) problems: Vec<Problem>,
}

impl Reader {
    /// Nothing read yet.
    pub(crate) fn new(merged: Merged) -> Self {
        Self {
            merged,
            problems: Vec::new(),
        }
    }

    /// True if some source says it, false where the default holds.
    pub(crate) fn is_given(&self, key: &str) -> bool {
        self.merged.contains_key(key)
    }

    /// True if an earlier start said it, and no source does now.
    pub(crate) fn is_remembered(&self, key: &str) -> bool {
        let given = self.merged.get(key);
        given.is_some_and(|given| matches!(given.source, Source::Remembered(_)))
    }

    /// Notes that the value of a key cannot be used.
    pub(crate) fn refuse(&mut self, key: &'static str, reason: &str) {
        let given = self.given(key).unwrap_or(Given {
            value: String::new(),
            source: Source::Default,
        });
        self.problems
            .push(Problem::of(key, &given.source, &given.value, reason));
    }

    /// A value by a parser of its own.
    pub(crate) fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let given = self.given(key)?;
        match parse(&given.value) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.problems
                    .push(Problem::of(key, &given.source, &given.value, &reason));
                None
            }
        }
    }

    /// A name: not empty, printable, not endless.
    pub(crate) fn word(&mut self, key: &'static str) -> Option<String> {
        self.read(key, |text| match text {
            "" => Err("must not be empty".to_owned()),
            _ if text.len() > 255 => Err("is longer than 255 bytes: shorten it".to_owned()),
            _ if text.chars().any(char::is_control) => Err("has a control character".to_owned()),
            _ => Ok(text.to_owned()),
        })
    }

    /// A path.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.read(key, |text| match text {
            "" => Err("must not be empty: name a path".to_owned()),
            _ if text.contains('\0') => Err("has a NUL byte".to_owned()),
            _ => Ok(PathBuf::from(text)),
        })
    }

    /// A path, where none is fine.
    pub(crate) fn optional_path(&mut self, key: &'static str) -> Option<PathBuf> {
        if self.is_given(key) {
            self.path(key)
        } else {
            None
        }
    }

    /// Yes or no.
    pub(crate) fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("use true or false".to_owned()),
        })
    }

    /// A whole number within bounds.
    pub(crate) fn count(&mut self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        self.read(key, |text| {
            let value: Option<u64> = text.parse().ok();
            value
                .filter(|value| (min..=max).contains(value))
                .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
        })
    }

    /// A size within bounds.
    pub(crate) fn bytes(&mut self, key: &'static str, min: u64, max: u64) -> Option<u64> {
        self.read(key, |text| {
            let value = units::bytes(text)?;
            if (min..=max).contains(&value) {
                return Ok(value);
            }
            let (min, max) = (units::show_bytes(min), units::show_bytes(max));
            Err(format!("must be from {min} to {max}"))
        })
    }

    /// A duration within bounds.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        min: Duration,
        max: Duration,
    ) -> Option<Duration> {
        self.read(key, |text| {
            let value = units::duration(text)?;
            if (min..=max).contains(&value) {
                return Ok(value);
            }
            let (min, max) = (units::show_duration(min), units::show_duration(max));
            Err(format!("must be from {min} to {max}"))
        })
    }

    /// URLs to listen on.
    pub(crate) fn listen_urls(&mut self, key: &'static str) -> Option<Vec<ListenUrl>> {
        self.read(key, |text| split(text).map(url::listen).collect())
    }

    /// URLs to listen on, where none are fine.
    pub(crate) fn optional_listen_urls(&mut self, key: &'static str) -> Option<Vec<ListenUrl>> {
        if !self.is_given(key) {
            return Some(Vec::new());
        }
        self.read(key, |text| match text {
            "" => Err("must not be empty: leave it out to listen nowhere".to_owned()),
            _ => split(text).map(url::listen).collect(),
        })
    }

    /// URLs to listen on, or the word that turns the listener off.
    pub(crate) fn listen_urls_or_none(&mut self, key: &'static str) -> Option<Vec<ListenUrl>> {
        self.read(key, |text| match text {
            NONE => Ok(Vec::new()),
            "" => Err(format!("must not be empty: write `{NONE}` to turn it off")),
            _ => split(text).map(url::listen).collect(),
        })
    }

    /// URLs for others to dial; none if the key is not given.
    pub(crate) fn advertise_urls(&mut self, key: &'static str) -> Option<Vec<String>> {
        if !self.is_given(key) {
            return Some(Vec::new());
        }
        self.read(key, |text| match text {
            "" => Err("must not be empty: leave it out to advertise what is bound".to_owned()),
            _ => split(text).map(url::advertise).collect(),
        })
    }

    fn given(&self, key: &'static str) -> Option<Given> {
        self.merged.get(key).cloned().or_else(|| {
            let default = keys::find(key)?.default?;
            Some(Given {
                value: default.to_owned(),
                source: Source::Default,
            })
        })
    }
}

/// The parts of a list in one text.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}
