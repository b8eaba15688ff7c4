//! Maintenance.Downgrade: whether, and to what, the cluster could be downgraded.
//!
//! Requests are checked as etcd checks them. A job is never begun: no earlier version reads this member's files, so
//! ENABLE is refused where etcd would begin one.

use bytes::Bytes;
use kvorum_member::Handle;
use kvorum_proto::etcdserverpb::{
    DowngradeRequest, DowngradeResponse, downgrade_request::DowngradeAction,
};

use crate::{
    error::Status,
    frame::{decode, frame},
    version::CLUSTER_VERSION,
};

/// Major and minor version.
type Version = (i64, i64);

pub(crate) async fn downgrade(handle: &Handle, message: Bytes) -> Result<Bytes, Status> {
    let request: DowngradeRequest = decode(message)?;
    match DowngradeAction::try_from(request.action) {
        Ok(DowngradeAction::Validate) => validate(handle, &request.version).await?,
        Ok(DowngradeAction::Enable) => {
            validate(handle, &request.version).await?;
            return Err(Status::no_earlier_version());
        }
        // There is no job; etcd only logs that there is nothing to cancel.
        Ok(DowngradeAction::Cancel) => handle.read_barrier().await?,
        Err(_) => return Err(Status::unknown_method()),
    }
    frame(&DowngradeResponse {
        header: Some(handle.header(0)),
        version: major_minor(CLUSTER_VERSION),
    })
}

/// A downgrade goes exactly one minor version down.
async fn validate(handle: &Handle, target: &str) -> Result<(), Status> {
    let target = cluster_version(target).ok_or_else(Status::wrong_downgrade_version_format)?;
    handle.read_barrier().await?;
    let current = cluster_version(CLUSTER_VERSION);
    match current {
        Some((major, minor)) if target == (major, minor - 1) => Ok(()),
        _ => Err(Status::invalid_downgrade_target_version()),
    }
}

fn major_minor(version: &str) -> String {
    version
        .rsplit_once('.')
        .map_or(version, |(kept, _)| kept)
        .to_owned()
}

/// Reads `3.5` or a semantic version, of which only major and minor count.
fn cluster_version(text: &str) -> Option<Version> {
    semantic(text).or_else(|| semantic(&format!("{text}.0")))
}

/// As etcd's library reads it: three numbers, then maybe `-pre.release`, then maybe `+metadata`.
fn semantic(text: &str) -> Option<Version> {
    let (text, metadata) = text.split_once('+').unwrap_or((text, ""));
    let (numbers, prerelease) = text.split_once('-').unwrap_or((text, ""));
    let identifiers = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.')
    };
    if !identifiers(metadata) || !identifiers(prerelease) {
        return None;
    }
    let mut parts = numbers.splitn(3, '.').map(number);
    let (major, minor, _patch) = (parts.next()??, parts.next()??, parts.next()??);
    Some((major, minor))
}

fn number(digits: &str) -> Option<i64> {
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What etcd 3.6.14 takes for 3.5, for something else, and for no version at all.
    #[test]
    fn versions_are_read_as_etcd_reads_them() {
        for text in [
            "3.5",
            "3.5.0",
            "3.5.7",
            "3.5.0-rc.1",
            "3.5.0+x",
            "03.5",
            "3.05",
        ] {
            assert_eq!(cluster_version(text), Some((3, 5)), "{text}");
        }
        for (text, version) in [("3.4", (3, 4)), ("2.9", (2, 9)), ("4.5", (4, 5))] {
            assert_eq!(cluster_version(text), Some(version));
        }
        for text in [
            "",
            "x",
            "3",
            "3.5.0.1",
            "v3.5",
            " 3.5",
            "3.5.",
            "-1.5",
            "3.5.x",
            "99999999999999999999.1",
        ] {
            assert_eq!(cluster_version(text), None, "{text}");
        }
    }

    #[test]
    fn the_cluster_version_is_told_without_its_patch() {
        assert_eq!(major_minor("3.6.0"), "3.6");
    }
}
