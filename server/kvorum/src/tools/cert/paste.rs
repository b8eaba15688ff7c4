//! What is printed with a new certificate: lines to paste.

use std::path::Path;

use super::Place;

/// All that a client needs, for the two that most have.
pub(super) fn told(place: &Place, user: &str, until: &str, addresses: &[String]) -> String {
    let [key, cert, ca] = [&place.key, &place.cert, &place.ca].map(|path| quoted(path));
    let urls: Vec<String> = addresses.iter().map(|address| url(address)).collect();
    let urls = urls.join(",");
    format!(
        "{cert} and its key {key} speak for the user {user} until {until}; {ca} is whom they trust\n\n\
         etcdctl:\n  \
         ETCDCTL_API=3 etcdctl --endpoints={urls} --cacert={ca} --cert={cert} --key={key} endpoint health\n\n\
         kube-apiserver:\n  \
         --etcd-servers={urls} --etcd-cafile={ca} --etcd-certfile={cert} --etcd-keyfile={key}\n"
    )
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

/// As a shell takes it for one word.
pub(in crate::tools) fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:,=@%+[]".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_blanks_survive_a_shell() {
        assert_eq!(quoted(Path::new("/a/b.key")), "/a/b.key");
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
        assert_eq!(url("a:1"), "https://a:1");
        assert_eq!(url("https://a:1"), "https://a:1");
    }
}
