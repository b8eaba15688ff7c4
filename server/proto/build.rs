//! Compiles the .proto files in Rust, so that a build needs no protoc.

use std::{env, fs, path::PathBuf};

use protox::prost::Message as _;

const FILES: [&str; 8] = [
    "rpc.proto",
    "kv.proto",
    "auth.proto",
    "lock.proto",
    "election.proto",
    "lease.proto",
    "health.proto",
    "kvorum.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    prost_build::Config::new()
        // Keys and values are shared, not copied, on their way through the server.
        .bytes(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
