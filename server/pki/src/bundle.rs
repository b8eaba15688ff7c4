//! A key and its chain in one text, so that one rename replaces both and no moment has one without the other.

use std::fmt;

use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use crate::chain::parsed;
use crate::tls::provider;
use crate::{Chain, KeyPair, PkiError};

/// A key and its chain.
pub struct Bundle {
    key: KeyPair,
    chain: Chain,
}

impl Bundle {
    /// Puts together what belongs together.
    ///
    /// # Errors
    ///
    /// The leaf has another key.
    pub fn new(key: KeyPair, chain: Chain) -> Result<Self, PkiError> {
        let leaf = crate::SubjectPublicKey::from_der(parsed(chain.leaf())?.public_key().raw)?;
        if leaf != key.public()? {
            return Err(PkiError::Unrelated);
        }
        Ok(Self { key, chain })
    }

    /// From what [`Bundle::to_pem`] gave.
    ///
    /// # Errors
    ///
    /// A part is missing or damaged, or they do not belong together.
    pub fn from_pem(text: &[u8]) -> Result<Self, PkiError> {
        Self::new(KeyPair::from_pem(text)?, Chain::from_pem(text)?)
    }

    /// Key first, then the chain.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        let key = self.key.to_pem();
        let chain = self.chain.to_pem();
        let mut text = Zeroizing::new(String::with_capacity(key.len() + chain.len()));
        text.push_str(&key);
        text.push_str(&chain);
        text
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// For rustls.
    pub(crate) fn certified(&self) -> Result<CertifiedKey, PkiError> {
        let chain = self.chain.certificates().to_vec();
        Ok(CertifiedKey::from_der(
            chain,
            self.key.private_der(),
            &provider(),
        )?)
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::tests::{NOW, cluster};
    use crate::{Subject, Validity};

    #[test]
    fn a_bundle_survives_its_text_and_parts_must_belong_together() {
        let cluster = cluster();
        let made = |user: &str| {
            let key = KeyPair::generate().expect("random");
            let subject = Subject::Client {
                user: user.to_owned(),
            };
            let public = key.public().expect("public");
            let chain = cluster.issuer.sign(
                &public,
                &subject,
                &cluster.domain,
                Validity::from_now(NOW, 60),
            );
            (key, chain.expect("signed"))
        };
        let ((key, chain), (other, _)) = (made("one"), made("two"));
        assert!(matches!(
            Bundle::new(other, chain.clone()),
            Err(PkiError::Unrelated)
        ));
        let bundle = Bundle::new(key, chain).expect("a pair");
        let text = bundle.to_pem();
        let again = Bundle::from_pem(text.as_bytes()).expect("its own text");
        assert_eq!(again.chain(), bundle.chain());
        assert_eq!(again.key().pkcs8(), bundle.key().pkcs8());
        assert!(!format!("{bundle:?}").contains("PRIVATE"));
        let key_only = bundle.key().to_pem();
        Bundle::from_pem(key_only.as_bytes()).expect_err("no certificate");
        Bundle::from_pem(bundle.chain().to_pem().as_bytes()).expect_err("no key");
    }
}
