//! A server for tests that neither accepts nor refuses.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// A listener whose queue is full: further connections are neither accepted nor refused.
pub(in super::super) struct Swallowing {
    pub(in super::super) address: SocketAddr,
    _listener: TcpListener,
    _held: Vec<TcpStream>,
}

impl Swallowing {
    pub(in super::super) async fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        // The kernel lets a few more wait than were asked for.
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            held.push(stream.unwrap());
            assert!(held.len() < 64, "the queue never fills");
        }
        Self {
            address,
            _listener: listener,
            _held: held,
        }
    }
}
