//! Addresses in, bound sockets out: for each worker a socket on every address, the kernel choosing
//! among the workers by source address. Nobody else may have the ports.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::error::BindError;

/// How the receive buffers came out; sizes in octets, as `NETFLOW_RECEIVE_BUFFER` and the sysctl
/// count them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ReceiveBuffer {
    /// What was asked for each socket.
    pub requested: usize,
    /// What the least of the sockets got.
    pub granted: usize,
}

impl ReceiveBuffer {
    /// The setting that limits it, where the system is known to have one.
    pub const SYSCTL: Option<&'static str> = if cfg!(target_os = "linux") {
        Some("net.core.rmem_max")
    } else {
        None
    };

    /// Whether the system gave less than was asked.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.granted < self.requested
    }
}

/// Who chooses the worker for a datagram.
#[derive(Debug)]
pub enum Steering {
    /// There is only one.
    OneWorker,
    /// The kernel, by source address.
    BySourceAddress,
    /// The kernel refused the program, hence only one worker receives.
    Refused(io::Error),
}

/// An address to bind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Listen {
    address: SocketAddr,
    /// `::` leaves IPv4 to a `0.0.0.0` on the same port.
    only_v6: bool,
}

impl Listen {
    pub(super) fn new(address: SocketAddr, only_v6: bool) -> Self {
        Self { address, only_v6 }
    }
}

/// The addresses to bind, each once, without those that a wildcard address on the same port serves
/// too. Every port 0 is a port of its own.
pub(super) fn plan(addresses: &[SocketAddr]) -> Vec<Listen> {
    let mut plan: Vec<Listen> = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let wildcard = |ipv6: bool| {
            addresses.iter().any(|other| {
                other.port() == address.port()
                    && other.port() != 0
                    && other.ip().is_unspecified()
                    && other.is_ipv6() == ipv6
            })
        };
        let is_wildcard = address.ip().is_unspecified();
        let served = wildcard(true) || (address.is_ipv4() && wildcard(false));
        let known = plan.iter().any(|listen| listen.address == address) && address.port() != 0;
        if known || (served && !is_wildcard) {
            continue;
        }
        plan.push(Listen {
            address,
            only_v6: is_wildcard && address.is_ipv6() && wildcard(false),
        });
    }
    plan
}

/// A bound socket as a worker takes it over.
#[derive(Debug)]
pub(super) struct BoundSocket {
    pub(super) socket: Socket,
    /// Where it is bound; a port 0 has become a port.
    pub(super) address: SocketAddr,
    /// The service manager has it: it was there before us.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "only Linux passes sockets on")
    )]
    pub(super) is_kept: bool,
    /// What its drop counter said when it began to take datagrams.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "only Linux tells drops")
    )]
    pub(super) drops_before: u32,
    /// A filter keeps datagrams out.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "only Linux steers")
    )]
    is_filtered: bool,
}

impl BoundSocket {
    fn new(socket: Socket, listen: &Listen) -> Result<Self, BindError> {
        let not_ip = || io::Error::other("the socket's address is not an IP address");
        let local = socket.local_addr();
        let address = local
            .and_then(|local| local.as_socket().ok_or_else(not_ip))
            .map_err(|source| BindError::new(listen.address, "reading the port", source))?;
        Ok(Self {
            socket,
            address,
            is_kept: false,
            drops_before: 0,
            is_filtered: false,
        })
    }
}

/// A socket that isn't bound yet.
fn create(listen: &Listen) -> Result<Socket, BindError> {
    let address = listen.address;
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))
        .map_err(|source| BindError::new(address, "creating the socket", source))?;
    if address.is_ipv6() {
        match socket.set_only_v6(listen.only_v6) {
            Err(source) if listen.only_v6 => {
                return Err(BindError::new(address, "setting IPV6_V6ONLY", source));
            }
            // Where it is refused, a socket serves both families by itself.
            _ => {}
        }
    }
    Ok(socket)
}

fn bind(socket: &Socket, listen: &Listen) -> Result<(), BindError> {
    socket
        .bind(&listen.address.into())
        .map_err(|source| BindError::new(listen.address, "bind", source))
}

/// The receive buffer of `socket` in the kernel's own accounting.
pub(super) fn accounted_buffer(socket: &Socket) -> usize {
    socket.recv_buffer_size().unwrap_or(0)
}

/// The receive buffer of `socket` in the terms of what was asked.
pub(super) fn granted_buffer(socket: &Socket) -> usize {
    let accounted = accounted_buffer(socket);
    // Linux doubles what it is asked, since it counts its own overhead too (socket(7)).
    if cfg!(target_os = "linux") {
        accounted / 2
    } else {
        accounted
    }
}

/// Binds each address once, for one receiver, by what every system has.
pub(super) fn open_portable(
    plan: &[Listen],
    receive_buffer: usize,
) -> Result<Vec<BoundSocket>, BindError> {
    let mut sockets = Vec::with_capacity(plan.len());
    for listen in plan {
        let socket = create(listen)?;
        // More than the system's limit is an error on some systems; what came out is read back.
        let _ = socket.set_recv_buffer_size(receive_buffer);
        bind(&socket, listen)?;
        sockets.push(BoundSocket::new(socket, listen)?);
    }
    Ok(sockets)
}

#[cfg(target_os = "linux")]
pub(super) use linux::{can_share, open};

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::AsFd;

    use socket2::SockFilter;

    use super::super::inherited::{Group, Kept};
    use super::super::steering::SteeringProgram;
    use super::super::sys;
    use super::*;

    /// A socket filter's program that lets nothing pass.
    const TAKE_NOTHING: SockFilter = SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0);

    /// Binds every address for each worker, but for the sockets that were kept, and has the kernel steer among
    /// them. Gives each worker's sockets in the order of the plan; only one worker's where steering is refused.
    ///
    /// Until the kernel steers, the new sockets take nothing: a datagram at the wrong worker would teach
    /// a template to one that never sees its data.
    pub(in super::super) fn open(
        kept: Kept,
        workers: usize,
        receive_buffer: usize,
        program: &SteeringProgram,
    ) -> Result<(Vec<Vec<BoundSocket>>, Steering), BindError> {
        let mut opened: Vec<Vec<BoundSocket>> = (0..workers).map(|_| Vec::new()).collect();
        // Where socket activation has more sockets than there are workers, the others must not be chosen.
        let is_group = workers > 1 || kept.groups.iter().any(|group| group.size > workers);
        for group in kept.groups {
            let Group {
                mut listen,
                sockets: kept,
                ..
            } = group;
            let mut kept = kept.into_iter();
            for (index, sockets) in opened.iter_mut().enumerate() {
                if let Some(socket) = kept.next() {
                    sockets.push(keep(socket, &listen, receive_buffer, workers > 1)?);
                    continue;
                }
                let socket = create(&listen)?;
                configure(&socket, receive_buffer);
                let mut is_filtered = false;
                if workers > 1 {
                    // Best effort: without it a datagram of the first microseconds may stray.
                    is_filtered = socket.attach_filter(&[TAKE_NOTHING]).is_ok();
                    join_group(&socket, &listen, index == 0)?;
                } else {
                    bind(&socket, &listen)?;
                }
                let mut bound = BoundSocket::new(socket, &listen)?;
                bound.is_filtered = is_filtered;
                // The others take the port that the first got.
                listen.address.set_port(bound.address.port());
                sockets.push(bound);
            }
        }
        if !is_group {
            return Ok((opened, Steering::OneWorker));
        }
        let steering = match steer(&opened, program) {
            Ok(()) if workers == 1 => Steering::OneWorker,
            Ok(()) => Steering::BySourceAddress,
            Err(error) => {
                opened.truncate(1);
                Steering::Refused(error)
            }
        };
        for bound in opened.iter_mut().flatten() {
            take_datagrams(bound)
                .map_err(|source| BindError::new(bound.address, "detaching a filter", source))?;
        }
        Ok((opened, steering))
    }

    /// Goes on with a socket that was there before us. What its drop counter says was counted by others.
    fn keep(
        socket: Socket,
        listen: &Listen,
        receive_buffer: usize,
        is_shared: bool,
    ) -> Result<BoundSocket, BindError> {
        let failed = |source| BindError::new(listen.address, "taking over a socket", source);
        configure(&socket, receive_buffer);
        if is_shared {
            socket.set_reuse_port(true).map_err(failed)?;
        }
        let mut bound = BoundSocket::new(socket, listen)?;
        bound.is_kept = true;
        if let Ok(memory) = sys::socket_memory(bound.socket.as_fd()) {
            bound.drops_before = memory.drops;
            let queued = memory.queued_octets as usize;
            if queued > accounted_buffer(&bound.socket) / 10 * 9 {
                tracing::warn!(
                    address = %bound.address,
                    queued_bytes = queued,
                    "a socket's receive buffer was full when it was taken over: datagrams that arrived during the restart may be lost; raise NETFLOW_RECEIVE_BUFFER and net.core.rmem_max"
                );
            }
        }
        Ok(bound)
    }

    /// Whatever of it the system refuses: a small buffer is warned of when its size is read back, without the others
    /// the clock is read, and SO_MEMINFO has the drops.
    fn configure(socket: &Socket, receive_buffer: usize) {
        if sys::force_receive_buffer(socket.as_fd(), receive_buffer).is_err() {
            let _ = socket.set_recv_buffer_size(receive_buffer);
        }
        let _ = sys::enable_timestamps(socket.as_fd());
        let _ = sys::enable_drop_counter(socket.as_fd());
    }

    /// Whether sockets may share an address; they may not under some seccomp filters and old kernels.
    ///
    /// # Errors
    /// The system's reason.
    pub(in super::super) fn can_share(listen: &Listen) -> io::Result<()> {
        let domain = Domain::for_address(listen.address);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_port(true)
    }

    /// Binds the socket into the reuseport group of its address.
    ///
    /// With SO_REUSEPORT a second instance of this program could silently take half of the
    /// datagrams. So the first socket is bound without it, which fails if anyone has the port, and
    /// gets it afterwards, for the others to join. (It also keeps port 0 from choosing a port that
    /// another group has.)
    fn join_group(socket: &Socket, listen: &Listen, first: bool) -> Result<(), BindError> {
        if first {
            bind(socket, listen)?;
        }
        socket
            .set_reuse_port(true)
            .map_err(|source| BindError::new(listen.address, "setting SO_REUSEPORT", source))?;
        if first { Ok(()) } else { bind(socket, listen) }
    }

    /// A group numbers its sockets in the order of binding, so a socket's index in it is its
    /// worker's, on every address.
    fn steer(workers: &[Vec<BoundSocket>], program: &SteeringProgram) -> io::Result<()> {
        // The last worker's sockets: a group exists from its second member on.
        for bound in workers.last().into_iter().flatten() {
            sys::attach_steering(bound.socket.as_fd(), program.instructions())?;
        }
        Ok(())
    }

    /// Ends what [`TAKE_NOTHING`] began. The kernel counts what it kept out as dropped; the worker
    /// doesn't.
    fn take_datagrams(bound: &mut BoundSocket) -> io::Result<()> {
        if bound.is_kept {
            return Ok(());
        }
        if bound.is_filtered {
            bound.socket.detach_filter()?;
        }
        if let Ok(memory) = sys::socket_memory(bound.socket.as_fd()) {
            bound.drops_before = memory.drops;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_bound_once() {
        assert_eq!(
            planned(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:1", "[::1]:1"]),
            ["127.0.0.1:1", "127.0.0.1:2", "[::1]:1"]
        );
        assert_eq!(planned(&["127.0.0.1:0"; 2]), ["127.0.0.1:0"; 2]);
    }

    #[test]
    fn wildcard_serves_the_addresses_of_its_port() {
        assert_eq!(
            planned(&["127.0.0.1:1", "0.0.0.0:1", "127.0.0.1:2", "[::1]:1"]),
            ["0.0.0.0:1", "127.0.0.1:2", "[::1]:1"]
        );
        assert_eq!(planned(&["[::1]:1", "127.0.0.1:1", "[::]:1"]), ["[::]:1"]);
    }

    #[test]
    fn ipv6_wildcard_leaves_ipv4_to_its_own_wildcard() {
        assert_eq!(planned(&["[::]:1", "0.0.0.0:2"]), ["[::]:1", "0.0.0.0:2"]);
        assert_eq!(
            planned(&["[::]:1", "0.0.0.0:1"]),
            ["[::]:1 only", "0.0.0.0:1"]
        );
    }

    fn planned(addresses: &[&str]) -> Vec<String> {
        let addresses: Vec<_> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let describe = |Listen { address, only_v6 }| match only_v6 {
            true => format!("{address} only"),
            false => address.to_string(),
        };
        plan(&addresses).into_iter().map(describe).collect()
    }
}
