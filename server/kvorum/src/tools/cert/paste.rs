//! What is printed with a new certificate: lines to paste.

use std::net::IpAddr;
use std::path::Path;

use kvorum_pki::shell_word as word;

use super::Place;
use crate::tools::legible::legible;

/// All that a client needs, for the two that most have.
pub(super) fn told(place: &Place, user: &str, until: &str, addresses: &[String]) -> String {
    let [key, cert, ca] = [&place.key, &place.cert, &place.ca].map(|path| quoted(path));
    let urls: Vec<String> = addresses.iter().map(|address| url(address)).collect();
    let urls = word(&urls.join(","));
    let user = legible(user);
    format!(
        "{cert} and its key {key} speak for the user {user} until {until}; {ca} is whom they trust\n\n\
         etcdctl:\n  \
         ETCDCTL_API=3 etcdctl --endpoints={urls} --cacert={ca} --cert={cert} --key={key} endpoint health\n\n\
         kube-apiserver:\n  \
         --etcd-servers={urls} --etcd-cafile={ca} --etcd-certfile={cert} --etcd-keyfile={key}\n"
    )
}

/// Of all that the members tell, those that a client elsewhere can use: by TLS, and not of this machine alone.
pub(super) fn from_elsewhere(mut urls: Vec<String>) -> Vec<String> {
    let keep = |urls: &mut Vec<String>, is_good: fn(&String) -> bool| {
        if urls.iter().any(is_good) {
            urls.retain(is_good);
        }
    };
    keep(&mut urls, |url| url.starts_with("https://"));
    keep(&mut urls, |url| !is_loopback(url));
    urls
}

fn is_loopback(url: &str) -> bool {
    let address = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

fn url(address: &str) -> String {
    match address.contains("://") {
        true => address.to_owned(),
        false => format!("https://{address}"),
    }
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    word(&text)
}

/// A name behind a subcommand: one that begins with a dash is no flag.
pub(in crate::tools) fn operand(text: &str) -> String {
    match text.starts_with('-') {
        true => format!("-- {}", word(text)),
        false => word(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_blanks_survive_a_shell() {
        assert_eq!(quoted(Path::new("/a/b.key")), "/a/b.key");
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
        assert_eq!(operand("a b"), "'a b'");
        assert_eq!(operand("-x"), "-- -x");
        assert_eq!(url("a:1"), "https://a:1");
        assert_eq!(url("https://a:1"), "https://a:1");
    }

    #[test]
    fn a_client_elsewhere_is_told_what_it_can_reach() {
        let best = |urls: &[&str]| from_elsewhere(urls.iter().map(|&url| url.to_owned()).collect());
        let all = [
            "https://127.0.0.1:1",
            "http://10.0.0.1:2",
            "https://10.0.0.1:1",
            "https://[::1]:1",
            "https://b:1",
        ];
        assert_eq!(best(&all), ["https://10.0.0.1:1", "https://b:1"]);
        assert_eq!(best(&all[..1]), ["https://127.0.0.1:1"]);
        assert!(best(&[]).is_empty());
    }
}
