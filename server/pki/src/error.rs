//! What can go wrong with keys and certificates of our own.

/// Why a key or certificate cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The system gave no random bytes.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The bytes are no private key that can be used.
    #[error("no private key that can be used here: {0}")]
    Key(String),
    /// The bytes are no certificate.
    #[error("not a certificate that can be read: {0}")]
    Certificate(String),
    /// The certificate is not an authority's.
    #[error("not the certificate of an authority: it may not sign others")]
    NotAnAuthority,
    /// Certificate and key were not made together.
    #[error("the key does not belong to the certificate: give the pair that was made together")]
    Unrelated,
    /// The request was not made by the holder of its key, or is not a request.
    #[error("certificate request refused: {0}")]
    Request(String),
    /// Neither a DNS name nor an address.
    #[error("{0:?} is neither a DNS name nor an IP address, so no certificate can carry it")]
    Name(String),
    /// A user name that no certificate can carry.
    #[error("name refused: {0}")]
    User(&'static str),
    /// The PEM text is damaged or lacks a part.
    #[error("not PEM as expected: {0}")]
    Pem(String),
    /// A text that stands for a domain or a serial number.
    #[error("{text:?} is not {expected}")]
    Text {
        /// What was given.
        text: String,
        /// What it should have been.
        expected: &'static str,
    },
    /// A date outside of what a certificate can carry, or an end before the beginning.
    #[error("not a period that a certificate can have: {0}")]
    Period(String),
    /// Addresses of a join token.
    #[error("address {0:?} cannot be part of a join token: give host:port")]
    Address(String),
    /// The encoder refused.
    #[error("cannot make the certificate: {0}")]
    Encode(#[from] rcgen::Error),
    /// The TLS library refused.
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
}
