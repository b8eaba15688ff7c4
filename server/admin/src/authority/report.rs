//! What there is to see of an authority.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use kvorum_api::{
    CertificateFor, CertificateRow, DenialRow, Denied, OwnAuthority, RootRow, Rotation,
    RotationStage, TokenFor, TokenRow, TokenState,
};
use kvorum_core::trust::{Stage, Trust};
use kvorum_member::Handle;
use kvorum_pki::{Serial, TokenId, Validity, fingerprint};
use kvorum_proto::kvorumpb::{
    CertificateKind, JoinToken, TokenRole, TrustDenial, TrustRoot, trust_denial::Subject,
};
use rustls::pki_types::CertificateDer;

/// Everything, as this member knows it.
pub(super) fn of(handle: &Handle, trust: &Trust) -> OwnAuthority {
    let names = Names::of(handle);
    let domain = trust.domain().iter();
    let mut tokens: Vec<&JoinToken> = trust.tokens().collect();
    tokens.sort_by_key(|token| std::cmp::Reverse(token.created_unix_s));
    let mut denied: Vec<&TrustDenial> =
        trust.denied_serials().chain(trust.denied_users()).collect();
    denied.sort_by_key(|denial| std::cmp::Reverse(denial.since_unix_s));
    OwnAuthority {
        domain: domain.map(|byte| format!("{byte:02x}")).collect(),
        roots: roots(trust),
        issuer_not_after_unix_s: trust.issuer().map_or(0, |issuer| issuer.not_after_unix_s),
        certificates: certificates(trust, &names),
        tokens: tokens.into_iter().map(token).collect(),
        denied: denied.into_iter().filter_map(denial).collect(),
        rotation: rotation(handle, trust, &names),
    }
}

/// Members by id.
struct Names(Vec<(u64, String)>);

impl Names {
    fn of(handle: &Handle) -> Self {
        let members = handle.members().into_iter();
        Self(members.map(|member| (member.id, member.name)).collect())
    }

    fn name(&self, id: u64) -> String {
        let known = self.0.iter().find(|(known, _)| *known == id);
        let name = known.map(|(_, name)| name.clone()).unwrap_or_default();
        if name.is_empty() { hex(id) } else { name }
    }
}

fn roots(trust: &Trust) -> Vec<RootRow> {
    let signing = trust.issuer().map(|issuer| issuer.root);
    let row = |root: &TrustRoot| {
        let der = CertificateDer::from(root.der.to_vec());
        RootRow {
            fingerprint: fingerprint(&der)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            added_unix_s: root.added_unix_s,
            not_after_unix_s: Validity::of(&der).map_or(0, |validity| validity.not_after_unix),
            signs: signing == Some(root.id),
        }
    };
    trust.roots().map(row).collect()
}

fn certificates(trust: &Trust, names: &Names) -> Vec<CertificateRow> {
    let newest = trust.rotation().map(|rotation| rotation.new_root);
    let is_newest = |root: u64| newest.is_none_or(|newest| newest == root);
    let (serials, users) = denied(trust);
    let of_members = trust.acks().map(|ack| {
        let serial = Serial::from_bytes(&ack.serial);
        CertificateRow {
            denied: serials.contains(&serial),
            serial: serial.to_string(),
            kind: CertificateFor::Member,
            subject: names.name(ack.member_id),
            member_id: Some(hex(ack.member_id)),
            not_after_unix_s: ack.not_after_unix_s,
            issued_by: String::new(),
            of_newest_root: is_newest(ack.root),
        }
    });
    let mut of_users: Vec<CertificateRow> = Vec::new();
    for certificate in trust.certificates() {
        let kind = match certificate.kind() {
            CertificateKind::Client => CertificateFor::Client,
            CertificateKind::Admin => CertificateFor::Admin,
            // Members tell of theirs themselves.
            CertificateKind::Node | CertificateKind::Unspecified => continue,
        };
        let serial = Serial::from_bytes(&certificate.serial);
        of_users.push(CertificateRow {
            denied: serials.contains(&serial) || users.contains(certificate.subject.as_str()),
            serial: serial.to_string(),
            kind,
            subject: certificate.subject.clone(),
            member_id: None,
            not_after_unix_s: certificate.not_after_unix_s,
            issued_by: certificate.issued_by.clone(),
            of_newest_root: is_newest(certificate.root),
        });
    }
    of_users
        .sort_by(|a, b| (&a.subject, a.not_after_unix_s).cmp(&(&b.subject, b.not_after_unix_s)));
    of_members.chain(of_users).collect()
}

fn denied(trust: &Trust) -> (BTreeSet<Serial>, BTreeSet<&str>) {
    let serials = trust
        .denied_serials()
        .filter_map(|denial| match &denial.subject {
            Some(Subject::Serial(serial)) => Some(Serial::from_bytes(serial)),
            _ => None,
        });
    let users = trust
        .denied_users()
        .filter_map(|denial| match &denial.subject {
            Some(Subject::User(user)) => Some(user.as_str()),
            _ => None,
        });
    (serials.collect(), users.collect())
}

fn token(token: &JoinToken) -> TokenRow {
    let state = if !token.csr_sha256.is_empty() {
        TokenState::Used
    } else if token.expires_unix_s <= unix_s() {
        TokenState::Expired
    } else {
        TokenState::Open
    };
    let role = match token.role() {
        TokenRole::Learner => TokenFor::Learner,
        TokenRole::Client => TokenFor::Client,
        TokenRole::Rejoin => TokenFor::Rejoin,
        TokenRole::Admin => TokenFor::Admin,
        TokenRole::Voter | TokenRole::Unspecified => TokenFor::Voter,
    };
    TokenRow {
        id: token_id(&token.id),
        role,
        name: token.name.clone(),
        created_by: token.created_by.clone(),
        state,
        expires_unix_s: token.expires_unix_s,
    }
}

/// The public part of a token, as it stands in it.
pub(super) fn token_id(id: &[u8]) -> String {
    let id = <[u8; 10]>::try_from(id);
    id.map_or_else(|_| String::new(), |id| TokenId::from_bytes(id).to_string())
}

fn denial(denial: &TrustDenial) -> Option<DenialRow> {
    let whom = match denial.subject.as_ref()? {
        Subject::Serial(serial) => Denied::Serial(Serial::from_bytes(serial).to_string()),
        Subject::User(user) => Denied::User(user.clone()),
    };
    Some(DenialRow {
        whom,
        since_unix_s: denial.since_unix_s,
        denied_by: denial.denied_by.clone(),
    })
}

fn rotation(handle: &Handle, trust: &Trust, names: &Names) -> Option<Rotation> {
    let begun = trust.rotation()?;
    let progress = handle.trust_progress();
    let stage = match progress.stage {
        // It ended between two looks.
        Stage::None => return None,
        Stage::Bundle => RotationStage::Bundle,
        Stage::Issuer => RotationStage::Issuer,
        Stage::Reissue => RotationStage::Reissue,
        Stage::Grace => RotationStage::Grace,
        Stage::Drop => RotationStage::Drop,
    };
    let named = |ids: Vec<kvorum_core::MemberId>| ids.iter().map(|id| names.name(id.0)).collect();
    let mut unreached = handle.trust_unreached();
    unreached.retain(|id| !begun.without_members.contains(&id.0));
    Some(Rotation {
        stage,
        begun_by: begun.begun_by.clone(),
        begun_unix_s: begun.begun_unix_s,
        waits_for: named(progress.members),
        unreached: named(unreached),
        old_users: progress.users,
        grace_until_unix_s: progress.grace_until_unix_s,
    })
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}

fn unix_s() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX))
}
