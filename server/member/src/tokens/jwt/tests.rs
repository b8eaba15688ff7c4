//! Tokens of each method, and tokens that must not be taken.

use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};

use super::*;

const NOW: i64 = 1_800_000_000;
const TTL: Duration = Duration::from_secs(300);
/// 2048 bits, for tests only.
const RSA_PRIVATE: &[u8] = include_bytes!("rsa_test_key.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("rsa_test_public.pem");
/// `EC PRIVATE KEY`, as openssl writes it.
const EC_SEC1: &[u8] = include_bytes!("ec_test_sec1.pem");
const EC_PUBLIC: &[u8] = include_bytes!("ec_test_public.pem");

fn alice() -> Claims {
    Claims {
        user: "alice".to_owned(),
        revision: 7,
    }
}

fn pem(der: &[u8]) -> Vec<u8> {
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n").into_bytes()
}

fn private_of(method: SignMethod) -> Vec<u8> {
    use SignMethod::{EdDsa, Es256, Es384, Hs256, Hs384, Hs512};
    let random = SystemRandom::new();
    let curve = match method {
        Hs256 | Hs384 | Hs512 => return b"a secret".to_vec(),
        EdDsa => {
            let der = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
            return pem(der.as_ref());
        }
        Es256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Es384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        _ => return RSA_PRIVATE.to_vec(),
    };
    let der = EcdsaKeyPair::generate_pkcs8(curve, &random).expect("a key");
    pem(der.as_ref())
}

fn jwt_of(method: SignMethod) -> Jwt {
    Jwt::new(method, None, Some(&private_of(method)), TTL).expect("a good key")
}

/// A token of arbitrary parts, well signed.
fn token(jwt: &Jwt, header: &Value, body: &Value) -> String {
    let signed = format!("{}.{}", encode(header), encode(body));
    let signer = jwt.signer.as_ref().expect("has a private key");
    let signature = signer.sign(signed.as_bytes()).expect("signs");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_token_of_each_method_says_what_was_signed() {
    for (method, name) in SignMethod::ALL {
        let jwt = jwt_of(method);
        let token = jwt.sign(&alice(), NOW).expect("signs");
        assert_eq!(jwt.verify(&token, NOW), Ok(alice()), "{name}");
        assert_eq!(jwt.verify(&token, NOW + 299), Ok(alice()), "{name}");
        assert_eq!(
            jwt.verify(&token, NOW + 300),
            Err(Refused::Expired),
            "{name}"
        );
        let header = token.split('.').next().expect("a first part");
        assert_eq!(decode(header).expect("JSON")["alg"], name);
        let other = match method.name() {
            // The one key of these tests.
            rsa if rsa.contains('S') && (rsa.starts_with('R') || rsa.starts_with('P')) => continue,
            hmac if hmac.starts_with("HS") => {
                Jwt::new(method, None, Some(b"another secret"), TTL).expect("any secret")
            }
            _ => jwt_of(method),
        };
        assert_eq!(other.verify(&token, NOW), Err(Refused::Signature), "{name}");
    }
}

#[test]
fn a_public_key_verifies_and_does_not_sign() {
    for (method, private, public) in [
        (SignMethod::Rs256, RSA_PRIVATE, RSA_PUBLIC),
        (SignMethod::Ps512, RSA_PRIVATE, RSA_PUBLIC),
        (SignMethod::Es256, EC_SEC1, EC_PUBLIC),
    ] {
        let both = Jwt::new(method, Some(public), Some(private), TTL).expect("a pair");
        let only = Jwt::new(method, Some(public), None, TTL).expect("a public key");
        let token = both.sign(&alice(), NOW).expect("signs");
        assert_eq!(only.verify(&token, NOW), Ok(alice()));
        assert_eq!(only.sign(&alice(), NOW), Err(Unsigned::VerifyOnly));
    }
}

#[test]
fn keys_that_cannot_serve_are_refused() {
    let load = |method, public, private| Jwt::new(method, public, private, TTL).err();
    let (rs, es) = (SignMethod::Rs256, SignMethod::Es256);
    assert_eq!(load(rs, None, None), Some(KeyError::Missing));
    assert_eq!(
        load(SignMethod::Hs256, Some(RSA_PUBLIC), None),
        Some(KeyError::Missing)
    );
    assert_eq!(load(es, None, Some(RSA_PRIVATE)), Some(KeyError::Private));
    assert_eq!(load(rs, None, Some(b"x")), Some(KeyError::Private));
    assert_eq!(load(es, Some(RSA_PUBLIC), None), Some(KeyError::Public));
    assert_eq!(load(rs, Some(EC_PUBLIC), None), Some(KeyError::Public));
    assert_eq!(
        load(SignMethod::Es384, Some(EC_PUBLIC), None),
        Some(KeyError::Public)
    );
    let other = private_of(es);
    assert_eq!(
        load(es, Some(EC_PUBLIC), Some(&other)),
        Some(KeyError::Mismatch)
    );
}

/// Advisory class: etcd issue 15676, where these were a panic.
#[test]
fn a_token_without_user_or_revision_is_refused_and_nothing_breaks() {
    let jwt = jwt_of(SignMethod::EdDsa);
    let header = json!({"alg": "EdDSA"});
    for (body, refused) in [
        (json!({}), Refused::Revision),
        (json!({"revision": 7}), Refused::User),
        (json!({"username": "alice"}), Refused::Revision),
        (json!({"username": 7, "revision": 7}), Refused::User),
        (json!({"username": null, "revision": 7}), Refused::User),
        (
            json!({"username": "alice", "revision": "7"}),
            Refused::Revision,
        ),
        (
            json!({"username": "a", "revision": 7, "exp": "never"}),
            Refused::Form,
        ),
        (
            json!({"username": "a", "revision": 7, "exp": NOW}),
            Refused::Expired,
        ),
        (
            json!({"username": "a", "revision": 7, "nbf": NOW + 1}),
            Refused::Early,
        ),
        (json!(["username"]), Refused::Form),
    ] {
        assert_eq!(
            jwt.verify(&token(&jwt, &header, &body), NOW),
            Err(refused),
            "{body}"
        );
    }
    // As in etcd, who signs elsewhere need not set an end.
    let endless = token(
        &jwt,
        &header,
        &json!({"username": "alice", "revision": 7.0}),
    );
    assert_eq!(jwt.verify(&endless, NOW), Ok(alice()));
}

#[test]
fn another_method_is_never_taken_from_the_token() {
    let jwt = jwt_of(SignMethod::Hs256);
    let body = json!({"username": "root", "revision": 7});
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS384"}),
        json!({"alg": ["HS256"]}),
        json!({}),
        json!({"alg": "HS256", "crit": ["exp"]}),
    ] {
        let token = token(&jwt, &header, &body);
        assert_eq!(jwt.verify(&token, NOW), Err(Refused::Method), "{header}");
    }
    let unsigned = format!("{}.{}.", encode(&json!({"alg": "HS256"})), encode(&body));
    assert_eq!(jwt.verify(&unsigned, NOW), Err(Refused::Signature));
}

/// Advisory class: etcd issue 21993, where the error repeated the token.
#[test]
fn no_refusal_repeats_a_word_of_the_token() {
    let jwt = jwt_of(SignMethod::Hs256);
    for text in [
        "",
        ".",
        "..",
        "canary",
        "canary.canary.canary",
        "e30.e30.canary",
        "e30.ca=ary.",
    ] {
        let refused = jwt.verify(text, NOW).expect_err("no token");
        assert!(
            !format!("{refused} {refused:?}").contains("canary"),
            "{refused}"
        );
    }
    assert!(!format!("{jwt:?}").contains("secret"));
}

#[test]
fn odd_revisions_are_old_ones() {
    let jwt = jwt_of(SignMethod::Hs256);
    for (revision, read) in [(json!(-1), 0), (json!(1e300), u64::MAX), (json!(2.9), 2)] {
        let body = json!({"username": "alice", "revision": revision});
        let token = token(&jwt, &json!({"alg": "HS256"}), &body);
        assert_eq!(jwt.verify(&token, NOW).expect("signed").revision, read);
    }
}

/// Parsers that split a token at all its dots take memory for each of them.
#[test]
fn cve_2025_30204_a_token_of_nothing_but_dots_is_refused() {
    let method = SignMethod::Hs256;
    let jwt = Jwt::new(method, None, Some(&private_of(method)), TTL).expect("a secret");
    let token = jwt.sign(&alice(), NOW).expect("signed");
    assert!(jwt.verify(&token, NOW).is_ok());
    let dots = ".".repeat(1 << 20);
    for bad in [
        dots.clone(),
        format!("{token}{dots}"),
        format!("{dots}{token}"),
    ] {
        assert!(jwt.verify(&bad, NOW).is_err());
    }
}
