//! The program that libFuzzer drives: one target, chosen by the environment, as `cargo xtask fuzz` does.
#![no_main]

use std::sync::OnceLock;

use kvorum_fuzz::{TARGETS, Target, find};
use libfuzzer_sys::fuzz_target;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Address space, so that an allocation nobody needed ends the run even if nothing is written to it.
const ADDRESS_BYTES_MAX: u64 = 2 << 30;

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("KVORUM_TEST_FUZZ_TARGET").unwrap_or_default();
        find(&name).unwrap_or_else(|| {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            panic!(
                "KVORUM_TEST_FUZZ_TARGET={name}: there are {}",
                names.join(", ")
            )
        })
    })
}

/// Before the engine reads its folders: the seeds go into the one that the environment names.
fn prepare() {
    if std::env::var("KVORUM_TEST_FUZZ_TARGET").is_ok_and(|name| name == "list") {
        list();
        std::process::exit(0);
    }
    let limit = Rlimit {
        current: Some(ADDRESS_BYTES_MAX),
        maximum: Some(ADDRESS_BYTES_MAX),
    };
    setrlimit(Resource::As, limit).expect("a limit can be lowered");
    let Some(folder) = std::env::var_os("KVORUM_TEST_FUZZ_SEEDS") else {
        return;
    };
    for (number, seed) in (target().seeds)().iter().enumerate() {
        let path = std::path::Path::new(&folder).join(format!("seed-{number:04}"));
        std::fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// For the task that runs them.
#[expect(clippy::print_stdout, reason = "it is what this call is for")]
fn list() {
    for target in TARGETS {
        println!("target {} {}", target.name, target.input_bytes_max);
    }
}

fuzz_target!(init: prepare(), |input: &[u8]| {
    (target().run)(input);
});
