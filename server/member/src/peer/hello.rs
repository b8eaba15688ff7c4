//! Who may connect: the greeting, the rules it is judged by, and the words for each refusal.

use std::collections::BTreeSet;

use kvorum_core::{ClusterId, MemberId};
use kvorum_proto::kvorumpb::{Hello, PeerLane, PeerRefusal, PeerRefusalReason as Reason, Welcome};

/// The newest version of the protocol that this build speaks.
pub(crate) const PROTOCOL: u32 = 1;
/// The oldest.
pub(crate) const PROTOCOL_MIN: u32 = 1;
/// What this build is.
pub(crate) const SERVER_VERSION: &str = concat!("3.6.0+kvorum.", env!("CARGO_PKG_VERSION"));

/// Who this member is, once it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The member.
    pub member_id: MemberId,
    /// One per process.
    pub boot: u64,
}

/// Somebody who may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    /// The member; none for somebody who only asks and has no cluster yet.
    pub(crate) from: Option<MemberId>,
    pub(crate) lane: PeerLane,
}

/// Judges a greeting.
///
/// A sender that this member has not heard of is let in if it knows the cluster: it may have been added while this
/// member was away, and only the log that it brings will say so.
pub(crate) fn judge(
    hello: &Hello,
    home: Option<PeerIdentity>,
    removed: &BTreeSet<MemberId>,
) -> Result<Guest, Reason> {
    let lane = hello.lane();
    if hello.protocol_min > PROTOCOL || hello.protocol < PROTOCOL_MIN {
        return Err(Reason::Protocol);
    }
    if hello.protocol_min > hello.protocol || lane == PeerLane::Unspecified {
        return Err(Reason::Malformed);
    }
    if hello.cluster_id == 0 {
        return match lane {
            PeerLane::Bulk => Ok(Guest { from: None, lane }),
            _ => Err(Reason::Malformed),
        };
    }
    let home = home.ok_or(Reason::Starting)?;
    let from = MemberId(hello.from);
    if hello.cluster_id != home.cluster_id.0 {
        return Err(Reason::WrongCluster);
    }
    if hello.from == 0 || (hello.to == 0 && lane != PeerLane::Bulk) {
        return Err(Reason::Malformed);
    }
    if from == home.member_id {
        return Err(Reason::Self_);
    }
    // Who was replaced may still ask: the answer that told it so may have been lost.
    if removed.contains(&from) && lane != PeerLane::Bulk {
        return Err(Reason::Removed);
    }
    if hello.to != home.member_id.0 && hello.to != 0 {
        return Err(Reason::WrongMember);
    }
    Ok(Guest {
        from: Some(from),
        lane,
    })
}

/// The answer to a greeting that is accepted.
pub(crate) fn welcome(home: Option<PeerIdentity>, hello: &Hello) -> Welcome {
    Welcome {
        protocol: PROTOCOL.min(hello.protocol),
        cluster_id: home.map_or(0, |home| home.cluster_id.0),
        member_id: home.map_or(0, |home| home.member_id.0),
        boot: home.map_or(0, |home| home.boot),
        server_version: SERVER_VERSION.into(),
    }
}

/// The answer to a greeting that is not.
pub(crate) fn refusal(reason: Reason, home: Option<PeerIdentity>) -> PeerRefusal {
    PeerRefusal {
        reason: reason.into(),
        cluster_id: home.map_or(0, |home| home.cluster_id.0),
        member_id: home.map_or(0, |home| home.member_id.0),
        protocol: PROTOCOL,
        protocol_min: PROTOCOL_MIN,
        server_version: SERVER_VERSION.into(),
    }
}

/// A refusal in a few words.
pub(crate) fn refusal_name(refusal: &PeerRefusal) -> &'static str {
    match refusal.reason() {
        Reason::Unspecified => "refused without a reason",
        Reason::WrongCluster => "the peer belongs to another cluster",
        Reason::WrongMember => "another member lives at this address",
        Reason::Removed => "the member has been permanently removed from the cluster",
        Reason::Protocol => "the peer speaks another version of the protocol",
        Reason::Self_ => "the address leads back to this member, or the peer has the same id",
        Reason::Starting => "the peer is still starting",
        Reason::Busy => "the peer has no room for another connection",
        Reason::Malformed => "the peer cannot make sense of the greeting",
    }
}

/// What an operator is told about a refusal: whose fault it may be, and what to look at.
pub(crate) fn explain(refusal: &PeerRefusal, hello: &Hello) -> String {
    let name = refusal_name(refusal);
    match refusal.reason() {
        Reason::WrongCluster => format!(
            "{name}: it is in cluster {:x}, this member in {:x}; look at the peer URLs and at the data directories of \
             both",
            refusal.cluster_id, hello.cluster_id
        ),
        Reason::WrongMember => format!(
            "{name}: {:x} answers where {:x} was expected; an address or a data directory was swapped",
            refusal.member_id, hello.to
        ),
        Reason::Protocol => format!(
            "{name}: it ({}) speaks {} to {}, this member ({SERVER_VERSION}) {} to {}; update the older one",
            refusal.server_version,
            refusal.protocol_min,
            refusal.protocol,
            hello.protocol_min,
            hello.protocol
        ),
        Reason::Self_ => format!(
            "{name}: {:x} dialled {:x}; look at the peer URLs, and for a copied data directory",
            hello.from, hello.to
        ),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: PeerIdentity = PeerIdentity {
        cluster_id: ClusterId(7),
        member_id: MemberId(1),
        boot: 11,
    };

    fn hello() -> Hello {
        Hello {
            protocol: PROTOCOL,
            protocol_min: PROTOCOL_MIN,
            cluster_id: 7,
            from: 2,
            to: 1,
            boot: 22,
            server_version: "1.0.0".into(),
            lane: PeerLane::Append.into(),
            peer_urls: Vec::new(),
        }
    }

    fn judged(change: impl FnOnce(&mut Hello)) -> Result<Guest, Reason> {
        let mut hello = hello();
        change(&mut hello);
        judge(&hello, Some(HOME), &BTreeSet::from([MemberId(9)]))
    }

    #[test]
    fn members_are_let_in_also_ones_that_nobody_told_us_of() {
        let guest = judged(|_| ()).expect("a member");
        assert_eq!(guest.from, Some(MemberId(2)));
        judged(|hello| hello.from = 12_345).expect("it may have been added while we were away");
    }

    #[test]
    fn each_wrong_greeting_has_its_reason() {
        type Change = fn(&mut Hello);
        let cases: [(Change, Reason); 11] = [
            (|h| h.cluster_id = 8, Reason::WrongCluster),
            (|h| h.to = 3, Reason::WrongMember),
            (|h| h.from = 9, Reason::Removed),
            (|h| h.from = 1, Reason::Self_),
            (|h| h.from = 0, Reason::Malformed),
            (|h| h.to = 0, Reason::Malformed),
            (|h| h.lane = 0, Reason::Malformed),
            (|h| h.lane = 77, Reason::Malformed),
            (|h| h.cluster_id = 0, Reason::Malformed),
            (|h| (h.protocol_min, h.protocol) = (2, 9), Reason::Protocol),
            (|h| (h.protocol_min, h.protocol) = (0, 0), Reason::Protocol),
        ];
        for (change, reason) in cases {
            assert_eq!(judged(change), Err(reason));
        }
    }

    #[test]
    fn strangers_may_ask_and_nothing_else() {
        let asker = |h: &mut Hello| {
            h.cluster_id = 0;
            h.from = 0;
            h.to = 0;
            h.lane = PeerLane::Bulk.into();
        };
        assert_eq!(judged(asker).expect("may ask").from, None);
        let mut hello = hello();
        assert_eq!(
            judge(&hello, None, &BTreeSet::new()),
            Err(Reason::Starting),
            "nobody is home yet"
        );
        asker(&mut hello);
        judge(&hello, None, &BTreeSet::new()).expect("may ask a starting member, too");
    }

    #[test]
    fn who_was_removed_may_still_ask_what_became_of_it() {
        judged(|h| (h.from, h.lane) = (9, PeerLane::Bulk.into())).expect("may ask");
    }

    #[test]
    fn a_newer_sender_that_speaks_our_version_is_let_in() {
        judged(|h| h.protocol = 9).expect("speaks 1 to 9");
        let mut newer = hello();
        newer.protocol = 9;
        assert_eq!(welcome(Some(HOME), &newer).protocol, PROTOCOL);
    }

    #[test]
    fn explanations_name_both_sides() {
        let text = |reason| explain(&refusal(reason, Some(HOME)), &hello());
        assert!(text(Reason::WrongCluster).contains("cluster 7"));
        assert!(text(Reason::WrongMember).contains("1 answers where 1 was expected"));
        assert_eq!(
            text(Reason::Removed),
            "the member has been permanently removed from the cluster"
        );
        assert!(text(Reason::Protocol).contains("update the older one"));
    }
}
