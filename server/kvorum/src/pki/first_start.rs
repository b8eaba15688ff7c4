//! The first start of a cluster: its trust domain, its authority, and the certificates of its first member. All of it is
//! on the disk before anything is served; the domain comes last, so that a start that was cut short begins anew.

use std::path::Path;

use kvorum_core::trust::{ISSUING_KEY_AAD, ROOT_KEY_AAD};
use kvorum_pki::{
    Bundle, Issuer, KeyPair, PkiError, Root, Subject, TrustDomain, Validity, bundle_pem, files,
    seal::{self, SealKey},
};
use kvorum_proto::kvorumpb::{TrustInit, TrustIssuer};
use prost::Message as _;

use super::unix_s;
use crate::config::Lives;

/// The authority, sealed, until the cluster itself keeps it.
pub(super) const FOUNDING: &str = "founding";
/// The user of the administrator's certificate.
const ROOT_USER: &str = "root";

/// The first member of a cluster.
#[derive(Debug)]
pub(super) struct Founder {
    pub(super) member_id: u64,
    pub(super) member_name: String,
    pub(super) names: Vec<String>,
    pub(super) lives: Lives,
}

impl Founder {
    /// Makes everything.
    ///
    /// # Errors
    /// The directory is not this user's alone, the disk refuses, or the system has no random numbers.
    pub(super) fn found(&self, dir: &Path) -> Result<TrustDomain, String> {
        let shown = |e: PkiError| e.to_string();
        files::create_dir(dir).map_err(|e| e.to_string())?;
        let now = unix_s();
        let domain = TrustDomain::generate().map_err(shown)?;
        let root = Root::generate(&domain, now).map_err(shown)?;
        let issuer = root.issuing_ca(&domain, now).map_err(shown)?;
        let seal_key = SealKey::generate().map_err(shown)?;
        let put = |name: &str, bytes: &[u8]| {
            files::write_secret(dir, name, bytes).map_err(|e| e.to_string())
        };
        let node = Subject::Node {
            member_id: self.member_id,
            member_name: self.member_name.clone(),
            names: self.names.clone(),
        };
        let console = Subject::Console {
            names: self.names.clone(),
        };
        let admin = Subject::Admin {
            user: ROOT_USER.to_owned(),
        };
        let lives = &self.lives;
        let sign = |subject: &Subject, life: std::time::Duration| {
            let life_s = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
            signed(&issuer, &domain, subject, Validity::from_now(now, life_s)).map_err(shown)
        };
        // First: as long as this is there, what else is there may be made anew.
        let init = sealed(&domain, &root, &issuer, &seal_key, now).map_err(shown)?;
        put(FOUNDING, &init.encode_to_vec())?;
        put(files::SEAL_KEY, seal_key.to_text().as_bytes())?;
        put(
            files::CA_PEM,
            bundle_pem(&[root.certificate().clone()]).as_bytes(),
        )?;
        put(
            files::NODE_PEM,
            sign(&node, lives.node)?.to_pem().as_bytes(),
        )?;
        put(
            files::CONSOLE_PEM,
            sign(&console, lives.console)?.to_pem().as_bytes(),
        )?;
        let admin = sign(&admin, lives.client)?;
        put(files::ADMIN_PEM, admin.to_pem().as_bytes())?;
        put(files::ADMIN_CRT, admin.chain().to_pem().as_bytes())?;
        put(files::ADMIN_KEY, admin.key().to_pem().as_bytes())?;
        put(files::DOMAIN, domain.to_string().as_bytes())?;
        Ok(domain)
    }
}

fn signed(
    issuer: &Issuer,
    domain: &TrustDomain,
    subject: &Subject,
    validity: Validity,
) -> Result<Bundle, PkiError> {
    let key = KeyPair::generate()?;
    let chain = issuer.sign(&key.public()?, subject, domain, validity)?;
    Bundle::new(key, chain)
}

/// What the log will carry: no key in clear.
fn sealed(
    domain: &TrustDomain,
    root: &Root,
    issuer: &Issuer,
    seal_key: &SealKey,
    now: i64,
) -> Result<TrustInit, PkiError> {
    let validity = Validity::of(issuer.certificate())?;
    Ok(TrustInit {
        domain: domain.as_bytes().to_vec().into(),
        root_der: root.certificate().to_vec().into(),
        sealed_root_key: seal::seal(seal_key, root.key().pkcs8(), ROOT_KEY_AAD)?.into(),
        issuer: Some(TrustIssuer {
            der: issuer.certificate().to_vec().into(),
            sealed_key: seal::seal(seal_key, issuer.key().pkcs8(), ISSUING_KEY_AAD)?.into(),
            not_before_unix_s: validity.not_before_unix,
            not_after_unix_s: validity.not_after_unix,
            since_unix_s: now,
            ..TrustIssuer::default()
        }),
    })
}
