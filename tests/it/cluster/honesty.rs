//! Whether a wrong cluster would be noticed.

use super::{
    load::{Load, Size},
    members::Cluster,
    one_at_a_time, seed, verdict,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_that_are_no_cluster_are_found_out() {
    let _one = one_at_a_time().await;
    let cluster = Cluster::start_apart("apart", 3);
    let load = Load::start(cluster.urls(), Size::usual(seed().next()));
    load.progress(100).await;
    let history = load.stop().await;
    let log = verdict::read_log(&cluster.rpc(0).await).await;
    let wrong = verdict::judge_log(&history, &log.expect("one history of three"));
    let wrong = wrong.expect_err("each of the three took writes of its own");
    let first: String = wrong.chars().take(120).collect();
    println!("three servers that are no cluster: {first} …");
}
