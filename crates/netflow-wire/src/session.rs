//! Transport Sessions: what Templates and sequence numbers belong to, besides an exporter's address.

/// How messages of an exporter arrive.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum Transport {
    /// Datagrams: a session has neither beginning nor end, and may be forged.
    Udp = 0,
    /// A connection.
    Tcp = 1,
    /// A connection, with TLS.
    Tls = 2,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    /// `udp`, `tcp` or `tls`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The transport with this number, as `self as u8` gives it.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|transport| *transport as u8 == number)
    }

    /// Sessions begin and end, nothing is lost or reordered in them, and nobody else can speak in them: Templates hold
    /// until the end or their withdrawal (RFC 7011, section 8.1).
    #[must_use]
    pub const fn has_connections(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

/// A Transport Session of an exporter (RFC 7011, section 2), apart from the exporter's address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Session {
    /// How its messages arrive.
    pub transport: Transport,
    /// The exporter's port.
    pub port: u16,
}

impl Session {
    /// The datagrams from a port.
    #[must_use]
    pub const fn udp(port: u16) -> Self {
        Self {
            transport: Transport::Udp,
            port,
        }
    }
}
