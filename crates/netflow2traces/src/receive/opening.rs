//! [`Receivers::open`] with the choices that tests and benches make.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};

use super::Receivers;
use super::counters::WorkerCounters;
use super::error::BindError;
#[cfg(target_os = "linux")]
use super::inherited::{Group, Kept};
use super::socket::{self, BoundSocket, Listen, ReceiveBuffer, Steering, granted_buffer};
#[cfg(target_os = "linux")]
use super::steering::SteeringProgram;
use crate::config;

/// How to open [`Receivers`].
pub struct Opening<'a> {
    config: &'a config::Receive,
    portable: bool,
    #[cfg(target_os = "linux")]
    kept: Kept,
    #[cfg(target_os = "linux")]
    steering: Option<SteeringProgram>,
}

impl<'a> Opening<'a> {
    /// As the system allows.
    #[must_use]
    pub fn new(config: &'a config::Receive) -> Self {
        Self {
            config,
            portable: cfg!(not(target_os = "linux")),
            #[cfg(target_os = "linux")]
            kept: Kept::default(),
            #[cfg(target_os = "linux")]
            steering: None,
        }
    }

    /// Uses the receiver for other systems on any system: it has one worker, and no kernel
    /// time-stamps or drop counts.
    #[must_use]
    pub fn portable(mut self) -> Self {
        self.portable = true;
        self
    }

    /// Goes on with sockets that were there before.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn kept(mut self, kept: Kept) -> Self {
        self.kept = kept;
        self
    }

    /// Steers by another program.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn steering(mut self, program: SteeringProgram) -> Self {
        self.steering = Some(program);
        self
    }

    /// Binds the sockets.
    ///
    /// # Errors
    /// As [`Receivers::open`].
    pub fn open(self) -> Result<Receivers, BindError> {
        let config = self.config;
        let portable = self.portable;
        let plan = socket::plan(&possible(&config.listen, has_ipv6));
        if plan.is_empty() {
            return Err(BindError::NoAddress);
        }
        let (workers, steering) = self.open_sockets(&plan)?;
        let first = workers.iter().take(1).flatten();
        let local_addresses = first.map(|bound| bound.address).collect();
        let sockets = workers.iter().flatten();
        let granted = sockets.map(|bound| granted_buffer(&bound.socket)).min();
        let counters: Vec<_> = workers.iter().map(|_| WorkerCounters::default()).collect();
        Ok(Receivers {
            workers,
            portable,
            local_addresses,
            steering,
            receive_buffer: ReceiveBuffer {
                requested: config.receive_buffer,
                granted: granted.unwrap_or(0),
            },
            counters: Arc::from(counters),
        })
    }

    fn open_sockets(self, plan: &[Listen]) -> Result<(Vec<Vec<BoundSocket>>, Steering), BindError> {
        let buffer = self.config.receive_buffer;
        #[cfg(target_os = "linux")]
        if !self.portable {
            let mut kept = self.kept;
            let mut workers = self.config.workers.max(1);
            if kept.activated {
                // A socket of ours can't join those of another user.
                let sizes = kept.groups.iter().map(|group| group.sockets.len());
                let passed = sizes.min().unwrap_or(1);
                if passed < workers {
                    tracing::warn!(
                        sockets = passed,
                        workers,
                        "socket activation passed fewer sockets for an address than there are workers: \
                         repeat its ListenDatagram= for each worker, with ReusePort=yes"
                    );
                    workers = passed;
                }
            } else if kept.groups.is_empty() {
                kept.groups = plan.iter().map(|listen| Group::new(*listen)).collect();
            }
            let mut refused = None;
            if workers > 1
                && let Some(listen) = plan.first()
                && let Err(error) = socket::can_share(listen)
            {
                workers = 1;
                refused = Some(error);
            }
            let by_address = || SteeringProgram::by_source_address(workers);
            let program = self.steering.unwrap_or_else(by_address);
            let (opened, steering) = socket::open(kept, workers, buffer, &program)?;
            return Ok((opened, refused.map_or(steering, Steering::Refused)));
        }
        let only = socket::open_portable(plan, buffer)?;
        Ok((vec![only], Steering::OneWorker))
    }
}

/// The addresses, where the system has no IPv6 with IPv4's wildcard in place of IPv6's.
fn possible(listen: &[SocketAddr], has_ipv6: impl Fn() -> bool) -> Vec<SocketAddr> {
    let replaced = |address: &SocketAddr| {
        if address.is_ipv4() || !address.ip().is_unspecified() || has_ipv6() {
            return *address;
        }
        tracing::warn!(
            %address,
            "this system has no IPv6: listening on 0.0.0.0 instead"
        );
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))
    };
    listen.iter().map(replaced).collect()
}

/// Whether the system makes sockets of IPv6.
fn has_ipv6() -> bool {
    Socket::new(Domain::IPV6, Type::DGRAM, None).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_ipv6_its_wildcard_is_that_of_ipv4() {
        let listen = ["[::]:1", "[2001:db8::1]:1", "0.0.0.0:2", "192.0.2.1:3"];
        let listen: Vec<SocketAddr> = listen.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(possible(&listen, || true), listen);
        let without = possible(&listen, || false);
        assert_eq!(without[0], "0.0.0.0:1".parse().unwrap());
        // An address of its own can't be bound, and the error says why.
        assert_eq!(without[1..], listen[1..]);
    }
}
