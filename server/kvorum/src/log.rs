//! The log on standard error: JSON lines with etcd's names (level, ts, caller, msg), or text for people.

mod sink;

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, Logging};
use sink::Speaker;
pub(crate) use sink::flush;

/// Starts the log. Libraries speak only when they warn, unless everything is asked for.
pub(crate) fn start(logging: Logging) {
    let libraries = logging.level.min(Level::WARN);
    let targets = Targets::new()
        .with_default(libraries)
        .with_target("kvorum", logging.level);
    let lost: fn(u64) -> Vec<u8> = match logging.format {
        LogFormat::Json => |count| lost_line(count, LogFormat::Json),
        LogFormat::Text => |count| lost_line(count, LogFormat::Text),
    };
    let speaker = sink::start(lost).map_or(Speaker::Direct, Speaker::Queued);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || speaker)
        .event_format(Line {
            format: logging.format,
        });
    // Fails only if a log was started before; then that one stays.
    let _ = tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .try_init();
}

struct Line {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let caller = metadata.file().map(|file| {
            let file = file.rsplit_once("/src/").map_or(file, |(_, name)| name);
            format!("{file}:{}", metadata.line().unwrap_or_default())
        });
        let record = Record {
            level: level_name(*metadata.level()),
            ts: timestamp(SystemTime::now()),
            caller: caller.unwrap_or_else(|| metadata.target().to_owned()),
            fields,
        };
        record.write(self.format, &mut writer)
    }
}

/// What stands in the place of lines that had no room.
fn lost_line(count: u64, format: LogFormat) -> Vec<u8> {
    let mut fields = Fields {
        message: "lines of the log are lost: whoever reads it is too slow, or stood still"
            .to_owned(),
        ..Fields::default()
    };
    fields.rest.insert("lines".to_owned(), count.into());
    let record = Record {
        level: level_name(Level::WARN),
        ts: timestamp(SystemTime::now()),
        caller: "log.rs".to_owned(),
        fields,
    };
    let mut line = String::new();
    // A string takes all that is written.
    let _ = record.write(format, &mut Writer::new(&mut line));
    line.into_bytes()
}

struct Record {
    level: &'static str,
    ts: String,
    caller: String,
    fields: Fields,
}

impl Record {
    fn write(self, format: LogFormat, writer: &mut Writer<'_>) -> fmt::Result {
        match format {
            LogFormat::Json => self.write_json(writer),
            LogFormat::Text => self.write_text(writer),
        }
    }

    fn write_json(self, writer: &mut Writer<'_>) -> fmt::Result {
        let text = |text: String| Value::String(text);
        write!(
            writer,
            "{{\"level\":{:?},\"ts\":{:?},\"caller\":{},\"msg\":{}",
            self.level,
            self.ts,
            text(self.caller),
            text(self.fields.message),
        )?;
        for (name, value) in self.fields.rest {
            write!(writer, ",{}:{value}", text(name))?;
        }
        writer.write_str("}\n")
    }

    fn write_text(self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(
            writer,
            "{} {:5} {}",
            self.ts, self.level, self.fields.message
        )?;
        for (name, value) in self.fields.rest {
            match value {
                Value::String(text) if !text.contains([' ', '"', '\n']) => {
                    write!(writer, " {name}={text}")?;
                }
                value => write!(writer, " {name}={value}")?,
            }
        }
        writer.write_char('\n')
    }
}

/// The fields of one event; later ones of the same name win.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.rest.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        // A list of plain strings prints as JSON prints it; it then stays a list.
        let list = text
            .starts_with('[')
            .then(|| serde_json::from_str(&text).ok())
            .flatten();
        self.put(field, list.unwrap_or(Value::String(text)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::String(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

/// UTC with microseconds, the way etcd writes it.
pub(crate) fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// The date of a day since 1970, counted in years that start in March so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn timestamps_are_written_as_etcd_writes_them() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000007Z"),
            (1_709_164_799, "2024-02-28T23:59:59.000007Z"),
            (1_798_761_600, "2027-01-01T00:00:00.000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000007Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(7);
            assert_eq!(timestamp(time), want);
        }
    }

    #[test]
    fn a_json_line_has_the_names_of_etcd_and_survives_any_text() {
        let mut fields = Fields {
            message: "say \"hi\"\n".to_owned(),
            ..Fields::default()
        };
        fields
            .rest
            .insert("urls".to_owned(), "http://[::1]:1".into());
        fields.rest.insert("count".to_owned(), 3.into());
        let record = Record {
            level: "info",
            ts: "T".to_owned(),
            caller: "a.rs:1".to_owned(),
            fields,
        };
        let mut line = String::new();
        record
            .write_json(&mut Writer::new(&mut line))
            .expect("writes to a string");
        let value: Value = serde_json::from_str(&line).expect("is JSON");
        assert_eq!(value["level"], "info");
        assert_eq!(value["ts"], "T");
        assert_eq!(value["caller"], "a.rs:1");
        assert_eq!(value["msg"], "say \"hi\"\n");
        assert_eq!(value["urls"], "http://[::1]:1");
        assert_eq!(value["count"], 3);
    }
}
