//! The published clients' scripts on a cluster: through a follower alone, and with all endpoints.

use std::process::Command;

use super::{members::Cluster, one_at_a_time};
use crate::clients;

/// The address of a follower, and those of all members.
async fn endpoints(cluster: &Cluster) -> (String, String) {
    let leader = cluster.agreed().await;
    let follower = cluster.server((leader + 1) % 3).address();
    let all: Vec<String> = (0..3)
        .map(|place| cluster.server(place).address())
        .collect();
    (follower, all.join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_scripts_pass_through_a_follower_and_with_three_endpoints() {
    let _one = one_at_a_time().await;
    let cluster = Cluster::start("suites", 3);
    let (follower, all) = endpoints(&cluster).await;
    match clients::go_client() {
        Ok(program) => {
            // The first is long and knows leaders' changes from elsewhere, the second expects a lone member.
            let mut command = Command::new(&program);
            command.args([&follower, "fencing", "maintenance"]);
            clients::passes("go-client", "a follower", &mut command);
        }
        Err(why) => clients::skip("Go client on a cluster", &why),
    }
    match clients::python_client() {
        Ok((python, script)) => {
            let mut command = Command::new(python);
            // It expects a lone member.
            let left_out = "status members alarms";
            command.arg(script).args([&follower, left_out]);
            clients::passes("python-client", "a follower", &mut command);
        }
        Err(why) => clients::skip("Python client on a cluster", &why),
    }
    let rust = clients::rust_client();
    let three = |endpoints: &str| {
        let mut command = rust();
        command.arg(endpoints).env("MEMBERS", "3");
        command
    };
    clients::passes("rust-client", "a follower", &mut three(&follower));
    clients::passes("rust-client", "all three", &mut three(&all));
}
