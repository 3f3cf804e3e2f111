//! `netflow2traces healthcheck`: asks the daemon of this machine whether it is ready. For container images without a
//! shell or an HTTP client.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// For each step: connecting, asking, the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Letters of the answer that are shown.
const MAX_SHOWN: usize = 300;
/// Octets of the answer that are read.
const MAX_ANSWER: u64 = 8 * 1024;

/// Why the daemon isn't ready, as far as can be seen from outside.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    #[error(
        "the daemon has no admin server to ask: NETFLOW_ADMIN_PORT is 0; set it to a port for the \
         daemon and for the health check"
    )]
    TurnedOff,
    #[error(
        "no answer from {address}: {source}; is the daemon running, with the same \
         NETFLOW_ADMIN_HOST and NETFLOW_ADMIN_PORT?"
    )]
    NoAnswer {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("{address} answers: {answer}")]
    Answer { address: SocketAddr, answer: String },
}

/// Asks `/readyz` at the address where the daemon is configured to serve it; `None`: it is turned off.
///
/// # Errors
/// [`NotReady`].
pub fn check(admin: Option<SocketAddr>) -> Result<(), NotReady> {
    let address = reachable(admin.ok_or(NotReady::TurnedOff)?);
    let answer = ask(address).or_else(|error| match admin {
        // A daemon that serves both families, or found no IPv6.
        Some(admin) if admin.is_ipv6() && admin.ip().is_unspecified() => {
            ask((Ipv4Addr::LOCALHOST, admin.port()).into()).map_err(|_| error)
        }
        _ => Err(error),
    });
    let answer = answer.map_err(|error| NotReady::NoAnswer {
        address,
        source: named(error),
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(());
    }
    // What the daemon answers is a line of text.
    let line = body.trim().lines().next().unwrap_or_default();
    let answer = match line {
        "" => status.to_owned(),
        line if line.starts_with('<') => {
            format!("{status}, with a page for browsers; it may be another program")
        }
        line => line.chars().take(MAX_SHOWN).collect(),
    };
    Err(NotReady::Answer { address, answer })
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // In one piece: a server that answers after the first of several resets the connection for the rest.
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// An error of a wait that was too long says so itself.
fn named(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            let seconds = PATIENCE.as_secs();
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("nothing came within {seconds} s"),
            )
        }
        _ => error,
    }
}

/// The address by which a bound one is reached from this machine.
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // Where IPv6 is turned off, it is IPv4 that is served.
        IpAddr::V6(ip) if ip.is_unspecified() && has_loopback_ipv6() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn has_loopback_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// As where IPv6 is turned off.
    #[test]
    fn a_daemon_on_both_families_is_found_over_ipv4_alone() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let daemon = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let octets = stream.read(&mut request).unwrap();
            let is_whole = request[..octets].ends_with(b"\r\n\r\n");
            assert!(is_whole, "only {octets} octets came at once");
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nready\n").unwrap();
        });
        check(Some((Ipv6Addr::UNSPECIFIED, port).into())).unwrap();
        daemon.join().unwrap();
    }

    #[test]
    fn a_page_of_another_program_is_not_shown() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let other = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).unwrap();
            let answer = b"HTTP/1.1 404 Not Found\r\n\r\n<!DOCTYPE HTML>\n<html>\n";
            stream.write_all(answer).unwrap();
        });
        let error = check(Some(address)).unwrap_err().to_string();
        assert!(error.contains("404 Not Found, with a page"), "{error}");
        other.join().unwrap();
    }
}
