//! What datagrams and messages leave by: a UDP socket, or connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::Options;
use super::connections::{Connections, Transport};
use super::socket::FlowSocket;

/// A way to the target.
#[derive(Debug)]
pub(super) enum Outlet {
    Udp(FlowSocket),
    Connections {
        all: Connections,
        /// The source of what has none of its own.
        own: Option<Ipv4Addr>,
    },
}

impl Outlet {
    /// From `source`, or from the address that the system chooses.
    ///
    /// # Errors
    /// When there is no way to the target.
    pub(super) fn open(options: &Options, source: Option<Ipv4Addr>) -> anyhow::Result<Self> {
        Ok(match &options.transport {
            Transport::Udp => {
                Self::Udp(FlowSocket::open(options.target, source, options.segments)?)
            }
            transport => Self::Connections {
                all: Connections::new(options.target, transport)?,
                own: source,
            },
        })
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_address(),
            Self::Connections { all, own } => {
                let address = all.local_address(*own);
                address.ok_or(io::ErrorKind::NotConnected.into())
            }
        }
    }

    /// Sends datagrams or messages of `segment` octets each, from `source` if there is one.
    ///
    /// # Errors
    /// When the system or the collector refuses.
    pub(super) fn send(
        &mut self,
        octets: &[u8],
        segment: usize,
        source: Option<Ipv4Addr>,
    ) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(octets, segment, source),
            Self::Connections { all, own } => all.send(octets, source.or(*own)),
        }
    }

    /// Whether a datagram has been answered with "port unreachable".
    pub(super) fn has_refused(&self) -> bool {
        match self {
            Self::Udp(socket) => socket.has_refused(),
            Self::Connections { .. } => false,
        }
    }

    /// Datagrams that were answered so.
    pub(super) fn refused(&mut self) -> u64 {
        match self {
            Self::Udp(socket) => socket.refused(),
            Self::Connections { .. } => 0,
        }
    }
}
