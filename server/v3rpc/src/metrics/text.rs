//! Metrics as Prometheus text, version 0.0.4, byte for byte as Go's library writes it: scripts that were written for
//! etcd look for whole lines.

use std::fmt::Write;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// Renders families in their order.
pub(crate) fn render(families: &[MetricFamily]) -> String {
    let mut text = Text(String::with_capacity(64 * 1024));
    for family in families {
        text.family(family);
    }
    text.0
}

struct Text(String);

impl Text {
    fn family(&mut self, family: &MetricFamily) {
        let name = family.name();
        let help = escaped(family.help(), false);
        let kind = match family.get_field_type() {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "untyped",
        };
        self.push(&[
            "# HELP ",
            name,
            " ",
            &help,
            "\n# TYPE ",
            name,
            " ",
            kind,
            "\n",
        ]);
        for metric in family.get_metric() {
            let labels = metric.get_label();
            match family.get_field_type() {
                MetricType::COUNTER => {
                    self.sample(name, "", labels, None, metric.get_counter().get_value());
                }
                MetricType::HISTOGRAM => self.histogram(name, metric),
                _ => self.sample(name, "", labels, None, metric.get_gauge().get_value()),
            }
        }
    }

    fn histogram(&mut self, name: &str, metric: &Metric) {
        let (labels, histogram) = (metric.get_label(), metric.get_histogram());
        let count = histogram.get_sample_count();
        for bucket in histogram.get_bucket() {
            let end = Some(bucket.upper_bound());
            let count = bucket.cumulative_count();
            self.sample(name, "_bucket", labels, end, count as f64);
        }
        let end = Some(f64::INFINITY);
        self.sample(name, "_bucket", labels, end, count as f64);
        self.sample(name, "_sum", labels, None, histogram.get_sample_sum());
        self.sample(name, "_count", labels, None, count as f64);
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[LabelPair],
        bucket: Option<f64>,
        value: f64,
    ) {
        self.push(&[name, suffix]);
        let mut before = "{";
        for label in labels {
            let value = escaped(label.value(), true);
            self.push(&[before, label.name(), "=\"", &value, "\""]);
            before = ",";
        }
        if let Some(end) = bucket {
            self.push(&[before, "le=\""]);
            self.number(end);
            self.push(&["\""]);
            before = ",";
        }
        self.push(&[if before == "," { "} " } else { " " }]);
        self.number(value);
        self.push(&["\n"]);
    }

    fn push(&mut self, pieces: &[&str]) {
        self.0.extend(pieces.iter().copied());
    }

    /// The shortest digits that give the number back, in Go's choice between the two notations: an exponent below -4
    /// or from 6 on is written out.
    fn number(&mut self, value: f64) {
        if value.is_nan() {
            return self.push(&["NaN"]);
        }
        if value.is_infinite() {
            return self.push(&[if value > 0.0 { "+Inf" } else { "-Inf" }]);
        }
        let scientific = format!("{value:e}");
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        let written = match exponent.parse::<i32>() {
            Ok(exponent @ (..-4 | 6..)) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                write!(self.0, "{digits}e{sign}{:02}", exponent.abs())
            }
            _ => write!(self.0, "{value}"),
        };
        // Writing to a string does not fail.
        let _ = written;
    }
}

fn escaped(text: &str, quotes: bool) -> std::borrow::Cow<'_, str> {
    let special = |letter: char| matches!(letter, '\\' | '\n') || quotes && letter == '"';
    if !text.contains(special) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '\n' => safe.push_str("\\n"),
            letter if special(letter) => safe.extend(['\\', letter]),
            letter => safe.push(letter),
        }
    }
    safe.into()
}

#[cfg(test)]
mod tests {
    use kvorum_member::families::{Doubling, gauges, histogram};
    use prometheus::Registry;

    use super::*;

    fn number(value: f64) -> String {
        let mut text = Text(String::new());
        text.number(value);
        text.0
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, written) in [
            (0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (20_480.0, "20480"),
            (123_456.0, "123456"),
            (1_000_000.0, "1e+06"),
            (2_147_483_648.0, "2.147483648e+09"),
            (1.795_231_067_24e9, "1.79523106724e+09"),
            (1.844_674_407_370_955_2e19, "1.8446744073709552e+19"),
            (0.0001, "0.0001"),
            (0.000_115_352_999_999_999_99, "0.00011535299999999999"),
            (4.646_000_000_000_001e-6, "4.646000000000001e-06"),
            (0.000_05, "5e-05"),
            (52.4288, "52.4288"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), written);
        }
    }

    #[test]
    fn families_are_rendered_whole() {
        let registry = Registry::new();
        let times = histogram(&registry, "b_seconds", "Times\nof \"b\".", Doubling(0.5, 2));
        times.observe(0.75);
        let labelled = gauges(&registry, "a", "A \\ b.", &["z", "y"]);
        assert_eq!(render(&labelled_only(&registry)), "");
        labelled.with_label_values(&["a\"b\\c\nd", "1"]).set(7.0);
        let text = "# HELP a A \\\\ b.\n# TYPE a gauge\na{y=\"1\",z=\"a\\\"b\\\\c\\nd\"} 7\n\
                    # HELP b_seconds Times\\nof \"b\".\n# TYPE b_seconds histogram\n\
                    b_seconds_bucket{le=\"0.5\"} 0\nb_seconds_bucket{le=\"1\"} 1\n\
                    b_seconds_bucket{le=\"+Inf\"} 1\nb_seconds_sum 0.75\nb_seconds_count 1\n";
        assert_eq!(render(&registry.gather()), text);
    }

    /// Families of labels without a series are not rendered, as in Go.
    fn labelled_only(registry: &Registry) -> Vec<MetricFamily> {
        let families = registry.gather().into_iter();
        families.filter(|family| family.name() == "a").collect()
    }
}
