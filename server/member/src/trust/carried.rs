//! The keys of a member that a snapshot is restored for, where the certificate authority of the cluster before goes on.
//!
//! The authority's keys are in the snapshot, sealed; what opens them is with every member of the cluster before. With both,
//! each member of the new cluster gets its certificate without any of the others.

use std::path::Path;

use kvorum_core::MemberId;
use kvorum_core::trust::Trust;
use kvorum_pki::files as on_disk;
use kvorum_pki::{Issuer, KeyPair, NODE_LIFE_S, Subject, Validity};

use super::TrustError;
use super::authority::{Authority, der};
use super::files::Files;
use super::live::signed;
use crate::clock::unix_s;

/// Names that every member has, besides those in its peer URLs; the running member puts all others in.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A member of the new cluster.
#[derive(Debug)]
pub(crate) struct Heir<'a> {
    pub(crate) member_id: MemberId,
    pub(crate) name: &'a str,
    pub(crate) peer_urls: &'a [String],
}

/// Makes the directory `to` of a restored member: the secrets in `from`, the authority in the snapshot, and a certificate
/// for the member as it is now called. The domain is written last, as at a first start.
pub(crate) fn carry_over(
    from: &Path,
    to: &Path,
    trust: &Trust,
    heir: &Heir<'_>,
) -> Result<(), TrustError> {
    if !trust.is_ready() {
        return Err(TrustError::Foreign(
            "the snapshot holds no certificate authority: leave this out, and the new cluster makes its own".into(),
        ));
    }
    let old = Files::open(from)?;
    let authority = Authority {
        domain: old.domain()?,
        seal_key: old.seal_key()?,
    };
    if trust.domain() != &authority.domain.as_bytes()[..] {
        return Err(TrustError::Foreign(format!(
            "these files are of the trust domain {}, and the snapshot is of another one: give those of a member of the \
             cluster that the snapshot was made of",
            authority.domain
        )));
    }
    let issuer = fresh_issuer(&authority, trust)?;
    let node = Subject::Node {
        member_id: heir.member_id.0,
        member_name: heir.name.to_owned(),
        names: names(heir.peer_urls),
    };
    let key = KeyPair::generate().map_err(TrustError::pki("a new key"))?;
    let node = signed(&issuer, key, &node, &authority.domain, NODE_LIFE_S)?;
    let files = Files::create(to)?;
    files.write(on_disk::SEAL_KEY, authority.seal_key.to_text().as_bytes())?;
    let roots: Vec<_> = trust.roots().map(|root| der(&root.der)).collect();
    files.write_roots(&roots)?;
    files.write_bundle(on_disk::NODE_PEM, &node)?;
    files.write(on_disk::DOMAIN, authority.domain.to_string().as_bytes())
}

/// What the snapshot's certificates are signed with. In an old snapshot its time may be up: then its root vouches for it
/// anew, for this member alone; the leader of the new cluster does it for all.
fn fresh_issuer(authority: &Authority, trust: &Trust) -> Result<Issuer, TrustError> {
    let (issuer, root) = authority.issuer(trust)?;
    let now = unix_s();
    let what = "the issuing certificate";
    let validity = Validity::of(issuer.certificate()).map_err(TrustError::pki(what))?;
    if !validity.is_due(now, 0) {
        return Ok(issuer);
    }
    let root = trust
        .root(root)
        .ok_or(TrustError::State("a root is missing"))?;
    let renewed = authority.root(root)?.renew_issuing(&issuer, now);
    renewed.map_err(TrustError::pki(what))
}

fn names(peer_urls: &[String]) -> Vec<String> {
    let hosts = peer_urls.iter().filter_map(|url| {
        let (_, address) = url.split_once("://")?;
        let (host, _) = address.rsplit_once(':')?;
        Some(host.trim_matches(['[', ']']).to_owned())
    });
    let mut names: Vec<String> = LOOPBACK.map(str::to_owned).into();
    for host in hosts {
        if !names.contains(&host) {
            names.push(host);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_has_the_names_of_its_peer_urls() {
        let urls = [
            "https://a.example:2380",
            "https://[fd00::1]:2380",
            "https://127.0.0.1:1",
        ];
        let names = names(&urls.map(str::to_owned));
        assert_eq!(names[3..], ["a.example", "fd00::1"]);
    }
}
