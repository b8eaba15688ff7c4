//! Lays out what the browser loads: names that carry the hash of their content, and compressed copies beside them.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Files whose names get a hash, in the order in which they refer to each other: a later one may name an earlier one.
const HASHED: [(Source, &str); 6] = [
    (Source::Bound, "kvorum_bg.wasm"),
    (Source::Bound, "kvorum.js"),
    (Source::Assets, "console.css"),
    (Source::Assets, "theme.js"),
    (Source::Assets, "icon.svg"),
    (Source::Assets, "boot.js"),
];
const PAGE: &str = "index.html";

/// Where a file comes from.
#[derive(Clone, Copy)]
enum Source {
    Assets,
    Bound,
}

/// What a first visit downloads.
pub(super) struct Sizes {
    plain_bytes: usize,
    brotli_bytes: usize,
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (plain, brotli) = (self.plain_bytes / 1000, self.brotli_bytes / 1000);
        write!(f, "{plain} kB plain, {brotli} kB as brotli")
    }
}

/// Fills `dist` from the hand-made `assets` and the output of wasm-bindgen in `bound`.
pub(super) fn assemble(assets: &Path, bound: &Path, dist: &Path) -> Result<Sizes> {
    // Built beside and then moved, so that an interrupted run leaves the old console in place.
    let fresh = dist.with_extension("new");
    clear(&fresh)?;
    fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
    let mut sizes = Sizes {
        plain_bytes: 0,
        brotli_bytes: 0,
    };
    let mut renamed: Vec<(&str, String)> = Vec::new();
    for (source, name) in HASHED {
        let folder = match source {
            Source::Assets => assets,
            Source::Bound => bound,
        };
        let bytes = read(&folder.join(name))?;
        let bytes = if name.ends_with(".wasm") {
            bytes
        } else {
            refer(&bytes, &renamed)
        };
        let hashed = hashed_name(name, &bytes);
        store(&fresh.join(&hashed), &bytes, &mut sizes)?;
        renamed.push((name, hashed));
    }
    let page = refer(&read(&assets.join(PAGE))?, &renamed);
    store(&fresh.join(PAGE), &page, &mut sizes)?;
    clear(dist)?;
    fs::rename(&fresh, dist).with_context(|| format!("move to {}", dist.display()))?;
    Ok(sizes)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

fn clear(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("clear {}", folder.display()))?;
    }
    Ok(())
}

/// Puts the hashed names where the text names the plain ones, each written as `/name`.
fn refer(text: &[u8], renamed: &[(&str, String)]) -> Vec<u8> {
    let mut text = String::from_utf8_lossy(text).into_owned();
    for (name, hashed) in renamed {
        text = text.replace(&format!("/{name}"), &format!("/{hashed}"));
    }
    text.into_bytes()
}

/// `kvorum.js` becomes `kvorum-1f0c….js`.
fn hashed_name(name: &str, bytes: &[u8]) -> String {
    let hash = blake3::hash(bytes).to_hex();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    format!("{stem}-{}.{extension}", &hash[..16])
}

fn store(path: &Path, bytes: &[u8], sizes: &mut Sizes) -> Result<()> {
    let brotli = brotli(bytes)?;
    write(path.to_owned(), bytes)?;
    write(with_suffix(path, ".gz"), &gzip(bytes)?)?;
    write(with_suffix(path, ".br"), &brotli)?;
    sizes.plain_bytes += bytes.len();
    sizes.brotli_bytes += brotli.len();
    Ok(())
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<()> {
    fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn brotli(bytes: &[u8]) -> Result<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: 11,
        lgwin: 22,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &bytes[..], &mut compressed, &parameters).context("brotli")?;
    Ok(compressed)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).context("gzip")?;
    encoder.finish().context("gzip")
}
