//! Compiles the .proto files in Rust, so that a build needs no protoc, and writes down the shape of etcd's messages.

use std::{env, fmt::Write as _, fs, path::PathBuf};

use protox::prost::Message as _;
use protox::prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

const FILES: &[&str] = &[
    "rpc.proto",
    "kv.proto",
    "auth.proto",
    "lock.proto",
    "election.proto",
    "lease.proto",
    "health.proto",
    "kvorum.proto",
    "console.proto",
    "membership.proto",
    "peer.proto",
    "transport.proto",
    "trust.proto",
];

/// Packages whose messages clients may write as JSON.
const SHAPED: [&str; 5] = [
    "etcdserverpb",
    "mvccpb",
    "authpb",
    "v3lockpb",
    "v3electionpb",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let pool = DescriptorPool::from_file_descriptor_set(descriptors.clone())?;
    fs::write(out.join("shapes.rs"), shapes(&pool)?)?;
    prost_build::Config::new()
        // Keys and values are shared, not copied, on their way through the server.
        .bytes(["."])
        // Rare and large: the others need not make room for it.
        .boxed(".kvorumpb.Command.op.trust")
        .compile_fds(descriptors)?;
    Ok(())
}

/// The table behind `kvorum_proto::shape`, as Rust.
fn shapes(pool: &DescriptorPool) -> Result<String, Box<dyn std::error::Error>> {
    let shaped = |package: &str| SHAPED.contains(&package);
    let messages: Vec<_> = pool
        .all_messages()
        .filter(|message| shaped(message.package_name()))
        .collect();
    let enums: Vec<_> = pool
        .all_enums()
        .filter(|shape| shaped(shape.package_name()))
        .collect();
    let mut table = String::from("const ENUMS: &[EnumShape] = &[\n");
    for shape in &enums {
        let values: Vec<_> = shape
            .values()
            .map(|value| format!("({:?}, {})", value.name(), value.number()))
            .collect();
        writeln!(table, "EnumShape {{ values: &[{}] }},", values.join(", "))?;
    }
    table.push_str("];\nconst MESSAGES: &[MessageShape] = &[\n");
    for message in &messages {
        let name = message.full_name();
        writeln!(table, "MessageShape {{ name: {name:?}, fields: &[")?;
        for field in declared_fields(message) {
            let kind = match field.kind() {
                Kind::Message(inner) => format!("Message({})", index(&messages, &inner)?),
                Kind::Enum(inner) => format!("Enum({})", index(&enums, &inner)?),
                scalar => scalar_kind(&scalar)?.to_owned(),
            };
            let oneof = field.containing_oneof();
            writeln!(
                table,
                "FieldShape {{ name: {:?}, json_name: {:?}, number: {}, kind: Kind::{kind}, \
                 repeated: {}, oneof: {:?} }},",
                field.name(),
                field.json_name(),
                field.number(),
                field.is_list(),
                oneof.as_ref().map(|oneof| oneof.full_name()),
            )?;
        }
        table.push_str("] },\n");
    }
    table.push_str("];\n");
    Ok(table)
}

/// The fields as the file lists them, which is the order of their JSON.
fn declared_fields(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let declared = &message.descriptor_proto().field;
    let numbers = declared.iter().filter_map(|field| field.number);
    numbers
        .filter_map(|number| message.get_field(number.cast_unsigned()))
        .collect()
}

fn index<T: PartialEq>(all: &[T], wanted: &T) -> Result<usize, &'static str> {
    let found = all.iter().position(|known| known == wanted);
    found.ok_or("a message refers to one outside the shaped packages")
}

fn scalar_kind(kind: &Kind) -> Result<&'static str, String> {
    Ok(match kind {
        Kind::Bool => "Bool",
        Kind::Int32 => "Int32",
        Kind::Int64 => "Int64",
        Kind::Uint32 => "Uint32",
        Kind::Uint64 => "Uint64",
        Kind::String => "String",
        Kind::Bytes => "Bytes",
        other => {
            return Err(format!(
                "no message of etcd's has a field of kind {other:?}"
            ));
        }
    })
}
