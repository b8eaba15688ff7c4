//! The certificate of a member for a place that it did not have before: by a token, or in the stead of itself after its
//! files were lost. The second asks with the certificate of the first, and keeps all other keys.

use std::path::Path;

use bytes::Bytes;
use kvorum_core::MemberId;
use kvorum_core::membership::PeerUrl;
use kvorum_pki::files as on_disk;
use kvorum_pki::{Bundle, Chain, KeyPair, Subject, csr, identity_of};
use kvorum_proto::etcdserverpb as pb;

use super::TrustError;
use super::admin::{Clerk, TrustCallError, Wish};
use super::authority::der;
use super::files::Files;
use crate::handle::Handle;

/// Where keys and certificates are in a data directory.
const PKI: &str = "pki";

/// What is signed for a member. The names of its machine come from the table of members, never from the request; what
/// it calls itself is for people.
pub(super) fn wish<'a>(
    clerk: &Clerk,
    csr_der: &'a [u8],
    member: &pb::Member,
    name: &str,
) -> Wish<'a> {
    let urls = member.peer_ur_ls.iter();
    let hosts = urls.filter_map(|url| PeerUrl::parse(url).ok());
    Wish {
        csr_der,
        subject: Subject::Node {
            member_id: member.id,
            member_name: name.to_owned(),
            names: hosts.map(|url| url.host).collect(),
        },
        // Ends before the one that the member soon makes for itself, which is thus known as the newer one.
        life_s: (clerk.node_life_s - 1).max(1),
    }
}

impl Handle {
    /// The certificate for a member that has taken the place of another, leaf first; none where none was asked for.
    ///
    /// # Errors
    /// The request is none, or this member cannot sign.
    pub(crate) async fn trust_place(
        &self,
        csr_der: &[u8],
        member: &pb::Member,
        name: &str,
    ) -> Result<Vec<Bytes>, TrustCallError> {
        if csr_der.is_empty() {
            return Ok(Vec::new());
        }
        let clerk = self.clerk().await?;
        let wish = wish(&clerk, csr_der, member, name);
        let (chain, _) = clerk.sign(&self.trust(), &wish)?;
        let chain = chain.certificates().iter();
        Ok(chain.map(|c| c.to_vec().into()).collect())
    }
}

/// The keys of a member that asks for another place.
pub(crate) struct NewPlace {
    files: Files,
    key: KeyPair,
    /// What it asks with.
    pub(crate) csr_der: Vec<u8>,
}

impl NewPlace {
    /// For the member in this data directory.
    pub(crate) fn of(data_dir: &Path) -> Result<Self, TrustError> {
        let files = Files::open(&data_dir.join(PKI))?;
        let key = KeyPair::generate().map_err(TrustError::pki("a new key"))?;
        let csr_der = csr::create(&key);
        let csr_der = csr_der.map_err(TrustError::pki("a request for a certificate"))?;
        Ok(Self {
            files,
            key,
            csr_der,
        })
    }

    /// From now on its certificate is this one.
    pub(crate) fn take(self, chain_der: &[Bytes]) -> Result<(), TrustError> {
        let wrong = TrustError::pki("the certificate for the new place");
        let chain = Chain::new(chain_der.iter().map(der).collect());
        let bundle = chain.and_then(|chain| Bundle::new(self.key, chain));
        let bundle = bundle.map_err(wrong)?;
        self.files.write_bundle(on_disk::NODE_PEM, &bundle)
    }
}

/// Whether the certificate in this data directory is of that member.
pub(crate) fn is_at(data_dir: &Path, member: MemberId) -> Result<bool, TrustError> {
    let files = Files::open(&data_dir.join(PKI))?;
    let domain = files.domain()?;
    let node = files.node()?;
    let identity = identity_of(node.chain().certificates(), Some(&domain));
    Ok(identity.is_ok_and(|identity| identity.member_id() == Some(member.0)))
}
