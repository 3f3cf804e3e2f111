//! A backend that isn't there yet.

use tokio::net::TcpSocket;

use crate::backend::FakeBackend;
use crate::daemon::Setup;
use crate::exporter::{Exporter, now, v5_datagram};
use crate::spans::{assert_traces, flows_at};

/// A port that refuses connections until the socket listens, and that no other process can take.
pub(crate) fn reserved_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

#[tokio::test]
async fn it_starts_without_a_backend_and_delivers_when_it_comes() {
    let port = reserved_port();
    let endpoint = format!("http://{}", port.local_addr().unwrap());
    let daemon = Setup::to_endpoint(&endpoint).start().await;
    let exporter = Exporter::new("127.0.0.2", daemon.address());
    exporter.send(&v5_datagram(now(), 0, 1000, 30));
    daemon
        .says("backend is not accepting spans: they wait in the queue")
        .await;
    exporter.send(&v5_datagram(now(), 30, 1000, 30));
    let backend = FakeBackend::grpc()
        .listener(port.listen(64).unwrap())
        .start()
        .await;
    let spans = flows_at(&backend, 60).await;
    assert_eq!(assert_traces(&spans).len(), 2);
    daemon.says("backend accepts spans again").await;
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    ended.assert_totals(&[("flow_spans_accepted", 60), ("flow_spans_dropped", 0)]);
}
