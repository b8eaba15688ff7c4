//! The version that all members of a cluster can speak. (etcd: server/etcdserver/version/monitor.go)

/// What a new cluster speaks while not every member has told its version.
pub const MIN_CLUSTER_VERSION: &str = "3.0.0";

fn parse(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split(['.', '-', '+']);
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

/// The cluster version to set, if it is to change: the lowest of the members' versions, without the last number. It never
/// goes down, and as long as a member has not told its version it does not go up either.
#[must_use]
pub fn decide<'a>(
    current: Option<&str>,
    members: impl IntoIterator<Item = Option<&'a str>>,
) -> Option<String> {
    let told = members.into_iter().map(|version| version.and_then(parse));
    let lowest = told.collect::<Option<Vec<_>>>();
    let Some((major, minor)) = lowest.and_then(|all| all.into_iter().min()) else {
        return current.is_none().then(|| MIN_CLUSTER_VERSION.to_owned());
    };
    let is_news = current
        .and_then(parse)
        .is_none_or(|now| now < (major, minor));
    is_news.then(|| format!("{major}.{minor}.0"))
}
