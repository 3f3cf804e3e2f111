//! Stage 2: datagrams and instants in, encoded batches out. No sockets, no clock of its own.

use std::net::SocketAddr;

use otlp_wire::UnixNanos;

/// A UDP datagram as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The payload.
    pub octets: &'a [u8],
    /// Who sent it; an IPv4-mapped IPv6 address is already an IPv4 one.
    pub source: SocketAddr,
    /// When the kernel took it, or when it was read where the kernel doesn't say.
    pub received_at: UnixNanos,
}
