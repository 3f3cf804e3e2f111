//! Connections that messages leave by, over TCP or TLS: one for each exporter that has an address of its own.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};

/// Most systems allow a process 1,024 open files.
const MAX_CONNECTIONS: usize = 900;

/// How messages leave.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Transport {
    #[default]
    Udp,
    Tcp,
    Tls(TlsOptions),
}

impl Transport {
    /// What goes over it: a connection has no datagrams.
    pub(super) fn units(&self) -> &'static str {
        match self {
            Self::Udp => "datagrams",
            Self::Tcp | Self::Tls(_) => "messages",
        }
    }
}

/// What TLS needs.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsOptions {
    /// The host as it was given: the collector's certificate must have it.
    pub host: String,
    /// A PEM file with the authority that has signed it.
    pub authority: PathBuf,
    /// PEM files of the exporter's own certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// All connections to a target.
pub(super) struct Connections {
    target: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    open: Vec<(Option<Ipv4Addr>, Connection)>,
}

enum Connection {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Connections {
    /// Without any yet.
    ///
    /// # Errors
    /// When a file can't be used.
    pub(super) fn new(target: SocketAddr, transport: &Transport) -> anyhow::Result<Self> {
        let tls = match transport {
            Transport::Tls(options) => Some(client(options)?),
            Transport::Udp | Transport::Tcp => None,
        };
        Ok(Self {
            target,
            tls,
            open: Vec::new(),
        })
    }

    /// Sends messages over the connection of `source`, which is made if there is none; waits while the collector doesn't
    /// read.
    ///
    /// # Errors
    /// When it can't connect, or the collector has closed the connection.
    pub(super) fn send(&mut self, octets: &[u8], source: Option<Ipv4Addr>) -> io::Result<()> {
        let connection = match self.open.iter().position(|(of, _)| *of == source) {
            Some(known) => self.open.get_mut(known),
            None => {
                if self.open.len() == MAX_CONNECTIONS {
                    return Err(io::Error::other(format!(
                        "over connections there can be {MAX_CONNECTIONS} exporters at most"
                    )));
                }
                let connection = self.connect(source)?;
                self.open.push((source, connection));
                self.open.last_mut()
            }
        };
        match connection {
            Some((_, Connection::Tcp(stream))) => stream.write_all(octets),
            Some((_, Connection::Tls(stream))) => {
                stream.write_all(octets)?;
                stream.flush()
            }
            None => Ok(()),
        }
    }

    /// Where the connection of `source` comes from.
    pub(super) fn local_address(&self, source: Option<Ipv4Addr>) -> Option<SocketAddr> {
        let (_, connection) = self.open.iter().find(|(of, _)| *of == source)?;
        let stream = match connection {
            Connection::Tcp(stream) => stream,
            Connection::Tls(stream) => &stream.sock,
        };
        stream.local_addr().ok()
    }

    fn connect(&self, source: Option<Ipv4Addr>) -> io::Result<Connection> {
        let socket = Socket::new(Domain::for_address(self.target), Type::STREAM, None)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        }
        socket.connect(&self.target.into())?;
        let mut stream = TcpStream::from(socket);
        let Some((config, name)) = &self.tls else {
            return Ok(Connection::Tcp(stream));
        };
        let mut connection =
            ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Connection::Tls(Box::new(StreamOwned::new(
            connection, stream,
        ))))
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        for (_, connection) in &mut self.open {
            if let Connection::Tls(stream) = connection {
                stream.conn.send_close_notify();
                // The collector may have closed it.
                let _ = stream.flush();
            }
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("target", &self.target)
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

fn client(options: &TlsOptions) -> anyhow::Result<(Arc<ClientConfig>, ServerName<'static>)> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(&options.authority)? {
        let unusable = || {
            format!(
                "{}: a certificate can't be used",
                options.authority.display()
            )
        };
        roots.add(authority).with_context(unusable)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let unreadable = || {
                format!(
                    "{}: there is no private key that can be used",
                    key.display()
                )
            };
            let private = PrivateKeyDer::from_pem_file(key).with_context(unreadable)?;
            builder
                .with_client_auth_cert(certificates(certificate)?, private)
                .with_context(unreadable)?
        }
    };
    let name = ServerName::try_from(options.host.clone())
        .with_context(|| format!("--to {}: no certificate can have this name", options.host))?;
    Ok((Arc::new(config), name))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let unreadable = || format!("{} can't be read", path.display());
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .with_context(unreadable)?;
    if certificates.is_empty() {
        bail!("{}: there is no certificate inside", path.display());
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn each_exporter_has_a_connection_from_its_own_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let mut connections = Connections::new(target, &Transport::Tcp).unwrap();
        let sources = [1, 2].map(|last| Some(Ipv4Addr::new(127, 0, 1, last)));
        for source in sources.into_iter().cycle().take(6) {
            connections.send(b"message", source).unwrap();
        }
        assert_eq!(connections.local_address(None), None);
        let ports = sources.map(|source| connections.local_address(source));
        drop(connections);
        for (source, local) in sources.into_iter().zip(ports) {
            let (mut stream, peer) = listener.accept().unwrap();
            assert_eq!(Some(peer), local);
            assert_eq!(Some(peer.ip()), source.map(IpAddr::V4));
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            assert_eq!(received, b"message".repeat(3));
        }
    }

    #[test]
    fn a_file_that_can_not_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("ca.pem");
        let options = TlsOptions {
            host: "collector.example".to_owned(),
            authority: authority.clone(),
            identity: None,
        };
        let target = SocketAddr::from(([127, 0, 0, 1], 4740));
        let refused = || {
            let error = Connections::new(target, &Transport::Tls(options.clone())).unwrap_err();
            format!("{error:#}")
        };
        assert!(refused().contains("ca.pem can't be read"), "{}", refused());
        std::fs::write(&authority, "nothing").unwrap();
        assert!(refused().contains("ca.pem"), "{}", refused());
    }
}
