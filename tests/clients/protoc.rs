//! Stands in for protoc where a published crate insists on one: `protoc … -o OUT -I DIR … FILE …`, in Rust.

use std::{env, error::Error, fs, path::PathBuf};

use protox::{Compiler, prost::Message as _};

fn main() -> Result<(), Box<dyn Error>> {
    let mut includes = Vec::new();
    let mut files = Vec::new();
    let mut output = None;
    let mut arguments = env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("-o") => output = arguments.next().map(PathBuf::from),
            Some("-I") => includes.extend(arguments.next().map(PathBuf::from)),
            // Imports and comments are always included.
            Some("--include_imports" | "--include_source_info") => {}
            Some(unknown) if unknown.starts_with('-') => {
                return Err(format!("{unknown} is not known here").into());
            }
            _ => files.push(PathBuf::from(argument)),
        }
    }
    let output = output.ok_or("-o FILE is missing")?;
    let mut compiler = Compiler::new(includes)?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(files)?;
    fs::write(output, compiler.file_descriptor_set().encode_to_vec())?;
    Ok(())
}
