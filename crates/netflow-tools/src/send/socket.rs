//! A connected UDP socket that datagrams leave by: several with one system call where the kernel cuts them apart
//! (UDP generic segmentation offload, Linux 4.18), and from a chosen loopback address where that is asked for.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, MsgHdr, Socket, Type};

/// How often a datagram is given to the kernel that answers with an error of an earlier one.
const TRIES: u32 = 8;
/// What waits on the way out.
const SEND_BUFFER: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct FlowSocket {
    socket: Socket,
    /// Whether the kernel cuts datagrams apart.
    segments: bool,
    control: Vec<u8>,
    refused: u64,
}

impl FlowSocket {
    /// A socket of `source`, or of the address that the system chooses.
    ///
    /// # Errors
    /// When there can't be one, or no way leads to the target.
    pub(super) fn open(
        target: SocketAddr,
        source: Option<Ipv4Addr>,
        segments: bool,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(target), Type::DGRAM, None)?;
        // More than the system grants is cut, which is well.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        let any: IpAddr = match (source, target) {
            (Some(source), _) => source.into(),
            (None, SocketAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
            (None, SocketAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
        };
        socket.bind(&SocketAddr::new(any, 0).into())?;
        socket.connect(&target.into())?;
        Ok(Self {
            socket,
            segments: segments && control::HAS_SEGMENTS,
            control: Vec::new(),
            refused: 0,
        })
    }

    pub(super) fn local_address(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?;
        address.as_socket().ok_or(io::ErrorKind::Unsupported.into())
    }

    /// Sends datagrams of `segment` octets each, from `source` if there is one.
    ///
    /// # Errors
    /// If the kernel refuses for another reason than that nothing listens.
    pub(super) fn send(
        &mut self,
        octets: &[u8],
        segment: usize,
        source: Option<Ipv4Addr>,
    ) -> io::Result<()> {
        if self.segments && octets.len() > segment {
            match self.send_once(octets, Some(segment), source) {
                Ok(()) => return Ok(()),
                // Too old, an interface whose frames are shorter, or one that can't compute checksums.
                Err(error) if cannot_segment(&error) => self.segments = false,
                Err(error) => return Err(error),
            }
        }
        octets
            .chunks(segment.max(1))
            .try_for_each(|datagram| self.send_once(datagram, None, source))
    }

    /// Whether a datagram has been answered with "port unreachable".
    pub(super) fn has_refused(&self) -> bool {
        self.refused > 0
    }

    /// Datagrams that were answered with "port unreachable". They were sent anyway. Answers to other sources
    /// than the socket's own address don't come here.
    pub(super) fn refused(&mut self) -> u64 {
        if let Ok(Some(error)) = self.socket.take_error()
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            self.refused += 1;
        }
        self.refused
    }

    fn send_once(
        &mut self,
        octets: &[u8],
        segment: Option<usize>,
        source: Option<Ipv4Addr>,
    ) -> io::Result<()> {
        self.control.clear();
        if let Some(source) = source {
            control::push_source(&mut self.control, source);
        }
        if let Some(segment) = segment {
            control::push_segment(&mut self.control, segment);
        }
        let mut tries = 0;
        loop {
            let sent = if self.control.is_empty() {
                self.socket.send(octets)
            } else {
                let buffers = [IoSlice::new(octets)];
                let message = MsgHdr::new()
                    .with_buffers(&buffers)
                    .with_control(&self.control);
                self.socket.sendmsg(&message, 0)
            };
            tries += 1;
            match sent {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The answer to an earlier datagram; this one was not sent yet.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && tries < TRIES => {
                    self.refused += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn cannot_segment(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE | libc::EOPNOTSUPP | libc::ENOPROTOOPT)
    )
}

/// Control messages as octets: length with the header, level, type, data, and padding to a word (cmsg(3)).
#[cfg(target_os = "linux")]
mod control {
    use std::net::Ipv4Addr;

    use libc::c_int;

    pub(super) const HAS_SEGMENTS: bool = true;

    /// `struct in_pktinfo` (ip(7)): any interface, the source, nothing.
    pub(super) fn push_source(control: &mut Vec<u8>, source: Ipv4Addr) {
        let mut data = [0; 12];
        data[4..8].copy_from_slice(&source.octets());
        push(control, libc::IPPROTO_IP, libc::IP_PKTINFO, &data);
    }

    /// Octets of each datagram (udp(7)).
    pub(super) fn push_segment(control: &mut Vec<u8>, segment: usize) {
        let segment = u16::try_from(segment).unwrap_or(u16::MAX);
        push(
            control,
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            &segment.to_ne_bytes(),
        );
    }

    fn push(control: &mut Vec<u8>, level: c_int, kind: c_int, data: &[u8]) {
        const WORD: usize = size_of::<usize>();
        const HEADER: usize = WORD + 2 * size_of::<c_int>();
        control.extend_from_slice(&(HEADER + data.len()).to_ne_bytes());
        control.extend_from_slice(&level.to_ne_bytes());
        control.extend_from_slice(&kind.to_ne_bytes());
        control.extend_from_slice(data);
        control.resize(control.len().next_multiple_of(WORD), 0);
    }
}

#[cfg(not(target_os = "linux"))]
mod control {
    use std::net::Ipv4Addr;

    pub(super) const HAS_SEGMENTS: bool = false;

    /// Never called: exporters have addresses of their own on Linux only.
    pub(super) fn push_source(_: &mut Vec<u8>, _: Ipv4Addr) {}

    pub(super) fn push_segment(_: &mut Vec<u8>, _: usize) {}
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    fn receiver() -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn datagrams_arrive_apart_whether_or_not_the_kernel_cuts_them() {
        for segments in [false, true] {
            let (receiver, address) = receiver();
            let mut socket = FlowSocket::open(address, None, segments).unwrap();
            socket.send(b"aaabbbcc", 3, None).unwrap();
            let mut buffer = [0; 10];
            for expected in [&b"aaa"[..], b"bbb", b"cc"] {
                let (octets, from) = receiver.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..octets], expected);
                assert_eq!(from, socket.local_address().unwrap());
            }
            assert_eq!(socket.refused(), 0);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn each_exporter_has_its_address() {
        let (receiver, address) = receiver();
        let mut socket = FlowSocket::open(address, None, true).unwrap();
        for last in [1, 2, 99] {
            let source = Ipv4Addr::new(127, 0, 1, last);
            socket.send(b"aab", 2, Some(source)).unwrap();
            for _ in 0..2 {
                let (_, from) = receiver.recv_from(&mut [0; 10]).unwrap();
                assert_eq!(from.ip(), source);
            }
        }
    }

    #[test]
    fn answers_that_nobody_listens_are_counted_and_nothing_is_left_out() {
        let (receiver, address) = receiver();
        // The port is taken, but only for datagrams from another.
        receiver.connect("127.0.0.1:9").unwrap();
        let mut socket = FlowSocket::open(address, None, false).unwrap();
        socket.send(b"abc", 1, None).unwrap();
        assert_eq!(socket.refused(), 3);
    }
}
