//! The shape of etcd's messages as data: what a transcoder between JSON and the wire format needs to know.
//!
//! Written by the build from the same `.proto` files as the messages, so that the two cannot disagree.

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub struct MessageShape {
    /// Package and name, as in `etcdserverpb.PutRequest`.
    pub name: &'static str,
    /// Its fields in the order of their declaration.
    pub fields: &'static [FieldShape],
}

/// One field of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct FieldShape {
    /// As in the `.proto` file: `range_end`.
    pub name: &'static str,
    /// In lower camel case: `rangeEnd`.
    pub json_name: &'static str,
    /// Its number on the wire.
    pub number: u32,
    /// What it holds.
    pub kind: Kind,
    /// It is a list.
    pub repeated: bool,
    /// The full name of the group of fields of which only one may be set.
    pub oneof: Option<&'static str>,
}

/// What a field, or an element of a list, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// True or false.
    Bool,
    /// A signed number of 32 bits.
    Int32,
    /// A signed number of 64 bits.
    Int64,
    /// An unsigned number of 32 bits.
    Uint32,
    /// An unsigned number of 64 bits.
    Uint64,
    /// Text in UTF-8.
    String,
    /// Any bytes.
    Bytes,
    /// A named number; [`Kind::enumeration`] resolves it.
    Enum(usize),
    /// A message; [`Kind::message`] resolves it.
    Message(usize),
}

/// The names of a numbered type.
#[derive(Debug, PartialEq, Eq)]
pub struct EnumShape {
    values: &'static [(&'static str, i32)],
}

impl EnumShape {
    /// The number behind a name.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i32> {
        let found = self.values.iter().find(|value| value.0 == name);
        found.map(|value| value.1)
    }

    /// The name of a number.
    #[must_use]
    pub fn name(&self, number: i32) -> Option<&'static str> {
        let found = self.values.iter().find(|value| value.1 == number);
        found.map(|value| value.0)
    }
}

impl Kind {
    /// The message's shape, if it is one.
    #[must_use]
    pub fn message(self) -> Option<&'static MessageShape> {
        match self {
            Self::Message(index) => MESSAGES.get(index),
            _ => None,
        }
    }

    /// The enumeration's names, if it is one.
    #[must_use]
    pub fn enumeration(self) -> Option<&'static EnumShape> {
        match self {
            Self::Enum(index) => ENUMS.get(index),
            _ => None,
        }
    }
}

/// The shape of a message by its full name.
#[must_use]
pub fn find(name: &str) -> Option<&'static MessageShape> {
    MESSAGES.iter().find(|message| message.name == name)
}

/// All messages.
#[must_use]
pub fn all() -> &'static [MessageShape] {
    MESSAGES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_declaration_order_not_in_the_order_of_their_numbers() {
        let watch = find("etcdserverpb.WatchResponse").expect("known");
        let names: Vec<_> = watch.fields.iter().map(|field| field.name).collect();
        assert_eq!(
            names,
            [
                "header",
                "watch_id",
                "created",
                "canceled",
                "compact_revision",
                "cancel_reason",
                "fragment",
                "events"
            ]
        );
        let kv = find("mvccpb.KeyValue").expect("known");
        let names: Vec<_> = kv.fields.iter().map(|field| field.json_name).collect();
        assert_eq!(
            names,
            [
                "key",
                "createRevision",
                "modRevision",
                "version",
                "value",
                "lease"
            ]
        );
    }

    #[test]
    fn every_reference_resolves() {
        for message in all() {
            for field in message.fields {
                match field.kind {
                    Kind::Message(_) => assert!(field.kind.message().is_some(), "{}", field.name),
                    Kind::Enum(_) => assert!(field.kind.enumeration().is_some(), "{}", field.name),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn a_oneof_goes_by_its_full_name() {
        let operation = find("etcdserverpb.RequestOp").expect("known");
        assert!(
            operation
                .fields
                .iter()
                .all(|field| field.oneof == Some("etcdserverpb.RequestOp.request"))
        );
    }

    #[test]
    fn enumerations_know_both_ways() {
        let compare = find("etcdserverpb.Compare").expect("known");
        let result = compare.fields.first().expect("has fields").kind;
        let result = result.enumeration().expect("an enumeration");
        assert_eq!(result.number("NOT_EQUAL"), Some(3));
        assert_eq!(result.name(3), Some("NOT_EQUAL"));
        assert_eq!((result.number("?"), result.name(9)), (None, None));
    }
}
