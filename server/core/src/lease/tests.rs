//! Scripted tests of the lessor.

use super::{Lessor, Renewal};
use crate::error::Error;
use crate::types::LeaseId;

const ID: LeaseId = LeaseId(7);

fn leader() -> Lessor {
    let mut lessor = Lessor::new(2);
    lessor.promote(0, 0);
    lessor
}

#[test]
fn grants_are_checked_and_raised_to_the_minimum() {
    let mut l = leader();
    assert_eq!(l.grant(LeaseId(0), 10, 0).err(), Some(Error::LeaseNotFound));
    assert_eq!(
        l.grant(ID, 9_000_000_001, 0).err(),
        Some(Error::LeaseTtlTooLarge)
    );
    assert_eq!(l.grant(ID, -5, 0).map(|(ttl, _)| ttl), Ok(2));
    assert_eq!(l.grant(ID, 10, 0).err(), Some(Error::LeaseExists));
}

#[test]
fn a_lease_ends_when_its_time_is_up_and_is_proposed_once() {
    let mut l = leader();
    l.grant(ID, 10, 1000).expect("fresh id");
    assert!(l.take_expired(10_999, 10).is_empty());
    assert_eq!(l.take_expired(11_000, 10), [ID]);
    assert!(l.take_expired(12_000, 10).is_empty());
    assert_eq!(l.renew(ID, 12_000), Renewal::Ending);
    l.expiry_failed(&[ID]);
    assert_eq!(l.take_expired(12_000, 10), [ID]);
}

#[test]
fn renewal_counts_from_now() {
    let mut l = leader();
    l.grant(ID, 10, 0).expect("fresh id");
    let renewed = Renewal::Renewed {
        ttl_s: 10,
        clear_checkpoint: false,
    };
    assert_eq!(l.renew(ID, 9_000), renewed);
    assert!(l.take_expired(18_999, 10).is_empty());
    assert_eq!(
        l.time_left(ID, false, 12_500).map(|t| t.remaining_s),
        Some(6)
    );
    assert_eq!(l.renew(LeaseId(8), 0), Renewal::Unknown);
}

#[test]
fn a_new_leader_goes_on_from_the_checkpoint_and_adds_an_election() {
    let mut l = leader();
    l.grant(ID, 600, 0).expect("fresh id");
    assert_eq!(l.checkpoints(100_000, 60, 10), [(ID, 500)]);
    assert!(l.checkpoint(ID, 500).is_some());
    assert!(
        l.checkpoints(100_000, 60, 10).is_empty(),
        "nothing newer to tell"
    );
    l.demote();
    assert!(
        l.take_expired(u64::MAX, 10).is_empty(),
        "only a leader counts"
    );
    assert_eq!(l.renew(ID, 0), Renewal::NotPrimary);
    l.promote(1_000_000, 1000);
    assert!(l.take_expired(1_500_999, 10).is_empty());
    assert_eq!(
        l.renew(ID, 1_400_000),
        Renewal::Renewed {
            ttl_s: 600,
            clear_checkpoint: true
        }
    );
}
