//! Three members of one cluster with certificates of its own, on loopback.

use std::time::{Duration, Instant};

use kvorum_tests::process::TestDir;

use super::{Member, Place, join, text, token_of};

/// Far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Three {
    pub(crate) places: Vec<Place>,
    pub(crate) members: Vec<Member>,
}

impl Three {
    /// They vote, and each has all its certificates. All get these flags.
    pub(crate) async fn start(dir: &TestDir, flags: &[&str]) -> Self {
        let mut three = Self {
            places: Vec::new(),
            members: Vec::new(),
        };
        for name in ["a", "b", "c"] {
            let mut place = Place::new(dir, name);
            place.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            if let Some(first) = three.members.first() {
                let line = first.told(&["token", "create"]);
                let joined = join(token_of(&line), &place);
                assert!(joined.status.success(), "{}", text(&joined));
            }
            three.members.push(place.start());
            three.places.push(place);
            three.settled(three.members.len()).await;
        }
        three
    }

    /// Waits until so many vote, and have told the cluster which certificate they show.
    async fn settled(&self, count: usize) {
        let begin = Instant::now();
        loop {
            let status = self.members[0].tool(&["ca", "status"]);
            let list = self.members[0].tool(&["member", "list"]);
            let (status, list) = (text(&status), text(&list));
            let nodes = status.lines().filter(|line| line.starts_with("member "));
            let voters = list.lines().filter(|line| line.ends_with("false"));
            if nodes.count() == count && voters.count() == count && self.have_admins() {
                return;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{status}\n{list}\n{}",
                self.logs()
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until a certificate is on the cluster's list: a member tells of its administrator's a moment after it has
    /// made it.
    pub(crate) async fn lists(&self, serial: &str) {
        let begin = Instant::now();
        loop {
            let list = text(&self.members[0].tool(&["cert", "list"]));
            if list.lines().any(|line| line.starts_with(serial)) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{list}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Each machine can be administered.
    fn have_admins(&self) -> bool {
        self.members
            .iter()
            .all(|member| member.pki("admin.key").exists())
    }

    pub(crate) fn logs(&self) -> String {
        let last = |member: &Member| {
            let log = member.server.log();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(25)..].join("\n")
        };
        let all = self.members.iter().map(last);
        all.collect::<Vec<_>>().join("\n---\n")
    }
}
