//! Pings of clients: welcome beside calls, too many without.

use h2::{Ping, PingPong};
use kvorum_proto::etcdserverpb::{PutResponse, WatchResponse};
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{
    client::Client,
    served::{Served, served},
    streams::{WATCH, create},
    unary::{PUT, put},
};

async fn pinging(served: &Served) -> (Client, Pinging) {
    let socket = TcpStream::connect(served.address).await.expect("listening");
    let mut handshake = h2::client::Builder::new()
        .handshake(socket)
        .await
        .expect("HTTP/2 is spoken");
    let ping = handshake.1.ping_pong().expect("asked for once");
    let connection = tokio::spawn(handshake.1);
    (Client::of(handshake.0), Pinging { ping, connection })
}

struct Pinging {
    ping: PingPong,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Pinging {
    /// Pings until the server has enough of it; how many were answered, and why no more.
    async fn until_enough(mut self) -> (usize, String) {
        let mut answered = 0;
        while self.ping.ping(Ping::opaque()).await.is_ok() {
            answered += 1;
            assert!(answered < 100, "a hundred pings were answered");
        }
        let ended = self.connection.await.expect("no panic");
        (answered, ended.expect_err("sent away").to_string())
    }
}

#[tokio::test]
async fn idle_pings_end_the_connection_and_say_why() {
    let served = served().await;
    let (_client, pinging) = pinging(&served).await;
    let (answered, why) = pinging.until_enough().await;
    assert!(answered <= 4, "{answered}");
    assert!(why.contains("too_many_pings"), "{why}");
}

#[tokio::test]
async fn hasty_pings_under_a_quiet_watch_end_it() {
    let served = served().await;
    let (client, pinging) = pinging(&served).await;
    let mut watch = client.open(WATCH, &[]).await;
    watch.send(&create("k", 0));
    let created: WatchResponse = watch.next().await.expect("open").expect("an answer");
    assert!(created.created);
    let (answered, why) = pinging.until_enough().await;
    assert!(answered <= 5, "{answered}");
    assert!(why.contains("too_many_pings"), "{why}");
    watch
        .next::<WatchResponse>()
        .await
        .expect_err("gone with its connection");
}

#[tokio::test]
async fn pings_between_answers_are_welcome() {
    let served = served().await;
    let (client, mut pinging) = pinging(&served).await;
    for _ in 0..20 {
        client
            .unary::<PutResponse>(PUT, &put("k", "v"))
            .await
            .expect("stored");
        let pong = pinging.ping.ping(Ping::opaque()).await;
        pong.expect("answered");
    }
}
