//! What verifiers outside of the cluster get of it: the list of revoked certificates.

use std::fs;
use std::process::Command;

use kvorum_pki::Serial;
use kvorum_tests::process::{TestDir, find_program};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, X509Certificate};

use super::tls_client::{Files, certificates};
use super::{Place, text};

#[test]
fn the_list_of_revoked_certificates_is_signed_and_complete() {
    let dir = TestDir::new("crl");
    let member = Place::new(&dir, "a").start();
    let out = dir.path().join("out");
    let made = ["stolen", "left", "kept"].map(|user| Files::make(&member, &out, user, &[]));
    let chains = made.each_ref().map(|files| certificates(&files.cert));
    let serials = chains.each_ref().map(|chain| {
        let serial = Serial::of(&chain[0]).expect("a certificate");
        serial.to_string()
    });
    let file = dir.path().join("kvorum.crl");
    let list = || {
        let file = file.to_string_lossy();
        assert_eq!(member.told(&["ca", "crl", "--out", &*file]), "");
        let pem = fs::read(&*file).expect("was written");
        let (_, block) = x509_parser::pem::parse_x509_pem(&pem).expect("is PEM");
        assert_eq!(block.label, "X509 CRL");
        let (_, list) = CertificateRevocationList::from_der(&block.contents).expect("a list");
        // The issuing certificate stands behind the leaf.
        let (_, issuer) = X509Certificate::from_der(&chains[0][1]).expect("a certificate");
        list.verify_signature(issuer.public_key()).expect("signed");
        assert_eq!(list.issuer(), issuer.subject());
        assert!(list.next_update().expect("is named") > list.last_update());
        let mut listed: Vec<String> = list
            .iter_revoked_certificates()
            .map(|entry| Serial::from_bytes(entry.raw_serial()).to_string())
            .collect();
        listed.sort();
        let number = list.crl_number().expect("has one").clone();
        (listed, number)
    };
    let (listed, first) = list();
    assert!(listed.is_empty(), "{listed:?}");
    member.told(&["cert", "revoke", &serials[0]]);
    member.told(&["cert", "revoke", "--user", "left"]);
    let (listed, second) = list();
    let mut wanted = [serials[0].clone(), serials[1].clone()];
    wanted.sort();
    assert_eq!(listed, wanted);
    assert!(second > first, "the number grows from list to list");

    let Some(openssl) = find_program("openssl") else {
        println!("SKIP openssl: not installed");
        return;
    };
    let mut command = Command::new(openssl);
    let shown = command.args(["crl", "-noout", "-text", "-in"]).arg(&file);
    let shown = shown.output().expect("openssl starts");
    assert!(shown.status.success(), "{}", text(&shown));
    let shown = text(&shown).to_lowercase().replace(':', "");
    assert!(
        wanted.iter().all(|serial| shown.contains(serial)),
        "{shown}"
    );
    assert!(!shown.contains(&serials[2]), "{shown}");
}
