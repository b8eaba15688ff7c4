//! `cargo xtask`: build, run and test kvorum with one command each.

use std::path::Path;
use std::process::ExitCode;

mod ui;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let result = match (std::env::args().nth(1).as_deref(), root) {
        (Some("ui"), Some(root)) => ui::build(root),
        _ => Err(anyhow::anyhow!("usage: cargo xtask ui")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
