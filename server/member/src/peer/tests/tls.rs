//! TLS between members: who has no certificate of the right authority is nobody.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

use std::time::Duration;

use super::super::{PeerTls, PeerTlsError, PeerTlsOptions};
use super::rig::{Lodging, TestMember};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn files(&self, name: &str, cn: &str, usages: &[ExtendedKeyUsagePurpose]) -> PeerTlsOptions {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, cn);
        params.extended_key_usages = usages.to_vec();
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.0).expect("a certificate");
        PeerTlsOptions {
            certificate_pem: leaf.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
            trusted_ca_pem: self.0.pem().into_bytes(),
            ..PeerTlsOptions::default()
        }
    }

    fn good(&self) -> PeerTlsOptions {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        self.files("127.0.0.1", "member", &[ClientAuth, ServerAuth])
    }
}

fn member(id: u64, options: &PeerTlsOptions) -> TestMember {
    let mut lodging = Lodging::of(id);
    lodging.tls = Some(PeerTls::new(options).expect("usable files"));
    lodging.live()
}

/// Whether the first can dial the second.
fn gets_in(one: &PeerTlsOptions, two: &PeerTlsOptions) -> bool {
    let (one, two) = (member(1, one), member(2, two));
    one.knows(&[(2, two.url())]);
    let patience = std::time::Instant::now() + Duration::from_millis(700);
    while std::time::Instant::now() < patience {
        if one.is_connected(2) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(two.told().is_empty());
    false
}

#[test]
fn members_of_one_authority_find_each_other() {
    let authority = Authority::new();
    assert!(gets_in(&authority.good(), &authority.good()));
}

#[test]
fn whoever_lacks_the_right_certificate_is_kept_out() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.good();
    let mut foreign = other.good();
    foreign.trusted_ca_pem.clone_from(&good.trusted_ca_pem);
    assert!(!gets_in(&foreign, &good), "signed by somebody else");
    assert!(!gets_in(&good, &foreign), "answers with a foreign one");
    let server = authority.files("127.0.0.1", "member", &[ServerAuth]);
    assert!(!gets_in(&server, &good), "not meant for clients");
    let client = authority.files("127.0.0.1", "member", &[ClientAuth]);
    assert!(!gets_in(&good, &client), "not meant for servers");
    let elsewhere = authority.files("elsewhere.example", "member", &[ClientAuth, ServerAuth]);
    assert!(!gets_in(&good, &elsewhere), "has another name");
    assert!(gets_in(&elsewhere, &good), "only the dialled one is named");
}

#[test]
fn allowed_names_keep_out_the_rest_of_the_authority() {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let authority = Authority::new();
    let client = authority.files("127.0.0.1", "some-client", &[ClientAuth, ServerAuth]);
    let mut strict = authority.good();
    strict.allowed_cns = vec!["member".into()];
    assert!(gets_in(&authority.good(), &strict));
    assert!(!gets_in(&client, &strict));
    let mut named = authority.good();
    named.allowed_hostnames = vec!["127.0.0.1".into(), "a.example".into()];
    assert!(gets_in(&authority.good(), &named));
    let elsewhere = authority.files("b.example", "member", &[ClientAuth, ServerAuth]);
    assert!(!gets_in(&elsewhere, &named));
}

#[test]
fn plain_and_tls_do_not_mix() {
    let authority = Authority::new();
    let (plain, secure) = (Lodging::of(1).live(), member(2, &authority.good()));
    plain.knows(&[(2, format!("http://{}", secure.address))]);
    secure.knows(&[(1, format!("https://{}", plain.address))]);
    std::thread::sleep(Duration::from_millis(400));
    assert!(!plain.is_connected(2) && !secure.is_connected(1));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let good = Authority::new().good();
    let broken = |change: fn(&mut PeerTlsOptions)| {
        let mut options = good.clone();
        change(&mut options);
        PeerTls::new(&options).expect_err("unusable")
    };
    let error = broken(|o| o.certificate_pem.clear());
    assert!(matches!(error, PeerTlsError::Certificate(_)), "{error}");
    let error = broken(|o| o.key_pem.clear());
    assert!(matches!(error, PeerTlsError::Key(_)), "{error}");
    let error = broken(|o| o.trusted_ca_pem = b"-----BEGIN".to_vec());
    assert!(matches!(error, PeerTlsError::TrustedCa(_)), "{error}");
    let error = broken(|o| o.key_pem = Authority::new().good().key_pem);
    assert!(matches!(error, PeerTlsError::Pair(_)), "{error}");
}
