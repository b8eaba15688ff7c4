//! What crosses the wire comes back unchanged.

use crate::*;

#[test]
fn base64_agrees_with_the_vectors_of_rfc_4648() {
    let vectors = [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ];
    for (plain, coded) in vectors {
        assert_eq!(base64::encode(plain.as_bytes()), coded);
        assert_eq!(base64::decode(coded).as_deref(), Some(plain.as_bytes()));
    }
}

#[test]
fn every_byte_survives_both_alphabets() {
    let bytes: Vec<u8> = (0..=255).collect();
    for start in 0..4 {
        let part = &bytes[start..];
        assert_eq!(base64::decode(&base64::encode(part)).as_deref(), Some(part));
        assert_eq!(
            base64::decode(&base64::encode_url(part)).as_deref(),
            Some(part)
        );
    }
}

#[test]
fn broken_base64_is_refused() {
    // A lone digit, text behind the padding, a space, bits that no encoder leaves set, letters outside the alphabet.
    for text in ["A", "Zg==Zg==", "Z g=", "ZZ==", "Zm9=", "ÄÖ"] {
        assert_eq!(base64::decode(text), None, "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_keep_their_value() {
    let octets = Octets::new(&[0xff, 0, 0x80]);
    assert_eq!(octets.text, None);
    assert_eq!(octets.bytes(), [0xff, 0, 0x80]);
}

#[test]
fn an_event_reads_back_as_written() {
    let overview = Overview {
        alarms: vec![Alarm {
            kind: "NOSPACE".into(),
            member_id: "00ff".into(),
        }],
        ..Overview::default()
    };
    let sample = Sample {
        sync: Some(Quantiles {
            p50_ms: 0.5,
            p99_ms: 2.25,
        }),
        ..Sample::default()
    };
    for event in [
        Event::State {
            overview: overview.clone(),
            samples: vec![sample],
        },
        Event::Sample { sample },
        Event::Changed { overview, sample },
    ] {
        let text = serde_json::to_string(&event).expect("plain types serialize");
        assert_eq!(
            serde_json::from_str::<Event>(&text).expect("own output parses"),
            event
        );
    }
}
