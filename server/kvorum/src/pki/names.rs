//! The names and addresses under which a member is known, for its certificates.

use std::collections::BTreeSet;

use crate::config::Settings;
use crate::listeners::Urls;

/// Always there: whoever is on this machine may say them.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// All of them, each once.
pub(super) fn of(settings: &Settings, urls: &Urls) -> Vec<String> {
    let machine = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let told = settings
        .advertise_client_urls
        .iter()
        .chain(&settings.peers.advertise);
    let bound = urls
        .clients
        .iter()
        .chain(&urls.metrics)
        .chain(&urls.peers)
        .chain(&urls.console);
    let mut names: BTreeSet<String> = told.chain(bound).filter_map(|url| host(url)).collect();
    names.extend(LOCAL.map(str::to_owned));
    names.extend(is_dns_name(&machine).then_some(machine));
    names.into_iter().collect()
}

/// What stands between scheme and port; nothing for "all addresses", which is no name of anybody.
fn host(url: &str) -> Option<String> {
    let (_, authority) = url.split_once("://")?;
    let (host, _) = authority.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    let unspecified = host
        .parse()
        .is_ok_and(|ip: std::net::IpAddr| ip.is_unspecified());
    (!unspecified && !host.is_empty()).then(|| host.to_ascii_lowercase())
}

/// A machine may be called anything; a certificate takes less.
fn is_dns_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_out_of_urls() {
        for (url, host_of) in [
            ("https://10.0.0.1:2379", Some("10.0.0.1")),
            ("https://Node1.Example:2379", Some("node1.example")),
            ("https://[fd00::1]:2379", Some("fd00::1")),
            ("https://0.0.0.0:2379", None),
            ("https://[::]:2379", None),
            ("nonsense", None),
        ] {
            assert_eq!(host(url).as_deref(), host_of, "{url}");
        }
    }

    #[test]
    fn a_machine_with_an_odd_name_gets_none_in_its_certificate() {
        assert!(is_dns_name("node-1.example"));
        for odd in ["", "a_b", "-a", "a..b", &"a".repeat(64)] {
            assert!(!is_dns_name(odd), "{odd:?}");
        }
    }
}
