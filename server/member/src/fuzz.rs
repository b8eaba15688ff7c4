//! Doors for the fuzz targets: what peers send, which only a connection can bring otherwise. Not for anybody else.

use bytes::Bytes;

use crate::peer::fuzz as peer;

/// The frames in what a peer that dialled sent in these pieces, kind and body, and whether it was cut off.
#[must_use]
pub fn peer_frames(pieces: &[&[u8]]) -> (Vec<(u8, Bytes)>, bool) {
    peer::frames(pieces)
}

/// A connection that brings these bodies in frames of these kinds.
#[must_use]
pub fn peer_connection(frames: &[(u8, &[u8])]) -> Vec<u8> {
    peer::connection(frames)
}

/// Reads a body as a connection does, and writes it again; none if it is refused.
#[must_use]
pub fn peer_message(kind: u8, body: &[u8]) -> Option<Vec<u8>> {
    peer::message(kind, body)
}
