//! Runs the published Rust client (`etcd-client`) against one server and checks every answer.
//!
//! Prints `ok NAME` or `FAIL NAME: why` for each check and ends with 1 if one failed.

mod kv;
mod lease;
mod txn;
mod watch;

use std::{error::Error, fmt::Debug, future::Future, pin::Pin, process::ExitCode, time::Duration};

use etcd_client::{Client, DeleteOptions};

/// Far above what any check takes; one that gets here has found a hang.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) type Outcome = Result<(), Box<dyn Error>>;
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;
pub(crate) type Check = (&'static str, fn(&mut Client) -> Running<'_>);

/// Names an async function as a check.
macro_rules! check {
    ($name:literal, $function:path) => {
        ($name, |client| Box::pin($function(client)))
    };
}
pub(crate) use check;

pub(crate) fn equal<T: PartialEq + Debug>(got: T, want: T) -> Outcome {
    if got == want { Ok(()) } else { Err(format!("got {got:?}, want {want:?}").into()) }
}

/// The answer must be a refusal with exactly this text.
pub(crate) fn refused<T: Debug>(answer: Result<T, etcd_client::Error>, text: &str) -> Outcome {
    match answer {
        Err(etcd_client::Error::GRpcStatus(status)) => equal(status.message(), text),
        other => Err(format!("got {other:?}, want {text:?}").into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(endpoint) = std::env::args().nth(1) else {
        eprintln!("usage: rust-client HOST:PORT[,HOST:PORT...]");
        return ExitCode::from(2);
    };
    if let Err(why) = clear(&endpoint).await {
        println!("FAIL to delete what an earlier run left: {why}");
        return ExitCode::from(1);
    }
    let mut failed = false;
    for (name, run) in [kv::CHECKS, txn::CHECKS, watch::CHECKS, lease::CHECKS].concat() {
        match one(&endpoint, run).await {
            Ok(()) => println!("ok {name}"),
            Err(why) => {
                failed = true;
                println!("FAIL {name}: {why}");
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

/// The checks expect keys that do not exist; one server may be given to them twice.
async fn clear(endpoint: &str) -> Outcome {
    let mut client = connect(endpoint).await?;
    let prefix = DeleteOptions::new().with_prefix();
    client.delete("rs/", Some(prefix)).await?;
    Ok(())
}

async fn connect(endpoint: &str) -> Result<Client, etcd_client::Error> {
    Client::connect(endpoint.split(',').collect::<Vec<_>>(), None).await
}

async fn one(endpoint: &str, run: fn(&mut Client) -> Running<'_>) -> Outcome {
    let mut client = connect(endpoint).await?;
    tokio::time::timeout(TIMEOUT, run(&mut client)).await?
}
