//! When this member's own certificates are due, and new ones for them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kvorum_core::trust::Trust;
use kvorum_pki::files as on_disk;
use kvorum_pki::{
    Bundle, EXPIRED_GRACE_S, Issuer, KeyPair, Serial, Subject, Validity, identity_of, spki_sha256,
};
use kvorum_proto::kvorumpb::TrustIssuer;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::authority::{Authority, der};
use super::files::Files;
use super::live::{join_bundle, signed};
use super::{TrustError, TrustOptions};
use crate::clock::unix_s;

/// The certificate of the join listener is in memory only, and lives for so long at most.
const JOIN_LIFE_S: i64 = 24 * 3600;

/// The certificates of this member.
pub(crate) struct Own {
    pub(crate) node: Bundle,
    pub(crate) console: Option<Bundle>,
    pub(crate) admin: Option<Bundle>,
    pub(crate) join: Option<Bundle>,
    /// What was renewed and nobody has taken note of.
    renewed: Renewed,
    /// A reason to look away that was told already.
    told: Option<&'static str>,
    /// One that should have been renewed, and was told of.
    late: Option<(&'static str, i64)>,
}

/// What was renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Renewed {
    /// Of what members see.
    pub(crate) node: bool,
    /// Of what others see.
    pub(crate) other: bool,
}

/// What a certificate ought to be.
struct Wanted<'a> {
    issuer_spki: [u8; 32],
    /// What stands above it in its chain: nothing of a root that is gone, as some clients (OpenSSL's) follow the first
    /// signature they find and look for no other.
    above: &'a [CertificateDer<'static>],
    names: Option<&'a [String]>,
    jitter: u32,
    now: i64,
    is_current: bool,
    /// Serials that nobody accepts any more.
    denied: &'a BTreeSet<Serial>,
}

impl Wanted<'_> {
    fn fits(&self, bundle: &Bundle) -> bool {
        let chain = bundle.chain();
        let fresh = chain
            .validity()
            // One from the future was made by a clock that was wrong.
            .is_ok_and(|v| v.holds(self.now) && !v.is_due(self.now, self.jitter));
        // Its own certificate may know more than a member that has just begun.
        let is_of_issuer = self.is_of_issuer(bundle) || !self.is_current;
        let named = self
            .names
            .is_none_or(|names| has_names(chain.leaf(), names));
        fresh && is_of_issuer && named
    }

    /// For one that no other member vouches for: what is refused is of no use. A copy of it may have been stolen, or it
    /// is of the member that this one has taken the place of.
    fn accepts(&self, bundle: &Bundle) -> bool {
        let serial = bundle.chain().serial();
        serial.is_ok_and(|serial| !self.denied.contains(&serial)) && self.fits(bundle)
    }

    fn is_of_issuer(&self, bundle: &Bundle) -> bool {
        let mut above = bundle.chain().certificates().iter().skip(1);
        above.any(|c| spki_sha256(c).is_ok_and(|spki| spki == self.issuer_spki))
    }

    /// For those that servers show: clients of many kinds judge the whole chain.
    fn serves(&self, bundle: &Bundle) -> bool {
        let above = bundle.chain().certificates().get(1..).unwrap_or_default();
        let wanted = self.above;
        let is_whole = above.len() == wanted.len() && wanted.iter().all(|c| above.contains(c));
        self.fits(bundle) && (is_whole || !self.is_current)
    }
}

/// What stands above a certificate of this issuer in its chain.
fn above(issuer: &TrustIssuer) -> Vec<CertificateDer<'static>> {
    let cross = Some(&issuer.cross_der).filter(|cross| !cross.is_empty());
    cross.into_iter().chain([&issuer.der]).map(der).collect()
}

/// True if a certificate is valid for exactly these names.
fn has_names(leaf: &[u8], names: &[String]) -> bool {
    let Ok((_, leaf)) = X509Certificate::from_der(leaf) else {
        return false;
    };
    let alternatives = leaf.subject_alternative_name().ok().flatten();
    let found: BTreeSet<String> = alternatives
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => match **bytes {
                [a, b, c, d] => Some(IpAddr::from([a, b, c, d]).to_string()),
                _ => {
                    let bytes = <[u8; 16]>::try_from(*bytes).ok()?;
                    Some(IpAddr::from(bytes).to_string())
                }
            },
            _ => None,
        })
        .collect();
    let plain = |name: &String| {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<IpAddr>();
        address.map_or_else(|_| name.to_ascii_lowercase(), |ip| ip.to_string())
    };
    found == names.iter().map(plain).collect()
}

impl Own {
    pub(crate) fn load(files: &Files) -> Result<Self, TrustError> {
        let admin = files.admin()?;
        if let Some(Err(error)) = admin.as_ref().map(|bundle| files.mend_admin(bundle)) {
            tracing::warn!(%error, "the administrator's files for etcdctl are not those of this member");
        }
        Ok(Self {
            node: files.node()?,
            console: files.console()?,
            admin,
            join: None,
            renewed: Renewed::default(),
            told: None,
            late: None,
        })
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &Bundle)> {
        let all = [
            ("node", Some(&self.node)),
            ("console", self.console.as_ref()),
            ("admin", self.admin.as_ref()),
            ("join", self.join.as_ref()),
        ];
        all.into_iter().filter_map(|(name, b)| Some((name, b?)))
    }

    /// Says when they end, and is loud about those that should have been renewed long ago.
    pub(crate) fn tell_expiry(&mut self, expiry: &prometheus::GaugeVec) {
        let mut late = None;
        for (name, bundle) in self.all() {
            let Ok(validity) = bundle.chain().validity() else {
                continue;
            };
            let gauge = expiry.with_label_values(&[name]);
            gauge.set(validity.not_after_unix as f64);
            if validity.is_nearly_over(unix_s()) {
                late = Some((name, validity.not_after_unix));
            }
        }
        if let Some((certificate, ends_unix_s)) = late.filter(|late| self.late != Some(*late)) {
            tracing::error!(
                certificate,
                ends_unix_s,
                "a certificate of this member ends soon, and it could not be renewed"
            );
        }
        self.late = late;
    }

    /// When the next of them is due.
    pub(crate) fn due_unix_s(&self, jitter: u32) -> i64 {
        let due = self.all();
        let due = due.filter_map(|(_, bundle)| bundle.chain().validity().ok());
        let due = due.map(|validity| validity.renew_at_unix(jitter));
        due.min().unwrap_or(i64::MAX)
    }

    /// What was renewed since the last time, also by an attempt that failed in the middle.
    pub(crate) fn take_renewed(&mut self) -> Renewed {
        std::mem::take(&mut self.renewed)
    }

    /// Renews what is due, where this member may sign for itself.
    pub(crate) fn renew(
        &mut self,
        renewing: &Renewing<'_>,
        files: &Files,
    ) -> Result<(), TrustError> {
        let kept = renewing.trust.issuer();
        let kept = kept.ok_or(TrustError::State("no issuer"))?;
        let spki =
            spki_sha256(&der(&kept.der)).map_err(TrustError::pki("the issuing certificate"))?;
        let names = &renewing.options.names[..];
        let above = above(kept);
        let wanted = |names| Wanted {
            issuer_spki: spki,
            above: &above,
            names,
            jitter: renewing.jitter,
            now: unix_s(),
            is_current: renewing.is_current,
            denied: &renewing.accepted.denied_serials,
        };
        let lacks = |bundle: Option<&Bundle>, names| {
            let serves = |bundle| wanted(names).serves(bundle);
            !bundle.is_some_and(serves)
        };
        let (node, console) = (
            lacks(Some(&self.node), Some(names)) || !self.is_own(renewing),
            lacks(self.console.as_ref(), Some(names)),
        );
        let admin = self.admin.as_ref();
        let admin = !admin.is_some_and(|bundle| wanted(None).accepts(bundle));
        let join = lacks(self.join.as_ref(), None);
        let wishes = node || console || admin || join;
        if !wishes || !self.may_sign(renewing) {
            return Ok(());
        }
        let (issuer, _) = renewing.authority.issuer(renewing.trust)?;
        if node {
            let made = renewing.sign(&issuer, renewing.node(), renewing.options.node_life)?;
            files.write_bundle(on_disk::NODE_PEM, &made)?;
            self.node = made;
            self.renewed.node = true;
        }
        if console {
            let subject = Subject::Console {
                names: renewing.options.names.clone(),
            };
            let made = renewing.sign(&issuer, subject, renewing.options.console_life)?;
            files.write_bundle(on_disk::CONSOLE_PEM, &made)?;
            self.console = Some(made);
            self.renewed.other = true;
        }
        if admin {
            let subject = Subject::Admin {
                user: "root".into(),
            };
            let made = renewing.sign(&issuer, subject, renewing.options.client_life)?;
            files.write_admin(&made)?;
            self.admin = Some(made);
        }
        if join {
            let life_s = JOIN_LIFE_S.min(seconds(renewing.options.node_life));
            let made = join_bundle(&issuer, &renewing.authority.domain, life_s)?;
            self.join = Some(made);
            self.renewed.other = true;
        }
        if node || console || admin {
            tracing::info!(node, console, admin, "renewed certificates of this member");
        }
        Ok(())
    }

    /// False for files that came from another member, or from this one before its cluster was restored.
    fn is_own(&self, renewing: &Renewing<'_>) -> bool {
        let chain = self.node.chain().certificates();
        let id = renewing.options.member_id.0;
        identity_of(chain, Some(&renewing.authority.domain))
            .is_ok_and(|identity| identity.member_id() == Some(id))
    }

    /// Only a member signs for itself, only while nobody has revoked it, and not after a long absence.
    fn may_sign(&mut self, renewing: &Renewing<'_>) -> bool {
        let (serial, validity) = (self.node.chain().serial(), self.node.chain().validity());
        let trust = renewing.trust;
        let is_denied = |serial: &Serial| {
            let mut denied = renewing.accepted.denied_serials.iter();
            denied.any(|denied| denied == serial)
        };
        let late = |v: Validity| unix_s() > v.not_after_unix.saturating_add(EXPIRED_GRACE_S);
        let refusal = if !renewing.is_member || !trust.is_ready() {
            Some("it is no member as far as it knows")
        } else if serial.as_ref().is_ok_and(is_denied) {
            Some("its certificate was revoked; `kvorum rejoin TOKEN` gets another one")
        } else if !renewing.is_alone && validity.is_ok_and(late) {
            Some(
                "its certificate expired more than 30 days ago; `kvorum rejoin TOKEN` gets another one",
            )
        } else {
            None
        };
        if self.told != refusal
            && let Some(reason) = refusal
        {
            tracing::warn!(reason, "this member signs no certificates for itself");
        }
        self.told = refusal;
        refusal.is_none()
    }
}

pub(crate) fn seconds(life: std::time::Duration) -> i64 {
    i64::try_from(life.as_secs()).unwrap_or(i64::MAX).max(1)
}

/// What is known when certificates are renewed.
pub(crate) struct Renewing<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) trust: &'a Trust,
    pub(crate) accepted: &'a kvorum_pki::Trust,
    pub(crate) options: &'a TrustOptions,
    pub(crate) member_name: &'a str,
    pub(crate) is_member: bool,
    /// What it knows of the cluster is what the cluster knew after its start.
    pub(crate) is_current: bool,
    /// Nobody else is: there is nobody who could have removed it meanwhile, and nobody who could let it in again.
    pub(crate) is_alone: bool,
    /// Differs between members.
    pub(crate) jitter: u32,
}

impl Renewing<'_> {
    fn node(&self) -> Subject {
        Subject::Node {
            member_id: self.options.member_id.0,
            member_name: self.member_name.to_owned(),
            names: self.options.names.clone(),
        }
    }

    fn sign(
        &self,
        issuer: &Issuer,
        subject: Subject,
        life: std::time::Duration,
    ) -> Result<Bundle, TrustError> {
        let key = KeyPair::generate().map_err(TrustError::pki("a new key"))?;
        signed(issuer, key, &subject, &self.authority.domain, seconds(life))
    }
}
