//! What openssl, which knows nothing of us, thinks of our certificates. Skipped where it is not installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustls_pki_types::CertificateDer;

use super::tests::{Cluster, DAY, NOW, admin, client, cluster, node};
use crate::{Root, Subject, bundle_pem, files};

/// A directory that goes away.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            eprintln!("SKIP: openssl is not installed (apt-get install openssl)");
            return None;
        }
        let path =
            std::env::temp_dir().join(format!("kvorum-openssl-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        files::create_dir(&path).expect("a new directory");
        Some(Self(path))
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        files::write_secret(&self.0, name, text.as_bytes()).expect("written");
        self.0.join(name)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn openssl(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("it is installed");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

/// Whether openssl accepts the chain by this root for the purpose.
fn accepts(
    place: &Place,
    roots: &[CertificateDer<'_>],
    chain: &[CertificateDer<'_>],
    purpose: &str,
) -> (bool, String) {
    let root = place.file("root", &bundle_pem(roots));
    let leaf = place.file("leaf", &bundle_pem(&chain[..1]));
    let between = place.file("between", &bundle_pem(&chain[1..]));
    let at = NOW.to_string();
    openssl(&[
        "verify",
        "-x509_strict",
        "-attime",
        &at,
        "-purpose",
        purpose,
        "-CAfile",
        name(&root),
        "-no-CApath",
        "-untrusted",
        name(&between),
        name(&leaf),
    ])
}

#[test]
fn our_chains_are_good_for_what_they_are_for() {
    let Some(place) = Place::new("chains") else {
        return;
    };
    let cluster = cluster();
    let console = Subject::Console {
        names: vec!["a.example".to_owned(), "::1".to_owned()],
    };
    for (subject, serves, dials) in [
        (node(1), true, true),
        (console, true, false),
        (Subject::Join, true, false),
        (client("a b/c"), false, true),
        (admin("root"), false, true),
    ] {
        let chain = cluster.chain(&subject);
        for (purpose, expected) in [("sslserver", serves), ("sslclient", dials)] {
            let (accepted, text) = accepts(
                &place,
                std::slice::from_ref(cluster.root.certificate()),
                &chain,
                purpose,
            );
            assert_eq!(accepted, expected, "{subject:?} as {purpose}: {text}");
        }
    }
    let other = super::tests::cluster();
    let (accepted, _) = accepts(
        &place,
        std::slice::from_ref(other.root.certificate()),
        &cluster.chain(&node(1)),
        "sslserver",
    );
    assert!(!accepted, "another root");
}

#[test]
fn names_and_dates_are_where_others_look_for_them() {
    let Some(place) = Place::new("text") else {
        return;
    };
    let cluster = cluster();
    let leaf = place.file("leaf", &bundle_pem(&cluster.chain(&node(0xabc))));
    let (read, text) = openssl(&["x509", "-in", name(&leaf), "-noout", "-text"]);
    assert!(read, "{text}");
    let uri = format!("URI:kvorum://{}/node/abc", cluster.domain);
    for part in [
        &uri,
        "DNS:node.example",
        "IP Address:127.0.0.1",
        "CA:FALSE",
        "Digital Signature",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "X509v3 Authority Key Identifier",
        "prime256v1",
        "CN = node-2748",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let root = place.file(
        "root",
        &bundle_pem(std::slice::from_ref(cluster.root.certificate())),
    );
    let (_, text) = openssl(&["x509", "-in", name(&root), "-noout", "-text"]);
    assert!(
        text.contains("CA:TRUE, pathlen:1") && text.contains("Certificate Sign, CRL Sign"),
        "{text}"
    );
}

/// A client that knows only the new root must wait until the cross-signed certificate is gone: openssl takes the first
/// issuer that fits. Those who know only the old one are the ones that are there before roots change.
#[test]
fn a_cross_signed_chain_is_good_by_the_old_root_and_by_both() {
    let Some(place) = Place::new("cross") else {
        return;
    };
    let old = cluster();
    let new_root = Root::generate(&old.domain, NOW).expect("a root");
    let issuer = new_root
        .issuing_ca(&old.domain, NOW)
        .expect("an issuing CA");
    let cross = old.root.cross_sign(&issuer, NOW).expect("cross-signed");
    let issuer = issuer.with_cross(vec![cross]).expect("of the same key");
    let (old_root, new) = (
        old.root.certificate().clone(),
        new_root.certificate().clone(),
    );
    let mut rotated = Cluster {
        domain: old.domain,
        root: new_root,
        issuer,
    };
    let chain = rotated.chain(&node(1));
    for roots in [vec![old_root.clone()], vec![old_root.clone(), new.clone()]] {
        let (accepted, text) = accepts(&place, &roots, &chain, "sslserver");
        assert!(accepted, "{text}");
    }
    rotated.issuer = rotated.issuer.with_cross(Vec::new()).expect("the same");
    let (accepted, text) = accepts(&place, &[new], &rotated.chain(&node(1)), "sslserver");
    assert!(accepted, "{text}");
}

#[test]
fn a_request_made_by_openssl_is_verified_and_signed() {
    let Some(place) = Place::new("request") else {
        return;
    };
    let cluster = cluster();
    for (kind, option) in [
        ("ec", "ec_paramgen_curve:P-256"),
        ("rsa", "rsa_keygen_bits:2048"),
    ] {
        let (key, request) = (place.0.join("key"), place.0.join("request"));
        let (made, text) = openssl(&[
            "req",
            "-new",
            "-newkey",
            kind,
            "-pkeyopt",
            option,
            "-nodes",
            "-keyout",
            name(&key),
            "-out",
            name(&request),
            "-outform",
            "DER",
            "-subj",
            "/CN=root",
            "-addext",
            "subjectAltName=DNS:evil.example",
        ]);
        assert!(made, "{text}");
        let request = std::fs::read(&request).expect("written");
        let public = crate::csr::verify(&request).expect("verified");
        let validity = crate::Validity::from_now(NOW, DAY);
        let chain = cluster
            .issuer
            .sign(&public, &client("alice"), &cluster.domain, validity);
        let chain = chain.expect("signed");
        let (accepted, text) = accepts(
            &place,
            std::slice::from_ref(cluster.root.certificate()),
            chain.certificates(),
            "sslclient",
        );
        assert!(accepted, "{kind}: {text}");
        let leaf = crate::chain::parsed(chain.leaf()).expect("a certificate");
        assert_eq!(
            leaf.subject().to_string(),
            "CN=alice",
            "nothing but the key comes from the request"
        );
    }
}

#[test]
fn a_revoked_certificate_is_found_in_the_list() {
    let Some(place) = Place::new("crl") else {
        return;
    };
    let cluster = cluster();
    let (bad, good) = (
        cluster.chain(&client("bad")),
        cluster.chain(&client("good")),
    );
    let serial = crate::Serial::of(&bad[0]).expect("a serial");
    let revoked = crate::RevokedCertificate {
        serial,
        revoked_at_unix: NOW,
    };
    let list = cluster
        .issuer
        .crl_pem(&[revoked], 1, NOW, NOW + DAY)
        .expect("a list");
    let authorities = [
        cluster.root.certificate().clone(),
        cluster.issuer.certificate().clone(),
    ];
    let trusted = place.file("trusted", &format!("{}{list}", bundle_pem(&authorities)));
    for (chain, expected) in [(&bad, false), (&good, true)] {
        let leaf = place.file("leaf", &bundle_pem(&chain[..1]));
        let at = (NOW + 1).to_string();
        let (accepted, text) = openssl(&[
            "verify",
            "-attime",
            &at,
            "-crl_check",
            "-CAfile",
            name(&trusted),
            "-no-CApath",
            name(&leaf),
        ]);
        assert_eq!(accepted, expected, "{text}");
        assert!(accepted || text.contains("revoked"), "{text}");
    }
}
