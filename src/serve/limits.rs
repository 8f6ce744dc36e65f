//! What a client may take of the server.

use std::time::Duration;

/// What a client may take of the server: each bound is on one connection, but for the number of them.
///
/// ```
/// # #[cfg(feature = "serve")] {
/// use compute_gallery::serve::ServerLimits;
///
/// let limits = ServerLimits { connections: 16, ..ServerLimits::default() };
/// assert_eq!((limits.body_bytes, limits.header_bytes), (4 << 20, 64 << 10));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at once; 2,048 by default. Further ones wait in the system's queue.
    pub connections: usize,
    /// Bytes of a request's line and headers, with the empty line that ends them; 64 KiB by default. Answer beyond it: 431, without a body,
    /// and the connection ends. So do more than 100 headers.
    pub header_bytes: usize,
    /// Bytes of a request's body; 4 MiB by default, as in Azure Resource Manager. Answer beyond it: 413, and the connection ends.
    pub body_bytes: usize,
    /// The time in which a whole request head must arrive, also on a connection that is kept open; 60 s by default. The
    /// connection is closed after it.
    pub head_within: Duration,
    /// The time in which a request's body must arrive; 30 s by default. Answer after it: 408, and the connection ends.
    pub body_within: Duration,
    /// The time in which the client must complete a TLS handshake or CONNECT; 10 s by default. The connection is closed after it.
    pub handshake_within: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 2048,
            header_bytes: 64 << 10,
            body_bytes: 4 << 20,
            head_within: Duration::from_secs(60),
            body_within: Duration::from_secs(30),
            handshake_within: Duration::from_secs(10),
        }
    }
}
