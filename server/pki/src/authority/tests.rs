//! Authorities and what they sign, and the cluster that the other tests use.

use super::*;
use crate::{Bundle, Trust};

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const DAY: i64 = 86_400;

/// A cluster's authority.
pub(crate) struct Cluster {
    pub(crate) domain: TrustDomain,
    pub(crate) root: Root,
    pub(crate) issuer: Issuer,
}

pub(crate) fn cluster() -> Cluster {
    cluster_at(NOW)
}

pub(crate) fn cluster_at(now: i64) -> Cluster {
    let domain = TrustDomain::generate().expect("random");
    let root = Root::generate(&domain, now).expect("a root");
    let issuer = root.issuing_ca(&domain, now).expect("an issuing CA");
    Cluster {
        domain,
        root,
        issuer,
    }
}

impl Cluster {
    pub(crate) fn trust(&self) -> Trust {
        Trust {
            domain: Some(self.domain),
            roots: vec![self.root.certificate().clone()],
            ..Trust::default()
        }
    }

    pub(crate) fn bundle(&self, subject: &Subject, validity: Validity) -> Bundle {
        let key = KeyPair::generate().expect("random");
        let public =
            crate::csr::verify(&crate::csr::create(&key).expect("a request")).expect("verified");
        let chain = self
            .issuer
            .sign(&public, subject, &self.domain, validity)
            .expect("signed");
        Bundle::new(key, chain).expect("a pair")
    }

    pub(crate) fn chain(&self, subject: &Subject) -> Vec<CertificateDer<'static>> {
        let bundle = self.bundle(subject, Validity::from_now(NOW, DAY));
        bundle.chain().certificates().to_vec()
    }
}

pub(crate) fn node(member_id: u64) -> Subject {
    Subject::Node {
        member_id,
        member_name: format!("node-{member_id}"),
        names: vec![
            "node.example".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ],
    }
}

pub(crate) fn client(user: &str) -> Subject {
    Subject::Client {
        user: user.to_owned(),
    }
}

pub(crate) fn admin(user: &str) -> Subject {
    Subject::Admin {
        user: user.to_owned(),
    }
}

#[test]
fn what_was_stored_is_the_same_authority() {
    let cluster = cluster();
    let key = |key: &KeyPair| KeyPair::from_pkcs8(key.pkcs8()).expect("its key");
    let root = Root::from_parts(cluster.root.certificate().clone(), key(cluster.root.key()));
    let root = root.expect("a pair");
    let stored = cluster.issuer.certificate().clone();
    let issuer = Issuer::from_parts(stored, key(cluster.issuer.key()), Vec::new()).expect("a pair");
    let again = Cluster {
        domain: cluster.domain,
        root,
        issuer,
    };
    let chain = again.chain(&client("alice"));
    cluster
        .trust()
        .check(&chain, crate::Purpose::Client, NOW)
        .expect("accepted");
    let renewed = again
        .root
        .renew_issuing(&again.issuer, NOW)
        .expect("renewed");
    assert_eq!(renewed.key().pkcs8(), again.issuer.key().pkcs8());
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let (one, other) = (cluster(), cluster());
    let key = KeyPair::from_pkcs8(other.root.key().pkcs8()).expect("its key");
    let wrong = Root::from_parts(one.root.certificate().clone(), key).expect_err("another key");
    assert!(matches!(wrong, PkiError::Unrelated), "{wrong}");
    let leaf = one.bundle(&client("alice"), Validity::from_now(NOW, DAY));
    let key = KeyPair::from_pkcs8(leaf.key().pkcs8()).expect("its key");
    let wrong = Root::from_parts(leaf.chain().leaf().clone(), key).expect_err("no authority");
    assert!(matches!(wrong, PkiError::NotAnAuthority), "{wrong}");
}

#[test]
fn who_serves_does_not_outlive_its_issuer_and_nothing_is_signed_for_no_time() {
    let cluster = cluster();
    let long = Validity::from_now(NOW, 400 * DAY);
    let end = |subject: &Subject| {
        cluster
            .bundle(subject, long)
            .chain()
            .validity()
            .expect("dates")
            .not_after_unix
    };
    assert_eq!(end(&node(1)), NOW + ISSUING_LIFE_S);
    assert_eq!(
        end(&Subject::Console { names: Vec::new() }),
        NOW + ISSUING_LIFE_S
    );
    assert_eq!(end(&client("alice")), NOW + 400 * DAY);
    let key = KeyPair::generate()
        .expect("random")
        .public()
        .expect("public");
    let late = Validity::from_now(NOW + ISSUING_LIFE_S + DAY, DAY);
    let wrong = cluster
        .issuer
        .sign(&key, &node(1), &cluster.domain, late)
        .expect_err("over");
    assert!(matches!(wrong, PkiError::Period(_)), "{wrong}");
}

#[test]
fn a_browser_finds_nothing_to_complain_about() {
    let cluster = cluster();
    let names = ["console.example", "10.0.0.7", "2001:db8::7"]
        .map(str::to_owned)
        .to_vec();
    let chain = cluster.chain(&Subject::Console { names });
    let leaf = parsed(&chain[0]).expect("a certificate");
    assert!(!leaf.is_ca());
    assert!(
        leaf.key_usage()
            .expect("readable")
            .expect("there")
            .value
            .digital_signature()
    );
    let usage = leaf
        .extended_key_usage()
        .expect("readable")
        .expect("there")
        .value;
    assert!(usage.server_auth && !usage.client_auth && usage.other.is_empty());
    let names = leaf
        .subject_alternative_name()
        .expect("readable")
        .expect("there")
        .value;
    assert_eq!(names.general_names.len(), 3);
    let validity = Validity::of(&chain[0]).expect("dates");
    assert!(validity.not_after_unix - validity.not_before_unix <= 397 * DAY);
    assert_eq!(leaf.raw_serial().len(), 16);
}

#[test]
fn no_two_serials_and_no_two_authorities_are_alike() {
    let cluster = cluster();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        assert!(seen.insert(Serial::of(&cluster.chain(&client("a"))[0]).expect("a serial")));
    }
    let name = |root: &Root| {
        parsed(root.certificate())
            .expect("a root")
            .subject()
            .to_string()
    };
    let other = Root::generate(&cluster.domain, NOW).expect("a root");
    assert_ne!(
        name(&cluster.root),
        name(&other),
        "a chain would be tried against both"
    );
    assert_eq!(
        domain_of_root(cluster.root.certificate()),
        Some(cluster.domain)
    );
}

#[test]
fn a_list_of_revoked_certificates_names_them() {
    use x509_parser::prelude::{CertificateRevocationList, FromDer};
    let cluster = cluster();
    let serial = Serial::of(&cluster.chain(&client("a"))[0]).expect("a serial");
    let revoked = crate::RevokedCertificate {
        serial: serial.clone(),
        revoked_at_unix: NOW,
    };
    let pem = cluster
        .issuer
        .crl_pem(&[revoked], 7, NOW, NOW + DAY)
        .expect("a list");
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM");
    let (_, list) = CertificateRevocationList::from_der(&block.contents).expect("a list");
    let issuer = parsed(cluster.issuer.certificate()).expect("a CA");
    list.verify_signature(issuer.public_key())
        .expect("signed by the issuing CA");
    let listed: Vec<Serial> = list
        .iter_revoked_certificates()
        .map(|entry| Serial::from_bytes(entry.raw_serial()))
        .collect();
    assert_eq!(listed, [serial]);
    cluster
        .issuer
        .crl_pem(&[], 8, NOW, NOW)
        .expect_err("the next one is due at once");
}
