//! One connection without a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use netflow_wire::Transport;
use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::watch;

use super::connection::{Connection, End, Shared};
use super::inbox::Outlet;
use super::{Bounds, Count, Inbox, Reason, Registry};
use crate::receive::Waker;

/// The least message.
const MESSAGE: [u8; 16] = [0, 10, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

struct Rig {
    shared: Arc<Shared>,
    outlet: Outlet,
    stop: watch::Sender<Option<std::time::Instant>>,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Bounds)) -> Self {
        let mut bounds = Bounds::for_memory(8 << 20, None);
        change(&mut bounds);
        let counters = Arc::default();
        let registry = Registry::new(bounds.clone(), Arc::clone(&counters));
        Self {
            shared: Arc::new(Shared::new(bounds, registry, counters)),
            outlet: Outlet {
                inbox: Arc::<Inbox>::default(),
                waker: Waker::new().expect("an event"),
            },
            stop: watch::channel(None).0,
        }
    }

    /// A connection from a port, and its end.
    fn connect(&self, port: u16) -> (DuplexStream, tokio::task::JoinHandle<(End, u64)>) {
        let (ours, theirs) = duplex(64 << 10);
        let (shared, outlet) = (Arc::clone(&self.shared), self.outlet.clone());
        let mut stop = self.stop.subscribe();
        let peer = SocketAddr::from(([192, 0, 2, 1], port));
        let reading = tokio::spawn(async move {
            let place = shared
                .registry
                .enter(peer, Transport::Tcp)
                .await
                .expect("a place");
            let mut connection = Connection::new(
                theirs,
                (peer, 4739),
                Transport::Tcp,
                &place,
                &outlet,
                &shared,
            );
            let end = connection.read(&mut stop).await;
            (end, connection.messages)
        });
        (ours, reading)
    }

    fn waiting(&self) -> &Count {
        &self.shared.counters.octets_waiting
    }
}

async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_message_that_trickles_has_its_time_and_each_octet_gives_it_no_more() {
    let rig = Rig::new(|bounds| bounds.incomplete = Duration::from_millis(200));
    let (mut exporter, reading) = rig.connect(1);
    // A header that says there is much to come.
    exporter
        .write_all(&[0, 10, 0xff, 0xff])
        .await
        .expect("it is open");
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let mut sent = 0;
    while exporter.write_all(&[0]).await.is_ok() {
        sent += 1;
        pace.tick().await;
    }
    let (end, messages) = reading.await.expect("no panic");
    assert_eq!((end.reason, messages), (Reason::Incomplete, 0));
    assert!(sent > 1, "{sent}");
}

#[tokio::test]
async fn a_connection_that_brings_nothing_is_closed() {
    let rig = Rig::new(|bounds| bounds.idle = Duration::from_millis(50));
    let (mut exporter, reading) = rig.connect(1);
    exporter
        .write_all(&MESSAGE.repeat(2))
        .await
        .expect("it is open");
    let (end, messages) = reading.await.expect("no panic");
    assert_eq!((end.reason, messages), (Reason::Idle, 2));
}

#[tokio::test]
async fn nothing_is_read_while_what_was_read_waits_and_the_wait_is_no_fault_of_the_exporter() {
    let rig = Rig::new(|bounds| bounds.octets_waiting = 0);
    let (mut exporter, reading) = rig.connect(1);
    // More than may wait, and than the pipe holds: the exporter waits.
    let much = MESSAGE.repeat(64 << 10);
    let sending = async {
        exporter.write_all(&much).await.expect("it is open");
        exporter.shutdown().await.expect("it is open");
    };
    tokio::pin!(sending);
    let mut waited = 0;
    loop {
        tokio::select! {
            biased;
            () = &mut sending => break,
            () = settle() => {}
        }
        waited = waited.max(rig.waiting().value());
        assert!(
            rig.waiting().value() <= 320 << 10,
            "{}",
            rig.waiting().value()
        );
        // The worker reads a chunk.
        rig.outlet.inbox.discard(&rig.shared.counters);
    }
    while rig.outlet.inbox.discard(&rig.shared.counters) || !reading.is_finished() {
        settle().await;
    }
    let (end, messages) = reading.await.expect("no panic");
    assert_eq!((end.reason, messages), (Reason::Exporter, 64 << 10));
    assert_eq!(rig.waiting().value(), 0);
    assert!(waited > 0);
}

#[tokio::test]
async fn the_stop_reads_what_has_come() {
    let rig = Rig::new(|_| {});
    let (mut exporter, reading) = rig.connect(1);
    settle().await;
    exporter
        .write_all(&MESSAGE.repeat(100))
        .await
        .expect("it is open");
    let until = std::time::Instant::now() + Duration::from_secs(5);
    rig.stop.send_replace(Some(until));
    let (end, messages) = reading.await.expect("no panic");
    assert_eq!((end.reason, messages), (Reason::Stop, 100));
}

#[tokio::test]
async fn a_break_within_a_message_is_said() {
    let rig = Rig::new(|_| {});
    let (mut exporter, reading) = rig.connect(1);
    exporter
        .write_all(&[&MESSAGE[..], &MESSAGE[..9]].concat())
        .await
        .expect("it is open");
    drop(exporter);
    let (end, messages) = reading.await.expect("no panic");
    assert_eq!((end.reason, messages), (Reason::Broken, 1));
    assert_eq!(end.detail.as_deref(), Some("9 bytes of a message had come"));
}
