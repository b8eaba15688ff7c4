//! What is logged, and how it looks.

use tracing::Level;

use super::keys;
use super::reader::Reader;

/// Level and form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logging {
    /// The least level that is written.
    pub(crate) level: Level,
    /// The form of a line.
    pub(crate) format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// One JSON object, with etcd's names.
    Json,
    /// For people.
    Text,
}

/// Reads both keys.
pub(super) fn read(reader: &mut Reader) -> Option<Logging> {
    let level = reader.read(keys::LOG_LEVEL, |text| match text {
        "debug" => Ok(Level::DEBUG),
        "info" => Ok(Level::INFO),
        "warn" => Ok(Level::WARN),
        "error" => Ok(Level::ERROR),
        _ => Err("use debug, info, warn or error".to_owned()),
    });
    let format = reader.read(keys::LOG_FORMAT, |text| match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err("use json or text".to_owned()),
    });
    Some(Logging {
        level: level?,
        format: format?,
    })
}
