//! The proof that a joining machine knows a token's secret, for one connection and one certificate request only.
//!
//! The secret itself never travels. The proof covers a value that both ends of a TLS connection derive and nobody
//! else can, so that a proof which was stolen on one connection is worth nothing on another.

use ring::hmac::{HMAC_SHA256, Key, sign};
use rustls::ConnectionCommon;

/// By which both ends derive the value.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-kvorum-join";
/// Keeps this use of the key apart from any other.
const CONTEXT: &[u8] = b"kvorum join proof 1\0";

/// The value that only the two ends of this connection know.
///
/// # Errors
///
/// The handshake is not over.
pub fn exporter<Side>(connection: &ConnectionCommon<Side>) -> Result<[u8; 32], rustls::Error> {
    connection.export_keying_material([0; 32], EXPORTER_LABEL, None)
}

/// The proof.
#[must_use]
pub fn mac(secret_digest: &[u8; 32], exporter: &[u8; 32], csr_sha256: &[u8; 32]) -> [u8; 32] {
    let key = Key::new(HMAC_SHA256, secret_digest);
    let tag = sign(&key, &message(exporter, csr_sha256));
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// Whether it is the proof, in a time that does not depend on how nearly it is.
#[must_use]
pub fn verify(
    secret_digest: &[u8; 32],
    exporter: &[u8; 32],
    csr_sha256: &[u8; 32],
    proof: &[u8],
) -> bool {
    let key = Key::new(HMAC_SHA256, secret_digest);
    ring::hmac::verify(&key, &message(exporter, csr_sha256), proof).is_ok()
}

fn message(exporter: &[u8; 32], csr_sha256: &[u8; 32]) -> Vec<u8> {
    [CONTEXT, exporter, csr_sha256].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_secret_connection_and_request_only() {
        let (secret, connection, request) = ([1; 32], [2; 32], [3; 32]);
        let proof = mac(&secret, &connection, &request);
        assert!(verify(&secret, &connection, &request, &proof));
        assert!(!verify(&[0; 32], &connection, &request, &proof));
        assert!(!verify(&secret, &[0; 32], &request, &proof));
        assert!(!verify(&secret, &connection, &[0; 32], &proof));
        assert!(
            !verify(&secret, &request, &connection, &proof),
            "their order counts"
        );
        for bit in 0..256 {
            let mut changed = proof;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&secret, &connection, &request, &changed));
        }
        for length in 0..32 {
            assert!(!verify(&secret, &connection, &request, &proof[..length]));
        }
    }
}
