//! The console's pipeline: Rust to WebAssembly, wasm-bindgen, content-hashed names, compressed copies.
//!
//! The result stands in `target/ui/dist`, where `server/admin/build.rs` takes it. It is kept until one of its inputs
//! changes, so that work on the server never rebuilds it.

mod dist;
mod inputs;
mod toolchain;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use toolchain::Toolchain;

/// Brings `target/ui/dist` up to date.
///
/// # Errors
/// No toolchain for wasm32 can be had, the console does not compile, or `target/` cannot be written.
pub(crate) fn build(repo_root: &Path) -> Result<()> {
    let out = repo_root.join("target/ui");
    let dist = out.join("dist");
    let stamp = out.join("inputs.blake3");
    let wanted = inputs::fingerprint(repo_root)?;
    let built = std::fs::read_to_string(&stamp).unwrap_or_default();
    if built == wanted && dist.join("index.html").exists() {
        eprintln!("console: unchanged, kept ({})", &wanted[..12]);
        return Ok(());
    }
    let begun = Instant::now();
    let wasm = Toolchain::find()?.compile(repo_root)?;
    eprintln!("console: binding and compressing");
    let bound = out.join("bindgen");
    bind(&wasm, &bound)?;
    let sizes = dist::assemble(&repo_root.join("assets"), &bound, &dist)?;
    std::fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))?;
    eprintln!("console: built in {} s; {sizes}", begun.elapsed().as_secs());
    Ok(())
}

/// Runs wasm-bindgen: `kvorum.js` and `kvorum_bg.wasm` in `out`.
fn bind(wasm: &Path, out: &Path) -> Result<()> {
    if out.exists() {
        std::fs::remove_dir_all(out).with_context(|| format!("clear {}", out.display()))?;
    }
    Bindgen::new()
        .input_path(wasm)
        .out_name("kvorum")
        .web(true)?
        .typescript(false)
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(out)
        .context("wasm-bindgen")
}
