//! A page of folders and keys: the member's listing, in the console's terms.

use kvorum_core::mvcc::children::ChildrenRequest;
use kvorum_member::listing::{Line, Listing};
use kvorum_member::{Caller, Handle};

use crate::member_source::{key_value, refusal};
use crate::source::{Entry, KeyValue, ListRequest, Page, Refusal};
use crate::wire::PREVIEW_BYTES;

/// Reads the page that `request` asks for.
pub(crate) async fn page(
    handle: &Handle,
    by: Caller,
    request: ListRequest,
) -> Result<Page, Refusal> {
    let request = ChildrenRequest {
        prefix: request.prefix,
        delimiter: request.delimiter,
        from: request.from,
        limit: request.limit,
        revision: request.revision,
    };
    let listing = handle.list_children(&by, request, PREVIEW_BYTES).await;
    listing.map(page_of).map_err(refusal)
}

fn page_of(listing: Listing) -> Page {
    Page {
        revision: listing.revision,
        current_revision: listing.current_revision,
        count: listing.count,
        count_capped: listing.count_capped,
        entries: listing.lines.into_iter().map(entry).collect(),
        next: listing.next,
    }
}

fn entry(line: Line) -> Entry {
    match line {
        Line::Folder {
            prefix,
            count,
            count_capped,
        } => Entry::Folder {
            prefix,
            count,
            count_capped,
        },
        Line::Key { pair, value_bytes } => Entry::Key(KeyValue {
            value_bytes: value_bytes as u64,
            ..key_value(pair)
        }),
    }
}

#[cfg(test)]
mod tests {
    use kvorum_proto::mvccpb;

    use super::*;

    #[test]
    fn a_cut_value_keeps_the_size_of_the_whole() {
        let pair = mvccpb::KeyValue {
            key: "k".into(),
            value: "begin".into(),
            mod_revision: 7,
            ..Default::default()
        };
        let Entry::Key(kv) = entry(Line::Key {
            pair,
            value_bytes: 900,
        }) else {
            panic!("a key became a folder");
        };
        assert_eq!(
            (kv.value.as_slice(), kv.value_bytes),
            (b"begin".as_slice(), 900)
        );
        assert_eq!(kv.mod_revision, 7);
    }
}
