//! The configuration file that is shipped.

use super::{Scratch, good};

#[test]
fn the_shipped_file_names_every_key_at_its_default() {
    let shipped = include_str!("../../../../../packaging/kvorum.toml");
    let keys: Vec<&str> = shipped
        .lines()
        .filter_map(|line| line.strip_prefix('#')?.split_once(" = "))
        .filter(|(name, _)| !name.starts_with(' '))
        .map(|(name, _)| name)
        .collect();
    let known: Vec<&str> = crate::config::KEYS.iter().map(|key| key.name).collect();
    assert_eq!(keys, known);
    // Without the lines that name somebody's files and addresses, or what follows the machine, it says what holds
    // without it.
    let text: String = shipped
        .lines()
        .filter(|line| {
            ![
                "-file =",
                "-allowed-",
                "advertise",
                "#name =",
                "-allow-plain",
                "listen-peer-urls",
                "io-threads",
                "data-dir",
                "client-cert-auth",
                "large-request-memory",
                "initial-cluster =",
                "acme",
            ]
            .iter()
            .any(|word| line.contains(word))
        })
        .map(|line| {
            line.strip_prefix('#')
                .filter(|key| !key.starts_with(' '))
                .unwrap_or_default()
        })
        .fold(String::new(), |text, line| text + line + "\n");
    let scratch = Scratch::new("shipped");
    let shipped = good(&[("config", &scratch.write("kvorum.toml", &text))]);
    let (plain, shipped) = (format!("{:?}", good(&[])), format!("{shipped:?}"));
    assert_eq!(plain, shipped);
}
