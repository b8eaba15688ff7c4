//! The figures of a snapshot in etcd's output formats.

use kvorum_member::offline::SnapshotStatus;

const HEADS: [&str; 5] = ["hash", "revision", "total keys", "total size", "version"];

/// Every format that etcd's tool knows for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Simple,
    Json,
    Table,
}

/// The figures as text, with a line's end.
pub(super) fn show(status: &SnapshotStatus, format: Format) -> String {
    let row = [
        format!("{:x}", status.hash),
        status.revision.to_string(),
        status.total_keys.to_string(),
        size(status.total_size),
        status.version.clone(),
    ];
    match format {
        Format::Simple => row.join(", ") + "\n",
        Format::Json => {
            let version = serde_json::Value::from(status.version.as_str());
            format!(
                "{{\"hash\":{},\"revision\":{},\"totalKey\":{},\"totalSize\":{},\"version\":{version}}}\n",
                status.hash, status.revision, status.total_keys, status.total_size
            )
        }
        Format::Table => table(&row),
    }
}

fn table(row: &[String; 5]) -> String {
    let heads = HEADS.map(str::to_uppercase);
    let widths: Vec<usize> = heads
        .iter()
        .zip(row)
        .map(|(head, value)| head.len().max(value.len()))
        .collect();
    let rule: String = widths
        .iter()
        .map(|width| format!("+{}", "-".repeat(width + 2)))
        .collect();
    let head: String = heads
        .iter()
        .zip(&widths)
        .map(|(head, width)| format!("| {head:^width$} "))
        .collect();
    let values: String = row
        .iter()
        .zip(&widths)
        .map(|(value, width)| format!("| {value:>width$} "))
        .collect();
    format!("{rule}+\n{head}|\n{rule}+\n{values}|\n{rule}+\n")
}

/// Bytes in thousands, two digits at least: as etcd's tool writes them.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let power = UNITS.len().min((bytes.ilog10() / 3) as usize + 1) - 1;
    let scaled = bytes as f64 / 1000f64.powi(i32::try_from(power).unwrap_or(0));
    let rounded = (scaled * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS.get(power).copied().unwrap_or("B");
    if rounded < 10.0 {
        format!("{rounded:.1} {unit}")
    } else {
        format!("{rounded:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_etcds_tool_writes_them() {
        // From `etcdctl snapshot status` of files of these lengths.
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (20_480, "20 kB"),
            (25_600, "26 kB"),
            (1_234_567, "1.2 MB"),
            (82_854_982, "83 MB"),
            (9_960_000, "10 MB"),
        ] {
            assert_eq!(size(bytes), shown, "{bytes}");
        }
    }

    #[test]
    fn figures_come_as_a_line_as_json_and_as_a_table() {
        let status = SnapshotStatus {
            hash: 0xfe01_cf57,
            revision: 10,
            total_keys: 7,
            total_size: 2_100_000,
            version: "3.6.0".into(),
        };
        assert_eq!(
            show(&status, Format::Simple),
            "fe01cf57, 10, 7, 2.1 MB, 3.6.0\n"
        );
        assert_eq!(
            show(&status, Format::Json),
            "{\"hash\":4261531479,\"revision\":10,\"totalKey\":7,\"totalSize\":2100000,\"version\":\"3.6.0\"}\n"
        );
        assert_eq!(
            show(&status, Format::Table),
            "\
+----------+----------+------------+------------+---------+
|   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE | VERSION |
+----------+----------+------------+------------+---------+
| fe01cf57 |       10 |          7 |     2.1 MB |   3.6.0 |
+----------+----------+------------+------------+---------+
"
        );
    }
}
