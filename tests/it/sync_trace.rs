//! No reply to a put leaves before the sync that covers it, read from the server's own system calls.

mod order;
mod strace;

use std::fs;

use kvorum_tests::process::{Options, TestDir, find_program};

use crate::{both::put, rpc::Rpc};

const CLIENTS: usize = 8;
const PUTS: usize = 40;

/// Calls that move bytes or make them durable; the trace holds these in full.
const CALLS: &str = "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,pwrite64,pwritev,pwritev2,\
                     fsync,fdatasync,open,openat,openat2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reply_leaves_before_the_sync_that_covers_it() {
    let Some(program) = find_program("strace") else {
        println!("SKIP sync trace: strace is not installed");
        return;
    };
    let dir = TestDir::new("sync-trace");
    let trace = dir.path().join("trace");
    let mut options = Options::new(&dir);
    let words = [
        "-f",
        "-yy",
        "-xx",
        "-s",
        "1000000",
        "-e",
        "signal=none",
        "-e",
        CALLS,
        "-o",
    ];
    options.wrapper.push(program.display().to_string());
    options.wrapper.extend(words.map(str::to_owned));
    options.wrapper.push(trace.display().to_string());
    let mut server = options.start();
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let rpc = Rpc::connect(&server.url())
            .await
            .expect("the server accepts connections");
        clients.push(tokio::spawn(async move {
            for number in 0..PUTS {
                rpc.call(put(&name(client, number), "v"))
                    .await
                    .expect("put");
            }
        }));
    }
    for client in clients {
        client.await.expect("a client does not panic");
    }
    server.terminate();
    let text = fs::read_to_string(&trace).expect("strace wrote its trace");
    let calls = strace::parse(&text);
    let names: Vec<String> = (0..CLIENTS)
        .flat_map(|client| (0..PUTS).map(move |number| name(client, number)))
        .collect();
    let folder = options.data_dir.display().to_string();
    match order::check(&calls, &folder, &names) {
        Ok(()) => println!(
            "{} replies, each after its sync; {} calls",
            names.len(),
            calls.len()
        ),
        Err(wrong) => panic!("{wrong}"),
    }
}

/// A key that cannot be part of another one.
fn name(client: usize, number: usize) -> String {
    format!("sync-trace-{client:02}-{number:04}-")
}
