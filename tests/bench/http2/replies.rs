//! The verdict on a reply's header blocks, remembered by their bytes.
//!
//! A server's blocks hardly ever differ from one reply to the next, so each distinct block is decoded
//! once and later compared byte by byte.

use anyhow::{Result, ensure};

use super::hpack::{self, Header};

/// A server that adds a date makes one new block a second; older ones are forgotten.
const REMEMBERED_MAX: usize = 4;

/// What the end of a call said.
pub(crate) type Outcome = Result<(), String>;

#[derive(Default)]
pub(super) struct Replies {
    heads: Known,
    trailers: Known,
}

#[derive(Default)]
struct Known {
    blocks: Vec<Vec<u8>>,
    oldest: usize,
}

impl Known {
    fn has(&self, block: &[u8]) -> bool {
        self.blocks.iter().any(|known| known == block)
    }

    fn remember(&mut self, block: &[u8]) {
        if self.blocks.len() < REMEMBERED_MAX {
            self.blocks.push(block.to_vec());
        } else {
            self.blocks[self.oldest] = block.to_vec();
            self.oldest = (self.oldest + 1) % REMEMBERED_MAX;
        }
    }
}

impl Replies {
    /// Checks the headers that open a reply.
    pub(super) fn head(&mut self, block: &[u8]) -> Result<()> {
        if self.heads.has(block) {
            return Ok(());
        }
        let headers = hpack::decode(block)?;
        ensure!(is_grpc(&headers), "reply is not gRPC: {headers:?}");
        self.heads.remember(block);
        Ok(())
    }

    /// Reads the headers that end a reply.
    pub(super) fn end(&mut self, block: &[u8]) -> Result<Outcome> {
        if self.trailers.has(block) {
            return Ok(Ok(()));
        }
        let headers = hpack::decode(block)?;
        let text = |name| value(&headers, name).unwrap_or_default();
        match value(&headers, "grpc-status") {
            Some("0") => {
                self.trailers.remember(block);
                Ok(Ok(()))
            }
            Some(code) => Ok(Err(format!("grpc-status {code}: {}", text("grpc-message")))),
            None => Ok(Err(format!(
                "reply ended without a grpc-status: {headers:?}"
            ))),
        }
    }
}

fn is_grpc(headers: &[Header]) -> bool {
    value(headers, ":status") == Some("200")
        && value(headers, "content-type").is_some_and(|kind| kind.starts_with("application/grpc"))
}

fn value<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|header| header.0 == name)
        .map(|header| header.1.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_status_zero_is_a_success() {
        let mut replies = Replies::default();
        let good = hpack::encode(&[("grpc-status", "0"), ("grpc-message", "")]);
        let bad = hpack::encode(&[("grpc-status", "8"), ("grpc-message", "too many requests")]);
        for _ in 0..2 {
            assert_eq!(replies.end(&good).expect("valid block"), Ok(()));
            let error = replies
                .end(&bad)
                .expect("valid block")
                .expect_err("status 8");
            assert_eq!(error, "grpc-status 8: too many requests");
        }
        assert!(
            replies.end(&[]).expect("valid block").is_err(),
            "no status is no success"
        );
    }

    #[test]
    fn a_reply_that_is_not_grpc_is_refused() {
        let mut replies = Replies::default();
        let good = hpack::encode(&[(":status", "200"), ("content-type", "application/grpc")]);
        assert!(replies.head(&good).is_ok());
        assert!(replies.head(&hpack::encode(&[(":status", "404")])).is_err());
        let html = hpack::encode(&[(":status", "200"), ("content-type", "text/html")]);
        assert!(replies.head(&html).is_err());
    }

    #[test]
    fn remembered_blocks_stay_few() {
        let mut replies = Replies::default();
        for second in 0..100 {
            let date = second.to_string();
            let block = hpack::encode(&[("grpc-status", "0"), ("date", &date)]);
            assert_eq!(replies.end(&block).expect("valid block"), Ok(()));
        }
        assert_eq!(replies.trailers.blocks.len(), REMEMBERED_MAX);
    }
}
