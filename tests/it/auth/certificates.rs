//! An authority of one test, its server and its clients.

use std::{path::Path, sync::Arc};

use kvorum_tests::process::write_private;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{ClientConfig, RootCertStore, pki_types::PrivateKeyDer};

/// The flags of the member and the files that they name.
pub(crate) const FILES: [(&str, &str); 3] = [
    ("--cert-file", "server.pem"),
    ("--key-file", "server.key"),
    ("--trusted-ca-file", "ca.pem"),
];

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Writes the files of a server at 127.0.0.1.
    pub(crate) fn new(dir: &Path) -> Self {
        let mut params = named("the authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = Self(CertifiedIssuer::self_signed(params, key).expect("signs"));
        let names = vec!["127.0.0.1".to_owned()];
        let server = CertificateParams::new(names).expect("an address");
        let (certificate, key) = authority.sign(server, ExtendedKeyUsagePurpose::ServerAuth);
        let ca = authority.0.pem();
        for ((_, file), text) in FILES
            .iter()
            .zip([certificate.pem(), key.serialize_pem(), ca])
        {
            write_private(&dir.join(file), text.as_bytes());
        }
        authority
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        purpose: ExtendedKeyUsagePurpose,
    ) -> (rcgen::Certificate, KeyPair) {
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.0).expect("signs"), key)
    }

    /// What a client with a certificate of this common name needs.
    pub(crate) fn client(&self, common_name: &str) -> Arc<ClientConfig> {
        self.client_of(common_name, self)
    }

    /// The same for a client of this authority that speaks to a server of another.
    pub(crate) fn client_of(&self, common_name: &str, server: &Self) -> Arc<ClientConfig> {
        let purpose = ExtendedKeyUsagePurpose::ClientAuth;
        let (certificate, key) = self.sign(named(common_name), purpose);
        let mut roots = RootCertStore::empty();
        roots.add(server.0.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the usual versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], key)
            .expect("a pair");
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if !common_name.is_empty() {
        let name = DnType::CommonName;
        params.distinguished_name.push(name, common_name);
    }
    params
}
