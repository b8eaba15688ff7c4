//! Base64 of keys and values: what is read is written again as the same bytes.

use kvorum_api::base64;

pub(crate) fn run(bytes: &[u8]) {
    assert_eq!(
        base64::decode(&base64::encode(bytes)).as_deref(),
        Some(bytes)
    );
    assert_eq!(
        base64::decode(&base64::encode_url(bytes)).as_deref(),
        Some(bytes)
    );
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Some(read) = base64::decode(text) {
        let written = base64::encode_url(&read);
        let expected: String = text
            .trim_end_matches('=')
            .chars()
            .map(|digit| match digit {
                '+' => '-',
                '/' => '_',
                other => other,
            })
            .collect();
        assert_eq!(written, expected, "two texts stand for the same bytes");
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    ["", "YQ==", "YWI=", "YWJj", "_-8", "+/8=", "a", "%%%%"]
        .map(Vec::from)
        .to_vec()
}
