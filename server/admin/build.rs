//! Embeds the console's files, or a page that says how to build them.
//!
//! Takes what `cargo xtask` left in `target/ui/dist` (or where `KVORUM_UI_DIST` points): every file with its brotli and
//! gzip copy. Without it the server still builds, so that `cargo test` needs no WebAssembly toolchain.

use std::env;
use std::fmt::Write;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-env-changed=KVORUM_UI_DIST");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=src/placeholder.html");
    let dist = dist()?;
    println!("cargo:rerun-if-changed={}", dist.display());
    let files = if dist.join("index.html").exists() {
        files_of(&dist)?
    } else {
        vec![(
            "index.html".to_owned(),
            from_manifest("src/placeholder.html"),
        )]
    };
    let mut code = String::from("const ASSETS: &[Asset] = &[\n");
    for (name, path) in files {
        code.push_str(&asset(&name, &path)?);
    }
    code.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("assets.rs"), code)
}

fn from_manifest(path: &str) -> PathBuf {
    Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR")).join(path)
}

/// The folder to embed. It is made if absent: cargo watches only what exists, and would run this script every time.
fn dist() -> io::Result<PathBuf> {
    if let Some(named) = env::var_os("KVORUM_UI_DIST") {
        return Ok(PathBuf::from(named));
    }
    let dist = from_manifest("../../target/ui/dist");
    fs::create_dir_all(&dist)?;
    dist.canonicalize()
}

/// Names and paths, without the compressed copies, in an order that does not depend on the file system.
fn files_of(dist: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dist)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.ends_with(".br") && !name.ends_with(".gz") {
            files.push((name, path));
        }
    }
    files.sort();
    Ok(files)
}

fn asset(name: &str, path: &Path) -> io::Result<String> {
    let mut hash = DefaultHasher::new();
    fs::read(path)?.hash(&mut hash);
    let etag = format!("\"{:016x}\"", hash.finish());
    let mut code = String::new();
    let _ = writeln!(
        code,
        "    Asset {{ name: {name:?}, etag: {etag:?}, plain: include_bytes!({path:?}), brotli: {}, gzip: {} }},",
        copy(path, "br"),
        copy(path, "gz"),
    );
    Ok(code)
}

/// An expression for the compressed copy of a file, if there is one.
fn copy(path: &Path, suffix: &str) -> String {
    let mut copy = path.as_os_str().to_owned();
    copy.push(format!(".{suffix}"));
    let copy = PathBuf::from(copy);
    if copy.exists() {
        format!("Some(include_bytes!({copy:?}))")
    } else {
        "None".to_owned()
    }
}
