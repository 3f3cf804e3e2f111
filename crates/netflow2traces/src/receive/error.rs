//! Why a socket could not be opened, as a sentence that says what to do about it.

use std::io;
use std::net::SocketAddr;

/// An address that can't be listened on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// There is nothing to listen on.
    #[error("there is no address to listen on: set NETFLOW_LISTEN_HOST and NETFLOW_LISTEN_PORT")]
    NoAddress,
    /// Another program, or another instance of this one, has the port.
    #[error(
        "cannot listen on UDP {address}: another program already uses port {}; `ss -ulpn 'sport = \
         :{}'` shows which (its process is listed when run as root), or choose another port with \
         --listen-port (NETFLOW_LISTEN_PORT)",
        .address.port(), .address.port()
    )]
    InUse { address: SocketAddr },
    /// The port is a privileged one.
    #[error(
        "cannot listen on UDP {address}: ports below 1024 need the capability \
         CAP_NET_BIND_SERVICE; grant it (`setcap cap_net_bind_service+ep` on the program's file, \
         AmbientCapabilities= in a systemd unit), or choose a port from 1024 up with --listen-port \
         (NETFLOW_LISTEN_PORT)"
    )]
    PrivilegedPort { address: SocketAddr },
    /// A security policy forbids it.
    #[error(
        "cannot listen on UDP {address}: the system's security policy (SELinux, AppArmor, seccomp) \
         doesn't permit it; allow the program this port, or choose another with NETFLOW_LISTEN_PORT"
    )]
    NotPermitted { address: SocketAddr },
    /// No interface has the address.
    #[error(
        "cannot listen on UDP {address}: no interface of this machine has the address {}; `ip \
         address` lists those it has, and NETFLOW_LISTEN_HOST=0.0.0.0 listens on all of them",
        .address.ip()
    )]
    NotOurs { address: SocketAddr },
    /// The system lacks IPv4 or IPv6.
    #[error(
        "cannot listen on UDP {address}: {} is turned off on this system; turn it on, or set \
         NETFLOW_LISTEN_HOST to an {} address (such as {})",
        if .address.is_ipv6() { "IPv6" } else { "IPv4" },
        if .address.is_ipv6() { "IPv4" } else { "IPv6" },
        if .address.is_ipv6() { "0.0.0.0" } else { "::" }
    )]
    FamilyUnsupported { address: SocketAddr },
    /// A link-local address needs its interface.
    #[error(
        "cannot listen on UDP {address}: a link-local address is valid only with its interface; \
         set NETFLOW_LISTEN_HOST=:: to listen on all addresses"
    )]
    LinkLocalWithoutInterface { address: SocketAddr },
    /// Every worker needs a descriptor for each address.
    #[error(
        "cannot listen on UDP {address}: the process may not open more files; raise the limit \
         (`ulimit -n`, LimitNOFILE= in a systemd unit), or lower NETFLOW_WORKERS"
    )]
    TooManyFiles { address: SocketAddr },
    /// Whatever else the system says.
    #[error("cannot listen on UDP {address}: {action} failed: {source}")]
    System {
        address: SocketAddr,
        action: &'static str,
        source: io::Error,
    },
}

impl BindError {
    /// Reads what the system said when `action` failed for `address`.
    pub(super) fn new(address: SocketAddr, action: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::AddrNotAvailable => Self::NotOurs { address },
            io::ErrorKind::PermissionDenied if matches!(address.port(), 1..1024) => {
                Self::PrivilegedPort { address }
            }
            io::ErrorKind::PermissionDenied => Self::NotPermitted { address },
            io::ErrorKind::InvalidInput if is_link_local_without_scope(address) => {
                Self::LinkLocalWithoutInterface { address }
            }
            _ => match source.raw_os_error() {
                Some(code) if code == FAMILY_UNSUPPORTED => Self::FamilyUnsupported { address },
                Some(code) if TOO_MANY_FILES.contains(&code) => Self::TooManyFiles { address },
                _ => Self::System {
                    address,
                    action,
                    source,
                },
            },
        }
    }
}

#[cfg(unix)]
const FAMILY_UNSUPPORTED: i32 = libc::EAFNOSUPPORT;
#[cfg(unix)]
const TOO_MANY_FILES: [i32; 2] = [libc::EMFILE, libc::ENFILE];
/// WSAEAFNOSUPPORT and WSAEMFILE.
#[cfg(not(unix))]
const FAMILY_UNSUPPORTED: i32 = 10_047;
#[cfg(not(unix))]
const TOO_MANY_FILES: [i32; 1] = [10_024];

fn is_link_local_without_scope(address: SocketAddr) -> bool {
    matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_remedy() {
        let cases = [
            ("0.0.0.0:2055", libc::EADDRINUSE, "ss -ulpn 'sport = :2055'"),
            ("0.0.0.0:514", libc::EACCES, "CAP_NET_BIND_SERVICE"),
            ("0.0.0.0:2055", libc::EACCES, "security policy"),
            (
                "198.51.100.1:2055",
                libc::EADDRNOTAVAIL,
                "NETFLOW_LISTEN_HOST=0.0.0.0",
            ),
            ("[::]:2055", libc::EAFNOSUPPORT, "IPv6 is turned off"),
            ("[fe80::1]:2055", libc::EINVAL, "link-local"),
            ("0.0.0.0:2055", libc::EMFILE, "NETFLOW_WORKERS"),
            (
                "0.0.0.0:2055",
                libc::ENOMEM,
                "bind failed: Cannot allocate memory",
            ),
        ];
        for (address, code, part) in cases {
            let address = address.parse().unwrap();
            let error = BindError::new(address, "bind", io::Error::from_raw_os_error(code));
            let sentence = error.to_string();
            assert!(sentence.contains(part), "{sentence}");
            assert!(sentence.starts_with(&format!("cannot listen on UDP {address}: ")));
            assert!(
                !sentence.contains("  ") && !sentence.contains('\n'),
                "{sentence}"
            );
        }
    }
}
