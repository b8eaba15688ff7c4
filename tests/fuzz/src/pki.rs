//! What strangers and files hand to the authority: tokens, requests, chains, keys, sealed secrets.

use std::sync::LazyLock;

use kvorum_pki::{
    Bundle, Chain, IdentityKind, JoinToken, Purpose, Serial, Trust, TrustDomain, csr, identity_of,
    parse_bundle_pem, seal,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

use crate::input::{Input, put_piece};

/// Within the life of the certificates below.
const NOW: i64 = 1_800_000_000;
const KINDS: u8 = 8;
/// A root, an issuing CA, a client's leaf, and a request. Their keys are gone.
const SEEDS: &[u8] = include_bytes!("pki_seeds.pem");
const DOMAIN: [u8; 16] = [7; 16];
const TOKEN: &str = "kv1.000g40r40m30e209.000g40r40m30e209185gr38e1w.000g40r40m30e209185gr38e1w8124gk.m6466gr\
                     @a.example:2380,2001:db8::1:2380";

/// What is trusted, and the chain that inputs begin from.
struct Known {
    trust: Trust,
    chain: Vec<CertificateDer<'static>>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let mut certificates = parse_bundle_pem(SEEDS).expect("PEM");
    let leaf = certificates.pop().expect("a leaf");
    let issuing = certificates.pop().expect("an issuing CA");
    let domain = Some(TrustDomain::from_bytes(DOMAIN));
    Known {
        trust: Trust {
            domain,
            roots: certificates,
            ..Trust::default()
        },
        chain: vec![leaf, issuing],
    }
});

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.u8() % KINDS {
        0 => token(input.rest()),
        1 => drop(csr::verify(input.rest())),
        2 => chain(&mut input),
        3 => {
            if let Ok(chain) = Chain::from_pem(input.rest()) {
                let again = Chain::from_pem(chain.to_pem().as_bytes());
                assert_eq!(again.expect("its own text"), chain);
            }
        }
        4 => drop(Bundle::from_pem(input.rest())),
        5 => {
            let key = seal::SealKey::from_bytes([1; 32]);
            assert!(
                seal::open(&key, input.rest(), b"").is_err(),
                "sealed by nobody"
            );
        }
        6 => {
            if let Ok(key) = seal::SealKey::from_text(input.rest()) {
                assert_eq!(key.to_text().len(), 65);
            }
        }
        _ => {
            let text = String::from_utf8_lossy(input.rest());
            if let Ok(serial) = text.parse::<Serial>() {
                assert_eq!(
                    serial.to_string().parse::<Serial>().expect("its own text"),
                    serial
                );
            }
            if let Ok(domain) = text.parse::<TrustDomain>() {
                assert_eq!(domain.to_string(), text);
            }
        }
    }
}

fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(token) = JoinToken::parse(text) {
        let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        assert_eq!(*token.text(), plain, "two texts stand for one token");
        assert!(!token.addresses().is_empty());
    }
}

/// Whatever is shown, nobody becomes an administrator or a member: the authority signed for neither.
fn chain(input: &mut Input<'_>) {
    let mut chain = Vec::new();
    for _ in 0..4 {
        let piece = input.piece();
        if !piece.is_empty() {
            chain.push(piece.to_vec().into());
        }
    }
    let domain = TrustDomain::from_bytes(DOMAIN);
    drop(identity_of(&chain, Some(&domain)));
    for purpose in [Purpose::Client, Purpose::Peer, Purpose::Server] {
        if let Ok(identity) = KNOWN.trust.check(&chain, purpose, NOW) {
            let IdentityKind::Client(user) = &identity.kind else {
                panic!("{identity:?}")
            };
            assert_eq!(user, "alice");
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let with = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let mut shown = vec![2];
    for certificate in &KNOWN.chain {
        put_piece(&mut shown, certificate);
    }
    let request = CertificateSigningRequestDer::from_pem_slice(SEEDS).expect("a request");
    let key = seal::SealKey::from_bytes([3; 32]);
    vec![
        with(0, TOKEN.as_bytes()),
        with(1, &request),
        shown,
        with(3, SEEDS),
        with(4, SEEDS),
        with(5, &[&[1][..], &[0; 60]].concat()),
        with(6, key.to_text().as_bytes()),
        with(7, b"4a:0b:ff"),
        with(
            7,
            KNOWN
                .trust
                .domain
                .map(|domain| domain.to_string())
                .unwrap_or_default()
                .as_bytes(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_mean_something() {
        let identity = KNOWN
            .trust
            .check(&KNOWN.chain, Purpose::Client, NOW)
            .expect("accepted");
        assert_eq!(identity.user(), Some("alice"));
        JoinToken::parse(TOKEN).expect("a token");
        let request = CertificateSigningRequestDer::from_pem_slice(SEEDS).expect("a request");
        csr::verify(&request).expect("verified");
    }
}
