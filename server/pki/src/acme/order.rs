//! One attempt: account, order, challenges, certificate.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::CertificateParams;

use super::http::CaClient;
use super::resolver::Public;
use super::{Acme, Answer, ChallengeKind, now_unix};
use crate::{Bundle, Chain, KeyPair, PkiError, Validity};

/// A CA looks from several places, one after the other.
const VALIDATION: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .timeout(Duration::from_secs(180));
const ISSUANCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(500))
    .timeout(Duration::from_secs(180));

/// Why an attempt failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) words: String,
    /// When the CA wants to be asked again.
    pub(super) retry_after_unix: Option<i64>,
}

impl Failed {
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            retry_after_unix: None,
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let retry_after_unix = match &error {
            Error::Timeout(Some(at)) => {
                let wait = at.saturating_duration_since(Instant::now());
                let wait = i64::try_from(wait.as_secs()).unwrap_or(i64::MAX);
                Some(now_unix().saturating_add(wait))
            }
            _ => None,
        };
        Self {
            words: format!("the CA: {error}"),
            retry_after_unix,
        }
    }
}

impl From<PkiError> for Failed {
    fn from(error: PkiError) -> Self {
        Self::new(error.to_string())
    }
}

impl Acme {
    /// Gets a certificate, stores and shows it.
    pub(super) async fn obtain(&self) -> Result<Validity, Failed> {
        let pem = self.options.directory_ca_pem.clone();
        // The system's authorities are files, too.
        let made = tokio::task::spawn_blocking(move || CaClient::new(pem.as_deref())).await;
        let client = made
            .map_err(|error| Failed::new(error.to_string()))?
            .map_err(Failed::new)?;
        let obtained = self.order(&client).await;
        obtained.map_err(|mut failed| {
            failed.retry_after_unix = failed.retry_after_unix.max(client.take_retry_after());
            failed
        })
    }

    async fn order(&self, client: &CaClient) -> Result<Validity, Failed> {
        let account = self.account(client).await?;
        let names = &self.options.names;
        let identifiers: Vec<Identifier> = names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        let mut given = Vec::new();
        let validated = self.validate(&mut order, &mut given).await;
        for answer in given {
            self.answers.remove(&answer);
            self.publish.withdraw(answer).await;
        }
        validated?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.clone()).map_err(PkiError::from)?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params
            .serialize_request(key.signing())
            .map_err(PkiError::from)?;
        order.finalize_csr(request.der()).await?;
        let chain = order.poll_certificate(&ISSUANCE).await?;
        let bundle = Bundle::new(key, Chain::from_pem(chain.as_bytes())?)?;
        self.check_names(&bundle)?;
        let validity = self.show(&bundle).map_err(Failed::new)?;
        let stored = self.store.write_certificate(&bundle).await;
        stored.map_err(|error| {
            Failed::new(format!(
                "the certificate is used and could not be stored: {error}"
            ))
        })?;
        Ok(validity)
    }

    /// The account of an earlier attempt, or a new one if there never was one.
    async fn account(&self, client: &CaClient) -> Result<Account, Failed> {
        let builder = Account::builder_with_http(Box::new(client.clone()));
        let store = self.store.clone();
        let read = tokio::task::spawn_blocking(move || store.read_account()).await;
        let read = read.map_err(|error| Failed::new(error.to_string()))?;
        if let Some(credentials) = read.map_err(Failed::new)? {
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contacts: Vec<&str> = self.options.contacts.iter().map(String::as_str).collect();
        let wanted = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder
            .create(&wanted, self.options.directory_url.clone(), None)
            .await?;
        self.store
            .write_account(&credentials)
            .await
            .map_err(Failed::new)?;
        Ok(account)
    }

    async fn validate(&self, order: &mut Order, given: &mut Vec<Answer>) -> Result<(), Failed> {
        let kind = match self.options.challenge {
            ChallengeKind::TlsAlpn => ChallengeType::TlsAlpn01,
            ChallengeKind::Http => ChallengeType::Http01,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => {
                    return Err(Failed::new(format!(
                        "the CA offers an authorization that is {other:?}"
                    )));
                }
            }
            let name = authorization.identifier().to_string();
            let mut challenge = authorization.challenge(kind.clone()).ok_or_else(|| {
                Failed::new(format!(
                    "the CA does not offer to validate {name} like this: {kind:?}"
                ))
            })?;
            let authorized = challenge.key_authorization();
            let answer = match self.options.challenge {
                ChallengeKind::TlsAlpn => Answer::TlsAlpn {
                    name,
                    digest: digest(&authorized)?,
                },
                ChallengeKind::Http => Answer::Http {
                    token: challenge.token.clone(),
                    key_authorization: authorized.as_str().to_owned(),
                },
            };
            given.push(answer.clone());
            self.answers.insert(&answer, now_unix())?;
            let published = self.publish.publish(answer).await;
            published.map_err(|error| {
                Failed::new(format!("other members do not know the answer: {error}"))
            })?;
            challenge.set_ready().await?;
        }
        match order.poll_ready(&VALIDATION).await {
            Ok(OrderStatus::Ready) => Ok(()),
            Ok(_) => Err(self.refusal(order, "nothing more".to_owned()).await),
            Err(Error::Api(problem)) => Err(self.refusal(order, problem.to_string()).await),
            Err(other) => Err(other.into()),
        }
    }

    /// What the CA saw when it looked, and what to do about it.
    async fn refusal(&self, order: &mut Order, said: String) -> Failed {
        let mut seen = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let name = authorization.identifier().to_string();
            let Ok(state) = authorization.refresh().await else {
                continue;
            };
            for problem in state
                .challenges
                .iter()
                .filter_map(|challenge| challenge.error.as_ref())
            {
                let detail = problem
                    .detail
                    .clone()
                    .unwrap_or_else(|| problem.to_string());
                seen.push(format!("{name}: {detail}"));
            }
        }
        let (port, how) = match self.options.challenge {
            ChallengeKind::TlsAlpn => (
                443,
                "the console's port must be 443, or 443 forwarded to it",
            ),
            ChallengeKind::Http => (80, "port 80 must lead to the plain listener"),
        };
        Failed::new(format!(
            "the CA could not see that the names are ours. It always connects to port {port} of each name: {how}. It \
             says: {}",
            if seen.is_empty() {
                said
            } else {
                seen.join("; ")
            }
        ))
    }

    /// Shows it from now on.
    pub(super) fn show(&self, bundle: &Bundle) -> Result<Validity, String> {
        let validity = bundle
            .chain()
            .validity()
            .map_err(|error| error.to_string())?;
        let certified = bundle.certified().map_err(|error| error.to_string())?;
        self.resolver.set_public(Public {
            names: self.options.names.clone(),
            not_after_unix: validity.not_after_unix,
            certified: Arc::new(certified),
        });
        Ok(validity)
    }

    fn check_names(&self, bundle: &Bundle) -> Result<(), Failed> {
        let leaf = webpki::EndEntityCert::try_from(bundle.chain().leaf()).map_err(|error| {
            Failed::new(format!("the CA's certificate cannot be read: {error}"))
        })?;
        for name in &self.options.names {
            let expected = rustls_pki_types::ServerName::try_from(name.as_str())
                .map_err(|error| Failed::new(error.to_string()))?;
            leaf.verify_is_valid_for_subject_name(&expected)
                .map_err(|_| Failed::new(format!("the CA's certificate is not for {name}")))?;
        }
        let validity = bundle.chain().validity()?;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        if now.as_secs() > u64::try_from(validity.not_after_unix).unwrap_or_default() {
            return Err(Failed::new(
                "the CA's certificate is over already: set the clock",
            ));
        }
        Ok(())
    }
}

fn digest(authorized: &instant_acme::KeyAuthorization) -> Result<[u8; 32], Failed> {
    let digest = authorized.digest();
    digest
        .as_ref()
        .try_into()
        .map_err(|_| Failed::new("a SHA-256 digest has 32 bytes"))
}
