//! Sockets that were bound before this process began: by systemd's socket activation, or by the process before
//! this one, which left them in systemd's descriptor store. The kernel went on filling them meanwhile.
//!
//! Descriptors and names in; sockets sorted by address and worker out, and those that the settings have no use for.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Socket, Type};

use super::socket::{Listen, plan};
use super::sys;
use crate::config;

/// Names in the descriptor store begin with it; the worker's number follows.
const STORED: &str = "netflow-w";

/// Sockets that came with the process.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<InheritedSocket>,
}

#[derive(Debug)]
struct InheritedSocket {
    name: String,
    socket: Socket,
    address: SocketAddr,
    only_v6: bool,
    /// The worker that it had; `None`: it is of socket activation.
    worker: Option<usize>,
}

/// The sockets to continue with.
#[derive(Debug, Default)]
pub struct Kept {
    /// Their addresses take the place of the configured ones.
    pub(super) activated: bool,
    pub(super) groups: Vec<Group>,
}

/// The sockets of one address, in the order of the workers.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) listen: Listen,
    pub(super) sockets: Vec<Socket>,
    /// How many sockets the kernel has for the address.
    pub(super) size: usize,
}

impl Group {
    /// All of whose sockets are still to be made.
    pub(super) fn new(listen: Listen) -> Self {
        Self {
            listen,
            sockets: Vec::new(),
            size: 0,
        }
    }
}

/// A socket that the settings have no use for. It goes when this is dropped and the service manager forgets it.
#[derive(Debug)]
pub struct Unusable {
    /// As the service manager knows it.
    pub name: String,
    pub address: SocketAddr,
    /// It is in the descriptor store, from which it should be removed.
    pub is_stored: bool,
    _socket: Socket,
}

/// The name of a worker's socket in the descriptor store, where a colon can't stand.
pub(super) fn stored_name(worker: usize, address: SocketAddr) -> String {
    let ip = address.ip().to_string().replace(':', ".");
    format!("{STORED}{worker}-{}-{ip}", address.port())
}

fn stored_worker(name: &str) -> Option<usize> {
    let (worker, _) = name.strip_prefix(STORED)?.split_once('-')?;
    worker.parse().ok()
}

impl Inherited {
    /// Takes over what `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES` say, the first time it is called. To be
    /// called before the process opens anything else.
    pub fn take(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name| variable(name)?.parse::<u32>().ok();
        if number("LISTEN_PID") != Some(std::process::id()) {
            return Self::default();
        }
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned);
        let descriptors = sys::inherited(number("LISTEN_FDS").unwrap_or(0));
        Self::new(
            descriptors
                .into_iter()
                .zip(names.chain(std::iter::repeat_with(String::new))),
        )
    }

    fn new(descriptors: impl Iterator<Item = (OwnedFd, String)>) -> Self {
        let mut sockets = Vec::new();
        for (descriptor, name) in descriptors {
            match InheritedSocket::new(Socket::from(descriptor), name) {
                Ok(socket) => sockets.push(socket),
                Err(name) => tracing::warn!(
                    name,
                    "the service manager passed a descriptor that is no bound UDP socket: it is closed"
                ),
            }
        }
        Self { sockets }
    }

    /// Keeps what the settings have a use for, and gives back the rest.
    #[must_use]
    pub fn sort(self, config: &config::Receive) -> (Kept, Vec<Unusable>) {
        let activated = self.sockets.iter().any(|socket| socket.worker.is_none());
        let mut unusable = Vec::new();
        let mut groups: Vec<Group> = Vec::new();
        if activated {
            for socket in self.sockets {
                let listen = Listen::new(socket.address, socket.only_v6);
                match groups.iter_mut().find(|group| group.listen == listen) {
                    _ if socket.worker.is_some() => unusable.push(socket.give_up()),
                    Some(group) => {
                        group.sockets.push(socket.socket);
                        group.size += 1;
                    }
                    None => groups.push(Group {
                        listen,
                        sockets: vec![socket.socket],
                        size: 1,
                    }),
                }
            }
            return (Kept { activated, groups }, unusable);
        }
        let mut sockets = self.sockets;
        sockets.sort_by_key(|socket| socket.worker);
        for listen in plan(&config.listen) {
            let (group, others): (Vec<_>, Vec<_>) = sockets
                .into_iter()
                .partition(|socket| socket.serves(&listen));
            sockets = others;
            // The kernel numbers them in the order in which they were bound, and steers by that number.
            let is_whole = group
                .iter()
                .enumerate()
                .all(|(index, socket)| socket.worker == Some(index));
            let mut kept = Vec::new();
            for socket in group {
                if is_whole && kept.len() < config.workers {
                    kept.push(socket.socket);
                } else {
                    unusable.push(socket.give_up());
                }
            }
            groups.push(Group {
                listen,
                size: kept.len(),
                sockets: kept,
            });
        }
        unusable.extend(sockets.into_iter().map(InheritedSocket::give_up));
        // The last of a group goes first: the kernel puts the last into the place of one that goes.
        unusable.reverse();
        (Kept { activated, groups }, unusable)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// There are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }
}

impl InheritedSocket {
    fn new(socket: Socket, name: String) -> Result<Self, String> {
        let local = socket.local_addr().ok().and_then(|local| local.as_socket());
        let Some(address) = local.filter(|local| local.port() != 0) else {
            return Err(name);
        };
        if !matches!(socket.r#type(), Ok(kind) if kind == Type::DGRAM) {
            return Err(name);
        }
        let only_v6 = Domain::for_address(address) == Domain::IPV6
            && address.ip().is_unspecified()
            && socket.only_v6().unwrap_or(false);
        Ok(Self {
            worker: stored_worker(&name),
            name,
            socket,
            address,
            only_v6,
        })
    }

    fn serves(&self, listen: &Listen) -> bool {
        Listen::new(self.address, self.only_v6) == *listen
    }

    fn give_up(self) -> Unusable {
        Unusable {
            is_stored: self.worker.is_some(),
            name: self.name,
            address: self.address,
            _socket: self.socket,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket on loopback, and where it is bound.
    fn bound() -> (OwnedFd, SocketAddr) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket.into(), address)
    }

    /// Another name for the same socket, as a member of its group would have.
    fn again(descriptor: &OwnedFd) -> OwnedFd {
        descriptor.try_clone().unwrap()
    }

    fn config(listen: &[SocketAddr], workers: usize) -> config::Receive {
        config::Receive {
            listen: listen.to_vec(),
            workers,
            receive_buffer: 1 << 20,
        }
    }

    fn sizes(kept: &Kept) -> Vec<usize> {
        kept.groups
            .iter()
            .map(|group| group.sockets.len())
            .collect()
    }

    fn names(unusable: &[Unusable]) -> Vec<&str> {
        unusable.iter().map(|socket| socket.name.as_str()).collect()
    }

    #[test]
    fn names_carry_worker_port_and_address_without_a_colon() {
        for (address, name) in [
            ("0.0.0.0:2055", "netflow-w3-2055-0.0.0.0"),
            ("[2001:db8::1]:4739", "netflow-w3-4739-2001.db8..1"),
        ] {
            let stored = stored_name(3, address.parse().unwrap());
            assert_eq!(stored, name);
            assert_eq!(stored_worker(&stored), Some(3));
        }
        for other in ["", "netflow2traces.socket", "netflow-w", "netflow-wx-1-1"] {
            assert_eq!(stored_worker(other), None, "{other}");
        }
    }

    #[test]
    fn sockets_come_back_to_their_workers_whatever_their_order() {
        let (one, address) = bound();
        let stored = [2, 0, 1].map(|worker| (again(&one), stored_name(worker, address)));
        let inherited = Inherited::new(stored.into_iter());
        assert_eq!(inherited.len(), 3);
        let (kept, unusable) = inherited.sort(&config(&[address], 3));
        assert_eq!((sizes(&kept), kept.activated), (vec![3], false));
        assert!(unusable.is_empty());
    }

    #[test]
    fn fewer_workers_give_up_the_last_ones_and_more_find_the_first() {
        let (one, address) = bound();
        let stored = || (0..3).map(|worker| (again(&one), stored_name(worker, address)));
        let (kept, unusable) = Inherited::new(stored()).sort(&config(&[address], 1));
        assert_eq!(sizes(&kept), [1]);
        let gone = [2, 1].map(|worker| stored_name(worker, address));
        assert_eq!(names(&unusable), gone);
        let (kept, unusable) = Inherited::new(stored()).sort(&config(&[address], 5));
        assert_eq!((sizes(&kept), unusable.len()), (vec![3], 0));
    }

    #[test]
    fn a_group_with_a_gap_can_not_be_steered() {
        let (one, address) = bound();
        let stored = [0, 2].map(|worker| (again(&one), stored_name(worker, address)));
        let (kept, unusable) = Inherited::new(stored.into_iter()).sort(&config(&[address], 3));
        assert_eq!((sizes(&kept), unusable.len()), (vec![0], 2));
    }

    #[test]
    fn an_address_that_is_not_configured_any_more_is_given_up() {
        let ((one, first), (two, second)) = (bound(), bound());
        let stored = [(one, stored_name(0, first)), (two, stored_name(0, second))];
        let (kept, unusable) = Inherited::new(stored.into_iter()).sort(&config(&[second], 1));
        assert_eq!(sizes(&kept), [1]);
        assert_eq!(unusable[0].address, first);
        assert!(unusable[0].is_stored);
    }

    #[test]
    fn activated_sockets_say_where_to_listen() {
        let ((one, first), (two, second)) = (bound(), bound());
        let passed = [
            (again(&one), "netflow2traces.socket".to_owned()),
            (one, "netflow2traces.socket".to_owned()),
            (two, stored_name(0, second)),
        ];
        let elsewhere = config(&["127.0.0.1:2055".parse().unwrap()], 4);
        let (kept, unusable) = Inherited::new(passed.into_iter()).sort(&elsewhere);
        assert_eq!((sizes(&kept), kept.activated), (vec![2], true));
        assert_eq!(kept.groups[0].listen, Listen::new(first, false));
        assert_eq!(unusable[0].address, second);
    }

    #[test]
    fn what_is_no_bound_udp_socket_is_closed() {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let unbound = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        let passed = [OwnedFd::from(tcp), file.into(), unbound.into()];
        let passed = passed.map(|descriptor| (descriptor, String::new()));
        assert!(Inherited::new(passed.into_iter()).is_empty());
    }

    #[test]
    fn descriptors_of_another_process_are_left_alone() {
        let variables = |name: &str| match name {
            "LISTEN_PID" => Some((std::process::id() + 1).to_string()),
            "LISTEN_FDS" => Some("1".to_owned()),
            _ => None,
        };
        assert!(Inherited::take(variables).is_empty());
        assert!(Inherited::take(|_| None).is_empty());
    }
}
