//! An authority that a test knows the keys of, put where a member would have made its own: so that certificates can be
//! had that no member would make.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use kvorum_core::trust::{ISSUING_KEY_AAD, ROOT_KEY_AAD};
use kvorum_pki::seal::{SealKey, seal};
use kvorum_pki::{
    Bundle, Issuer, KeyPair, Root, Subject, TrustDomain, Validity, bundle_pem, files,
};
use kvorum_proto::kvorumpb::{TrustInit, TrustIssuer};
use prost::Message as _;
use serde_json::Value;

pub(crate) const HOUR_S: i64 = 3600;
pub(crate) const DAY_S: i64 = 24 * HOUR_S;

pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.expect("after 1970").as_secs()).expect("fits")
}

pub(crate) struct Known {
    pub(crate) domain: TrustDomain,
    pub(crate) root: Root,
    pub(crate) issuer: Issuer,
    seal_key: SealKey,
}

impl Known {
    /// One that was made at this time, by whatever clock.
    pub(crate) fn made_at(unix_s: i64) -> Self {
        let domain = TrustDomain::generate().expect("random");
        let root = Root::generate(&domain, unix_s).expect("a root");
        let issuer = root.issuing_ca(&domain, unix_s).expect("an issuer");
        let seal_key = SealKey::generate().expect("random");
        Self {
            domain,
            root,
            issuer,
            seal_key,
        }
    }

    pub(crate) fn sign(&self, subject: &Subject, validity: Validity) -> Bundle {
        let key = KeyPair::generate().expect("a key");
        let public = key.public().expect("a key");
        let chain = self.issuer.sign(&public, subject, &self.domain, validity);
        Bundle::new(key, chain.expect("signed")).expect("a pair")
    }

    /// A certificate for the member in a data directory.
    pub(crate) fn node(&self, data_dir: &Path, validity: Validity) -> Bundle {
        let member = fs::read(data_dir.join("member.json")).expect("a member lives here");
        let member: Value = serde_json::from_slice(&member).expect("is JSON");
        let id = member["member_id"].as_str().expect("in hexadecimal digits");
        let subject = Subject::Node {
            member_id: u64::from_str_radix(id, 16).expect("in hexadecimal digits"),
            member_name: member["name"].as_str().unwrap_or_default().to_owned(),
            names: vec!["127.0.0.1".into(), "localhost".into()],
        };
        self.sign(&subject, validity)
    }

    /// Makes this the authority of the member in a data directory, which has none.
    pub(crate) fn found(&self, data_dir: &Path, node: &Bundle) {
        let sealed = |key: &KeyPair, aad| {
            let sealed = seal(&self.seal_key, key.pkcs8(), aad);
            sealed.expect("sealed").into()
        };
        let validity = Validity::of(self.issuer.certificate()).expect("a certificate");
        let founding = TrustInit {
            domain: self.domain.as_bytes().to_vec().into(),
            root_der: self.root.certificate().to_vec().into(),
            sealed_root_key: sealed(self.root.key(), ROOT_KEY_AAD),
            issuer: Some(TrustIssuer {
                der: self.issuer.certificate().to_vec().into(),
                sealed_key: sealed(self.issuer.key(), ISSUING_KEY_AAD),
                not_before_unix_s: validity.not_before_unix,
                not_after_unix_s: validity.not_after_unix,
                ..TrustIssuer::default()
            }),
        };
        let dir = data_dir.join("pki");
        files::create_dir(&dir).expect("a directory");
        let ca = bundle_pem(&[self.root.certificate().clone()]);
        for (name, bytes) in [
            (files::SEAL_KEY, self.seal_key.to_text().as_bytes()),
            (files::CA_PEM, ca.as_bytes()),
            (files::NODE_PEM, node.to_pem().as_bytes()),
            ("founding", &founding.encode_to_vec()),
            (files::DOMAIN, self.domain.to_string().as_bytes()),
        ] {
            files::write_secret(&dir, name, bytes).expect("written");
        }
    }
}

/// Puts a certificate in the place of a member's own.
pub(crate) fn replace_node(data_dir: &Path, bundle: &Bundle) {
    let dir = data_dir.join("pki");
    let pem = bundle.to_pem();
    files::write_secret(&dir, files::NODE_PEM, pem.as_bytes()).expect("written");
}
