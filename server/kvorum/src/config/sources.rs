//! Brings flags, variables and the configuration file together; two that disagree on one key are refused.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::keys::{self, CONFIG, KEYS, VARIABLE_PREFIX};
use super::problem::{Problem, shown};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// On the command line.
    Flag(&'static str),
    /// In the environment.
    Variable(String),
    /// In the configuration file, at a line.
    File(PathBuf, usize),
    /// At an earlier start, which wrote it down.
    Remembered(PathBuf),
    /// Nowhere.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path, line) => write!(f, "file {} line {line}", path.display()),
            Self::Remembered(path) => write!(f, "file {}, of an earlier start", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value as given, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Given {
    /// The text.
    pub(crate) value: String,
    /// Who said so.
    pub(crate) source: Source,
}

/// What all sources say together, one value per key.
pub(crate) type Merged = BTreeMap<&'static str, Given>;

/// Reads every source. All problems are reported, not only the first.
pub(crate) fn merge(
    flags: Vec<(&'static str, String)>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Merged, Vec<Problem>> {
    let mut merged = Collected::default();
    for (name, value) in flags {
        merged.add(
            name,
            Given {
                value,
                source: Source::Flag(name),
            },
        );
    }
    for (name, value) in environment {
        if let Ok(name) = name.into_string() {
            merged.add_variable(name, value);
        }
    }
    if let Some(file) = merged.values.remove(CONFIG.name) {
        merged.add_file(Path::new(&file.value), &file.source);
    }
    if merged.problems.is_empty() {
        Ok(merged.values)
    } else {
        Err(merged.problems)
    }
}

#[derive(Default)]
struct Collected {
    values: Merged,
    problems: Vec<Problem>,
}

impl Collected {
    fn add(&mut self, name: &'static str, given: Given) {
        match self.values.get(name) {
            Some(earlier) if earlier.value != given.value => {
                self.problems.push(Problem::new(format!(
                    "{name}: {} says {} and {} says {}: give it in one place",
                    earlier.source,
                    shown(&earlier.value),
                    given.source,
                    shown(&given.value),
                )));
            }
            Some(_) => {}
            None => {
                self.values.insert(name, given);
            }
        }
    }

    fn add_variable(&mut self, variable: String, value: OsString) {
        if !variable.starts_with(VARIABLE_PREFIX) || is_foreign(&variable) {
            return;
        }
        let Ok(value) = value.into_string() else {
            self.problems.push(Problem::new(format!(
                "variable {variable}: is not valid UTF-8"
            )));
            return;
        };
        let known = KEYS
            .iter()
            .chain([&CONFIG])
            .find(|key| key.variable() == variable);
        match known {
            // An empty variable is how shells and unit files say "not set".
            Some(_) if value.is_empty() => {}
            Some(key) => self.add(
                key.name,
                Given {
                    value,
                    source: Source::Variable(variable),
                },
            ),
            None => {
                let names: Vec<String> = KEYS.iter().map(keys::Key::variable).collect();
                let hint = did_you_mean(&variable, names.iter().map(String::as_str));
                self.problems
                    .push(Problem::new(format!("unknown variable {variable}{hint}")));
            }
        }
    }

    fn add_file(&mut self, path: &Path, source: &Source) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let path = path.to_string_lossy();
                self.problems
                    .push(Problem::of(CONFIG.name, source, &path, &error.to_string()));
                return;
            }
        };
        let table = match DeTable::parse(&text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let line = line_of(&text, error.span().map_or(0, |span| span.start));
                let message = error.message();
                self.problems.push(Problem::new(format!(
                    "file {} line {line}: {message}",
                    path.display()
                )));
                return;
            }
        };
        for (name, value) in table {
            let source = Source::File(path.to_owned(), line_of(&text, name.span().start));
            self.add_file_key(name.get_ref(), value.get_ref(), source);
        }
    }

    fn add_file_key(&mut self, name: &str, value: &DeValue<'_>, source: Source) {
        let Some(key) = keys::find(name) else {
            let hint = did_you_mean(name, KEYS.iter().map(|key| key.name));
            self.problems.push(Problem::new(format!(
                "unknown key {} ({source}){hint}",
                shown(name)
            )));
            return;
        };
        match text_of(value) {
            Some(value) => self.add(key.name, Given { value, source }),
            None => self.problems.push(Problem::new(format!(
                "{name} ({source}): a {} stands where a string, a number or a list of strings belongs",
                kind_of(value),
            ))),
        }
    }
}

/// Kubernetes adds variables of this form to every container once a service is called `kvorum`; test programs keep
/// theirs under a prefix of its own.
fn is_foreign(variable: &str) -> bool {
    let name = variable.trim_start_matches(VARIABLE_PREFIX);
    name.starts_with("TEST_")
        || name == "PORT"
        || name.starts_with("PORT_")
        || name.starts_with("SERVICE_")
}

fn did_you_mean<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> String {
    keys::nearest(typed, known)
        .map(|name| format!("; did you mean {name}?"))
        .unwrap_or_default()
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> = items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Some(text.to_string()),
                    _ => None,
                })
                .collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Float(_) => "fraction",
        DeValue::Datetime(_) => "date",
        DeValue::Table(_) => "table",
        DeValue::Array(_) => "list of something else",
        _ => "value of another kind",
    }
}
