//! Sockets in, [`Datagram`] views out: what one `recvmmsg` call brought, in buffers that are used
//! again for the next. Each view is a whole datagram; a truncated one is counted instead.

use std::io;
use std::os::fd::BorrowedFd;

use otlp_wire::UnixNanos;

use super::canonical;
use super::sys::{MAX_MESSAGES, ReceiveBuffers};
use crate::translate::Datagram;

/// The longest UDP payload that fits a length field of 16 bits (RFC 768), header not deducted.
pub(super) const MAX_PAYLOAD_OCTETS: usize = 65_535;

/// Fixed buffers for a burst of datagrams.
///
/// Room for whole datagrams costs 4 MiB of address space; memory only as far as datagrams reach.
pub(super) struct DatagramBurst {
    buffers: ReceiveBuffers,
}

/// What a burst held besides datagrams.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Leftovers {
    /// Datagrams cut off at the buffer's end.
    pub(super) truncated: u32,
    /// Datagrams whose source is not an IP address.
    pub(super) without_source: u32,
    /// The newest reading of the socket's drop counter.
    pub(super) drops: Option<u32>,
    /// The newest kernel time-stamp.
    pub(super) newest: Option<UnixNanos>,
}

impl DatagramBurst {
    pub(super) fn new() -> Self {
        Self::with_payload_octets(MAX_PAYLOAD_OCTETS)
    }

    fn with_payload_octets(payload_octets: usize) -> Self {
        Self {
            buffers: ReceiveBuffers::new(MAX_MESSAGES, payload_octets),
        }
    }

    /// How many datagrams one [`fill`](Self::fill) takes at most.
    pub(super) fn capacity(&self) -> usize {
        self.buffers.capacity()
    }

    /// Takes what the socket holds, up to the capacity, without waiting; says how many came. When
    /// fewer came than the capacity, the socket was empty.
    ///
    /// # Errors
    /// What the system reports, but for "nothing there", which is 0.
    pub(super) fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.buffers.receive(socket)
    }

    /// Shows each whole datagram to `take`, in the order of arrival. One without a kernel
    /// time-stamp gets `now`.
    pub(super) fn for_each(
        &self,
        now: impl Fn() -> UnixNanos,
        mut take: impl FnMut(&Datagram<'_>),
    ) -> Leftovers {
        let mut leftovers = Leftovers::default();
        for (octets, received) in self.buffers.messages() {
            leftovers.drops = received.drops.or(leftovers.drops);
            leftovers.newest = leftovers.newest.max(received.stamp);
            if received.truncated {
                leftovers.truncated += 1;
                continue;
            }
            let Some(source) = received.source else {
                leftovers.without_source += 1;
                continue;
            };
            let received_at = received.stamp.unwrap_or_else(&now);
            take(&Datagram {
                octets,
                source: canonical(source),
                received_at,
            });
        }
        leftovers
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::os::fd::AsFd;

    use super::super::sys::Call;
    use super::*;

    /// By each call, for the system may refuse some.
    #[test]
    fn datagram_longer_than_the_buffer_is_counted_not_shown() {
        for call in [Call::Recvmmsg, Call::Recvmsg, Call::Recvfrom] {
            datagrams_are_whole_or_counted(call);
        }
    }

    fn datagrams_are_whole_or_counted(call: Call) {
        let (receiver, sender) = pair();
        receiver.set_nonblocking(true).unwrap();
        for octets in [&[1; 8][..], &[2; 9], &[3; 8], &[]] {
            sender.send(octets).unwrap();
        }
        let buffers = ReceiveBuffers::new(MAX_MESSAGES, 8).with_call(call);
        let mut burst = DatagramBurst { buffers };
        assert_eq!(burst.fill(receiver.as_fd()).unwrap(), 4);
        let mut seen = Vec::new();
        let leftovers = burst.for_each(
            || UnixNanos(7),
            |datagram| {
                assert_eq!(datagram.source, sender.local_addr().unwrap());
                assert_eq!(
                    datagram.received_at,
                    UnixNanos(7),
                    "no time-stamps were asked for"
                );
                seen.push(datagram.octets.to_vec());
            },
        );
        assert_eq!(seen, [vec![1; 8], vec![3; 8], vec![]]);
        assert_eq!(
            leftovers,
            Leftovers {
                truncated: 1,
                ..Leftovers::default()
            }
        );
    }

    #[test]
    fn buffers_are_fresh_for_each_burst() {
        let (receiver, sender) = pair();
        let mut burst = DatagramBurst::new();
        assert_eq!(burst.fill(receiver.as_fd()).unwrap(), 0);
        for round in 0..3_u8 {
            for length in 0..=burst.capacity() {
                sender.send(&vec![round; length]).unwrap();
            }
            assert_eq!(burst.fill(receiver.as_fd()).unwrap(), burst.capacity());
            let mut lengths = Vec::new();
            burst.for_each(
                || UnixNanos(0),
                |datagram| {
                    assert!(datagram.octets.iter().all(|octet| *octet == round));
                    lengths.push(datagram.octets.len());
                },
            );
            assert!(lengths.into_iter().eq(0..burst.capacity()));
            assert_eq!(burst.fill(receiver.as_fd()).unwrap(), 1);
        }
    }

    #[test]
    fn mapped_sources_are_ipv4() {
        let source = canonical("[::ffff:192.0.2.7]:9".parse().unwrap());
        assert_eq!(source, "192.0.2.7:9".parse().unwrap());
        let source: SocketAddr = "[2001:db8::7]:9".parse().unwrap();
        assert_eq!(canonical(source), source);
    }

    fn pair() -> (UdpSocket, UdpSocket) {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        (receiver, sender)
    }
}
