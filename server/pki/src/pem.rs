//! Writing PEM without leaving copies of a secret behind. Reading is the library's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::Error;
use zeroize::Zeroizing;

const LINE_CHARS: usize = 64;
/// What of a line's 64 digits is bytes.
const LINE_BYTES: usize = LINE_CHARS / 4 * 3;

fn write(text: &mut String, label: &str, der: &[u8]) {
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for line in der.chunks(LINE_BYTES) {
        STANDARD.encode_string(line, text);
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
}

/// A generous measure, so that the text never moves while it grows.
fn length_max(label: &str, der: &[u8]) -> usize {
    2 * (label.len() + 20) + (der.len() / LINE_BYTES + 1) * (LINE_CHARS + 1)
}

pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let mut text = String::with_capacity(length_max(label, der));
    write(&mut text, label, der);
    text
}

pub(crate) fn encode_secret(label: &str, der: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(length_max(label, der)));
    let place = text.as_ptr();
    write(&mut text, label, der);
    debug_assert_eq!(place, text.as_ptr(), "the text must not move");
    text
}

/// Why a text is no PEM, for people: the library shows bytes as numbers.
#[must_use]
pub fn pem_fault(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { end_marker } => {
            let marker = String::from_utf8_lossy(end_marker);
            let marker = marker.trim_matches(|c: char| c == '-' || c.is_whitespace());
            format!("the line that ends it, with {marker:?}, is missing: it was cut off")
        }
        Error::IllegalSectionStart { line } => {
            let line = String::from_utf8_lossy(line);
            format!("{line:?} is no line that begins something")
        }
        Error::NoItemsFound => "there is none in it".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    use super::*;

    #[test]
    fn every_length_is_read_back_and_never_outgrows_its_measure() {
        for length in 0..300 {
            let der: Vec<u8> = (0..length)
                .map(|n| u8::try_from(n % 251).expect("small"))
                .collect();
            let text = encode_secret("CERTIFICATE", &der);
            assert!(text.len() <= length_max("CERTIFICATE", &der));
            assert!(text.lines().all(|line| line.len() <= LINE_CHARS));
            if length > 0 {
                let read = CertificateDer::from_pem_slice(text.as_bytes()).expect("PEM");
                assert_eq!(read.as_ref(), der);
            }
        }
    }
    #[test]
    fn what_is_cut_off_is_told_in_words() {
        let text = encode("CERTIFICATE", &[7; 100]);
        let cut = &text.as_bytes()[..text.len() / 2];
        let error = CertificateDer::from_pem_slice(cut).expect_err("cut off");
        let told = pem_fault(&error);
        assert!(
            told.contains("cut off") && told.contains("CERTIFICATE"),
            "{told}"
        );
        assert!(!told.contains("67, 69"), "{told}");
        let error = CertificateDer::from_pem_slice(b"").expect_err("empty");
        assert_eq!(pem_fault(&error), "there is none in it");
    }
}
