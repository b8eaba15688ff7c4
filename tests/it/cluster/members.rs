//! Clusters of real processes: started, killed, stopped and started again, with their peers' traffic through [`Net`].

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use kvorum_proto::etcdserverpb as pb;
use kvorum_tests::{
    process::{Server, TestDir, free_ports, kvorum_bin},
    reference,
};
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::net::{Net, Place};
use crate::{
    both::Side,
    rpc::{Call, Rpc},
};

/// Far above what any election or start takes: a test that gets here has found a hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that has no event to wait for.
const LOOK: Duration = Duration::from_millis(20);
/// A member that does not answer a question about itself within this is taken for absent.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The servers that cluster tests run: kvorum, or the etcd of `KVORUM_TEST_ETCD` with `KVORUM_TEST_CLUSTER_OF=etcd`,
/// to see whether what is expected here holds for etcd too.
pub(crate) fn side() -> Side {
    match std::env::var("KVORUM_TEST_CLUSTER_OF").as_deref() {
        Ok("etcd") => Side::Etcd,
        Ok("kvorum") | Err(_) => Side::Kvorum,
        Ok(other) => panic!("KVORUM_TEST_CLUSTER_OF={other}: kvorum or etcd"),
    }
}

/// One member, running or not.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) server: Option<Server>,
    /// A program and its arguments to run the next process under, as in `strace -f`.
    pub(crate) wrapper: Vec<String>,
    client_port: u16,
    peer_port: u16,
    /// What its peers dial: a front of the [`Net`].
    front_port: u16,
    initial_cluster: String,
    initial_state: &'static str,
}

impl Member {
    pub(crate) fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    pub(crate) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.front_port)
    }

    fn command(&self, side: Side, flags: &[String]) -> Command {
        let program = match side {
            Side::Kvorum => kvorum_bin(),
            Side::Etcd => reference::etcd().expect("KVORUM_TEST_CLUSTER_OF=etcd needs an etcd"),
        };
        let mut command = match self.wrapper.split_first() {
            Some((wrapper, arguments)) => {
                let mut command = Command::new(wrapper);
                command.args(arguments).arg(program);
                command
            }
            None => Command::new(program),
        };
        if side == Side::Etcd {
            // The default since 3.5.
            command.arg("--pre-vote=true");
        } else {
            let none = [
                "--listen-console-url",
                "none",
                "--listen-metrics-urls",
                "none",
            ];
            command.args(["serve", "--log-format", "json"]).args(none);
            command.args(["--client-allow-plain", "true", "--peer-allow-plain", "true"]);
        }
        let listen = format!("http://127.0.0.1:{}", self.peer_port);
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(&self.data_dir)
            .args(["--listen-client-urls", &self.client_url()])
            .args(["--advertise-client-urls", &self.client_url()])
            .args(["--listen-peer-urls", &listen])
            .args(["--initial-advertise-peer-urls", &self.peer_url()])
            .args(["--initial-cluster", &self.initial_cluster])
            .args(["--initial-cluster-state", self.initial_state])
            .args(flags);
        command
    }
}

/// What a member says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) id: u64,
    pub(crate) leader: u64,
    pub(crate) term: u64,
    pub(crate) revision: i64,
    pub(crate) applied: u64,
    pub(crate) is_learner: bool,
}

/// Some members, most of them running.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) side: Side,
    pub(crate) net: Net,
    pub(crate) members: Vec<Member>,
    /// For every member's start.
    pub(crate) flags: Vec<String>,
    dir: TestDir,
}

impl Cluster {
    /// A new cluster of `count` members that serves.
    pub(crate) fn start(name: &str, count: usize) -> Self {
        Self::start_with(name, count, &[])
    }

    /// The same with flags for every member.
    pub(crate) fn start_with(name: &str, count: usize, flags: &[&str]) -> Self {
        let mut cluster = Self::begun(name, count, flags);
        cluster.wait_all_ready();
        cluster
    }

    /// The same, and nobody waits for it.
    pub(crate) fn begun(name: &str, count: usize, flags: &[&str]) -> Self {
        let mut cluster = Self::unborn(name, count, flags);
        let all: Vec<String> = cluster.members.iter().map(named_url).collect();
        for member in &mut cluster.members {
            member.initial_cluster = all.join(",");
        }
        cluster.spawn_all();
        cluster
    }

    /// So many members that know nothing of each other: what no client must ever take for one cluster.
    pub(crate) fn start_apart(name: &str, count: usize) -> Self {
        let mut cluster = Self::unborn(name, count, &[]);
        for member in &mut cluster.members {
            member.initial_cluster = named_url(member);
        }
        cluster.spawn_all();
        cluster.wait_all_ready();
        cluster
    }

    fn unborn(name: &str, count: usize, flags: &[&str]) -> Self {
        let mut cluster = Self {
            side: side(),
            net: Net::new(),
            members: Vec::new(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            dir: TestDir::new(name),
        };
        for _ in 0..count {
            cluster.new_member("new");
        }
        cluster
    }

    fn spawn_all(&mut self) {
        for place in 0..self.members.len() {
            self.spawn(place);
        }
    }

    fn wait_all_ready(&mut self) {
        for place in 0..self.members.len() {
            self.wait_ready(place);
        }
    }

    /// Prepares a member with a name, ports and a folder, and does not start it.
    fn new_member(&mut self, initial_state: &'static str) -> Place {
        let place = self.members.len();
        let name = format!("m{place}");
        let [client_port, peer_port] = free_ports();
        self.members.push(Member {
            data_dir: self.dir.path().join(&name),
            name,
            server: None,
            wrapper: Vec::new(),
            client_port,
            peer_port,
            front_port: self.net.front(place, peer_port),
            initial_cluster: String::new(),
            initial_state,
        });
        place
    }

    /// Starts the process of a member and does not wait.
    pub(crate) fn spawn(&mut self, place: Place) {
        let member = &mut self.members[place];
        let command = member.command(self.side, &self.flags);
        let brand = match self.side {
            Side::Kvorum => "kvorum",
            Side::Etcd => "etcd",
        };
        let server = Server::spawn_on(command, brand, member.client_port);
        self.net.set_pid(place, server.pid());
        member.server = Some(server);
    }

    /// Waits until a member that was spawned serves.
    pub(crate) fn wait_ready(&self, place: Place) {
        let server = self.server(place);
        let ready = server.wait_ready_or_end();
        assert!(ready, "member {place} ended:\n{}", server.log());
    }

    /// Starts a member again and waits until it serves.
    pub(crate) fn restart(&mut self, place: Place) {
        self.spawn(place);
        self.wait_ready(place);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self, place: Place) {
        if let Some(mut server) = self.members[place].server.take() {
            server.kill();
        }
    }

    /// SIGTERM, and waits until the process has ended as one does that was asked to.
    pub(crate) fn stop(&mut self, place: Place) {
        let mut server = self.members[place].server.take().expect("it runs");
        let status = server.terminate();
        // etcd ends by the signal in the end.
        let asked = self.side == Side::Etcd && status.code().is_none();
        assert!(status.success() || asked, "{status}:\n{}", server.log());
    }

    /// Waits until a member ends by itself; returns how, and its log.
    pub(crate) fn wait_exit(&mut self, place: Place) -> (ExitStatus, String) {
        let mut server = self.members[place].server.take().expect("it was started");
        let status = server.wait_exit();
        (status, server.log())
    }

    pub(crate) fn server(&self, place: Place) -> &Server {
        self.members[place].server.as_ref().expect("it runs")
    }

    /// The members whose process was started and not taken down.
    pub(crate) fn running(&self) -> Vec<Place> {
        (0..self.members.len())
            .filter(|place| self.members[*place].server.is_some())
            .collect()
    }

    /// Waits until a member that was spawned answers questions about itself; one that is no voter serves little else.
    pub(crate) async fn wait_up(&self, place: Place) {
        self.told(place).await;
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(Member::client_url).collect()
    }

    pub(crate) fn running_urls(&self) -> Vec<String> {
        self.running_urls_but(usize::MAX)
    }

    pub(crate) fn running_urls_but(&self, absent: Place) -> Vec<String> {
        let places = self.running().into_iter().filter(|place| *place != absent);
        places
            .map(|place| self.members[place].client_url())
            .collect()
    }

    /// Connects to one member.
    pub(crate) async fn rpc(&self, place: Place) -> Rpc {
        Rpc::connect(&self.members[place].client_url())
            .await
            .expect("a running member accepts connections")
    }

    /// Asks one member, on a connection of its own, and waits only so long.
    pub(crate) async fn ask<Q: Call>(&self, place: Place, request: Q) -> Result<Q::Answer, Status> {
        ask(&self.members[place].client_url(), request, ANSWER_MAX).await
    }

    /// A page as the member serves it now, head and all; nothing if it does not in time.
    pub(crate) fn page(&self, place: Place, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.server(place).address()).ok()?;
        // Longer than a server waits for a read that it cannot do.
        stream
            .set_read_timeout(Some(Duration::from_secs(15)))
            .ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// What the member says about itself, if it answers.
    pub(crate) async fn view(&self, place: Place) -> Option<View> {
        let answer = self.ask(place, pb::StatusRequest {}).await.ok()?;
        let header = answer.header?;
        Some(View {
            id: header.member_id,
            leader: answer.leader,
            term: answer.raft_term,
            revision: header.revision,
            applied: answer.raft_applied_index,
            is_learner: answer.is_learner,
        })
    }

    /// The same of a member that must answer, however long that takes.
    pub(crate) async fn told(&self, place: Place) -> View {
        self.until("the member answers", async || self.view(place).await)
            .await
    }

    /// The leader that most members agree on, if there is one now.
    pub(crate) async fn leader_now(&self) -> Option<Place> {
        let mut views = Vec::new();
        for place in self.running() {
            if let Some(view) = self.view(place).await {
                views.push((place, view));
            }
        }
        let own = |(_, view): &&(Place, View)| view.leader == view.id && view.id != 0;
        // A leader that was cut off may not know yet: the newest term decides.
        let (place, leader) = views.iter().filter(own).max_by_key(|(_, view)| view.term)?;
        let agree = views
            .iter()
            .filter(|(_, view)| (view.leader, view.term) == (leader.id, leader.term));
        (agree.count() * 2 > views.len()).then_some(*place)
    }

    /// Waits for a leader.
    pub(crate) async fn leader(&self) -> Place {
        self.until("there is a leader", async || self.leader_now().await)
            .await
    }

    /// Waits for a leader that is not `old`, seen from the others.
    pub(crate) async fn leader_other_than(&self, old: Place) -> Place {
        let another = async || self.leader_now().await.filter(|place| *place != old);
        self.until("there is another leader", another).await
    }

    /// Waits until all running members follow one leader.
    pub(crate) async fn agreed(&self) -> Place {
        self.until("all members follow one leader", async || {
            let leader = self.leader_now().await?;
            let first = self.view(leader).await?;
            for place in self.running() {
                let view = self.view(place).await?;
                if (view.leader, view.term) != (first.id, first.term) {
                    return None;
                }
            }
            Some(leader)
        })
        .await
    }

    /// Waits until all running members follow one leader and have applied the same.
    pub(crate) async fn settled(&self) -> Place {
        self.until("all members are level", async || {
            let leader = self.leader_now().await?;
            let first = self.view(leader).await?;
            for place in self.running() {
                let view = self.view(place).await?;
                let level = (view.leader, view.term, view.revision)
                    == (first.id, first.term, first.revision);
                if !level {
                    return None;
                }
            }
            Some(leader)
        })
        .await
    }

    /// Looks again and again until there is a result.
    pub(crate) async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            if begun.elapsed() > PATIENCE {
                panic!("not within {PATIENCE:?}: {what}; {}", self.describe().await);
            }
            sleep(LOOK).await;
        }
    }

    /// What everyone says, for a test that failed.
    pub(crate) async fn describe(&self) -> String {
        let mut lines = Vec::new();
        for place in self.running() {
            let view = self.view(place).await;
            let log = self.server(place).log();
            let log: Vec<&str> = log.lines().collect();
            let last = log[log.len().saturating_sub(12)..].join("\n    ");
            lines.push(format!("member {place}: {view:?}\n    {last}"));
        }
        lines.join("\n")
    }

    /// Asks for a new member as `etcdctl member add` does; returns its place and id. Its process is not started.
    pub(crate) async fn add_member(&mut self, through: Place, is_learner: bool) -> (Place, u64) {
        let place = self.new_member("existing");
        let request = pb::MemberAddRequest {
            peer_ur_ls: vec![self.members[place].peer_url()],
            is_learner,
        };
        let answer = self.admin(through, request).await;
        let added = answer.member.expect("the answer has the new member").id;
        let own = named_url(&self.members[place]);
        let others = answer.members.iter().filter(|member| member.id != added);
        let mut all: Vec<String> = others
            .flat_map(|member| {
                let name = &member.name;
                member
                    .peer_ur_ls
                    .iter()
                    .map(move |url| format!("{name}={url}"))
            })
            .collect();
        all.push(own);
        self.members[place].initial_cluster = all.join(",");
        (place, added)
    }

    /// A change of the cluster, asked for again while the cluster is not ready for it or changes its leader.
    pub(crate) async fn admin<Q: Call + Clone + std::fmt::Debug>(
        &self,
        through: Place,
        request: Q,
    ) -> Q::Answer {
        let url = self.members[through].client_url();
        let begun = Instant::now();
        loop {
            match ask(&url, request.clone(), Duration::from_secs(15)).await {
                Ok(answer) => return answer,
                Err(status) if begun.elapsed() > PATIENCE => {
                    panic!("{request:?}: {status:?}; {}", self.describe().await)
                }
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

/// One request on a connection of its own.
pub(crate) async fn ask<Q: Call>(
    url: &str,
    request: Q,
    at_most: Duration,
) -> Result<Q::Answer, Status> {
    let asking = async {
        let rpc = Rpc::connect(url)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        rpc.call(request).await
    };
    let late = |_| Status::deadline_exceeded("the test did not wait longer");
    timeout(at_most, asking).await.map_err(late)?
}

fn named_url(member: &Member) -> String {
    format!("{}={}", member.name, member.peer_url())
}
