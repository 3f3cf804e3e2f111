//! Senders of something else: addresses from which datagrams came that can't be flow records, with what they seem to
//! be. A small table, because addresses can be forged: it holds the most recent senders.

use std::net::{IpAddr, SocketAddr};

use netflow_wire::foreign::{self, Foreign};
use otlp_wire::UnixNanos;
use tracing::warn;

use crate::exporter::alerts::Lines;

/// Senders that are remembered by each worker.
const MAX_STRANGERS: usize = 64;

/// A sender of something else.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stranger {
    pub(crate) address: IpAddr,
    pub(crate) what: Foreign,
    pub(crate) datagrams: u64,
    pub(crate) first_at: UnixNanos,
    pub(crate) last_at: UnixNanos,
}

/// The last [`MAX_STRANGERS`] of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers {
    known: Vec<Stranger>,
}

impl Strangers {
    /// Takes note of a datagram that was refused, and names its sender in the log the first time.
    #[cold]
    pub(crate) fn refused(
        &mut self,
        source: SocketAddr,
        octets: &[u8],
        received_at: UnixNanos,
        lines: &mut Lines,
    ) {
        let address = source.ip();
        let Some(what) = foreign::guess(octets, &[source.port()]) else {
            return;
        };
        let mut known = self.known.iter_mut();
        if let Some(stranger) = known.find(|stranger| stranger.address == address) {
            stranger.datagrams += 1;
            stranger.last_at = received_at;
            // A host that sends several kinds by turns is named once in the log.
            stranger.what = what;
            return;
        }
        let stranger = Stranger {
            address,
            what,
            datagrams: 1,
            first_at: received_at,
            last_at: received_at,
        };
        if self.known.len() < MAX_STRANGERS {
            self.known.push(stranger);
        } else if let Some(oldest) = self.known.iter_mut().min_by_key(|known| known.last_at.0) {
            *oldest = stranger;
        }
        if lines.take() {
            warn!(
                sender = %address,
                looks_like = what.name(),
                remedy = what.remedy(),
                "a sender's datagrams are not flow records"
            );
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stranger> {
        self.known.iter()
    }

    /// What a sender seems to send.
    pub(crate) fn find(&self, address: &str) -> Option<Foreign> {
        let mut known = self.known.iter();
        let address = address.parse::<IpAddr>().ok()?;
        known
            .find(|stranger| stranger.address == address)
            .map(|stranger| stranger.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> SocketAddr {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
        SocketAddr::new(address.into(), 40_000)
    }

    #[test]
    fn each_sender_is_named_once_and_invented_ones_take_bounded_room() {
        let mut strangers = Strangers::default();
        let mut lines = Lines::default();
        for time in 0..10 {
            strangers.refused(address(1), b"<13>hello", UnixNanos(time), &mut lines);
        }
        let known: Vec<_> = strangers.iter().copied().collect();
        assert_eq!(known.len(), 1);
        assert_eq!((known[0].what, known[0].datagrams), (Foreign::Syslog, 10));
        assert_eq!(strangers.find("10.0.0.1"), Some(Foreign::Syslog));

        strangers.refused(
            address(2),
            &[0x1e, 0x61, 0xff, 0xff],
            UnixNanos(11),
            &mut lines,
        );
        assert_eq!(strangers.iter().count(), 1);

        for number in 3..10_000 {
            let at = UnixNanos(u64::from(number) + 20);
            strangers.refused(address(number), b"GET / HTTP/1.1", at, &mut lines);
        }
        assert_eq!(strangers.iter().count(), MAX_STRANGERS);
        assert_eq!(strangers.find("10.0.0.1"), None);
        assert_eq!(strangers.find("10.0.39.15"), Some(Foreign::Http));
    }
}
