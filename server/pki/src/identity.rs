//! Who a certificate stands for.

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName};
use x509_parser::prelude::X509Certificate;

use crate::chain::{fingerprint, parsed};
use crate::subject::{SCHEME, unescape};
use crate::{Refused, Serial, TrustDomain, Validity};

/// Who a certificate stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityKind {
    /// A member, by its id.
    Node(u64),
    /// A client that acts as this user.
    Client(String),
    /// A client that acts as this user and may administer the cluster.
    Admin(String),
    /// The console or the join listener: nobody, as a client.
    Server,
    /// Of an authority that is not the cluster's own, whatever its certificates say.
    Foreign,
}

/// What is known of who is on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub kind: IdentityKind,
    /// The common name, for people; empty if there is none.
    pub common_name: String,
    /// What a revocation would name.
    pub serial: Serial,
    /// When the first certificate on the way to the root ends.
    pub not_after_unix: i64,
    /// SHA-256 of the leaf.
    pub fingerprint: [u8; 32],
    /// SHA-256 of the key of the CA that signed the leaf; zeros if it was not looked for.
    pub issuer_spki_sha256: [u8; 32],
    /// SHA-256 of the key of the root; zeros if it was not looked for.
    pub root_spki_sha256: [u8; 32],
}

impl Identity {
    /// The user that a request on the connection acts as, if no token says otherwise. A member is not a user, even
    /// if it is called like one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        match &self.kind {
            IdentityKind::Client(user) | IdentityKind::Admin(user) => Some(user),
            IdentityKind::Foreign if !self.common_name.is_empty() => Some(&self.common_name),
            IdentityKind::Foreign | IdentityKind::Node(_) | IdentityKind::Server => None,
        }
    }

    /// Whether it may administer the cluster.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        matches!(self.kind, IdentityKind::Admin(_))
    }

    /// The member, if it is one.
    #[must_use]
    pub fn member_id(&self) -> Option<u64> {
        match self.kind {
            IdentityKind::Node(member_id) => Some(member_id),
            _ => None,
        }
    }

    /// For a message: what it is.
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.kind {
            IdentityKind::Node(member_id) => format!("the certificate of member {member_id:x}"),
            IdentityKind::Client(user) => format!("a certificate of client {user:?}"),
            IdentityKind::Admin(user) => format!("a certificate of administrator {user:?}"),
            IdentityKind::Server => {
                "a certificate of the console or of the join listener".to_owned()
            }
            IdentityKind::Foreign => format!(
                "a certificate of another authority, for {:?}",
                self.common_name
            ),
        }
    }
}

/// What stands in a leaf.
pub(crate) struct Leaf {
    pub(crate) validity: Validity,
    pub(crate) usages: Usages,
    /// Where the URI says that it belongs, and to whom there; none without a URI of ours.
    claim: Option<(TrustDomain, IdentityKind)>,
    common_name: String,
    serial: Serial,
    fingerprint: [u8; 32],
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usages {
    pub(crate) server: bool,
    pub(crate) client: bool,
}

impl Leaf {
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Result<Self, Refused> {
        let unreadable = |error: crate::PkiError| Refused::Unreadable(error.to_string());
        let read = parsed(certificate).map_err(unreadable)?;
        let name = read.subject().iter_common_name().next();
        Ok(Self {
            validity: Validity {
                not_before_unix: read.validity().not_before.timestamp(),
                not_after_unix: read.validity().not_after.timestamp(),
            },
            usages: usages(&read)?,
            claim: claim(&read)?,
            common_name: name
                .and_then(|name| name.as_str().ok())
                .unwrap_or_default()
                .to_owned(),
            serial: Serial::from_bytes(read.raw_serial()),
            fingerprint: fingerprint(certificate),
        })
    }

    /// The domain that its URI names.
    pub(crate) fn domain(&self) -> Option<TrustDomain> {
        self.claim.as_ref().map(|(domain, _)| *domain)
    }

    /// Of an authority that is not the cluster's own.
    pub(crate) fn foreign(self) -> Identity {
        self.identity(IdentityKind::Foreign)
    }

    /// Of the cluster's own authority.
    pub(crate) fn own(self, domain: &TrustDomain) -> Result<Identity, Refused> {
        let kind = match &self.claim {
            Some((theirs, _)) if theirs != domain => {
                return Err(Refused::OtherDomain {
                    theirs: *theirs,
                    ours: *domain,
                });
            }
            Some((_, kind)) => kind.clone(),
            None if self.usages.client => {
                return Err(Refused::NoIdentity("it has no kvorum:// URI"));
            }
            None => IdentityKind::Server,
        };
        Ok(self.identity(kind))
    }

    fn identity(self, kind: IdentityKind) -> Identity {
        Identity {
            kind,
            common_name: self.common_name,
            serial: self.serial,
            not_after_unix: self.validity.not_after_unix,
            fingerprint: self.fingerprint,
            issuer_spki_sha256: [0; 32],
            root_spki_sha256: [0; 32],
        }
    }
}

/// Reads who a certificate is for and verifies nothing: for lists and messages, not for decisions. Without a domain,
/// everything is foreign.
///
/// # Errors
///
/// It cannot be read, belongs to another domain, or names nobody.
pub fn identity_of(
    chain: &[CertificateDer<'_>],
    domain: Option<&TrustDomain>,
) -> Result<Identity, Refused> {
    let leaf = Leaf::read(chain.first().ok_or(Refused::NoCertificate)?)?;
    match domain {
        Some(domain) => leaf.own(domain),
        None => Ok(leaf.foreign()),
    }
}

fn usages(certificate: &X509Certificate<'_>) -> Result<Usages, Refused> {
    let usages = certificate
        .extended_key_usage()
        .map_err(|error| Refused::Unreadable(error.to_string()))?;
    Ok(usages.map_or(Usages::default(), |usages| {
        let ExtendedKeyUsage {
            server_auth,
            client_auth,
            ..
        } = *usages.value;
        Usages {
            server: server_auth,
            client: client_auth,
        }
    }))
}

/// The one URI of ours. Two would be two identities.
fn claim(
    certificate: &X509Certificate<'_>,
) -> Result<Option<(TrustDomain, IdentityKind)>, Refused> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| Refused::Unreadable(error.to_string()))?;
    let Some(names) = names else { return Ok(None) };
    let mut ours = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(SCHEME),
            _ => None,
        });
    let Some(uri) = ours.next() else {
        return Ok(None);
    };
    if ours.next().is_some() {
        return Err(Refused::NoIdentity("it has more than one kvorum:// URI"));
    }
    let malformed = Refused::NoIdentity("its kvorum:// URI is not one that kvorum makes");
    parse_claim(uri).map(Some).ok_or(malformed)
}

fn parse_claim(uri: &str) -> Option<(TrustDomain, IdentityKind)> {
    let (domain, path) = uri.split_once('/')?;
    let (kind, who) = path.split_once('/')?;
    let kind = match kind {
        "node" => {
            let member_id = u64::from_str_radix(who, 16).ok()?;
            // One text for one member.
            (format!("{member_id:x}") == who).then_some(IdentityKind::Node(member_id))?
        }
        "client" => IdentityKind::Client(unescape(who)?),
        "admin" => IdentityKind::Admin(unescape(who)?),
        _ => return None,
    };
    Some((domain.parse().ok()?, kind))
}
