//! What exporters reported survives the end of the process, however it ends.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::backend::FakeBackend;
use crate::daemon::{Daemon, Setup, is};
use crate::exporter::{Content, Exporter, ipfix_datagram, now, v9_datagram};
use crate::spans::{flows_at, named};

const DATA: Content = Content::Data {
    first_port: 3000,
    flows: 4,
};
const EXPORTERS: [&str; 6] = [
    "127.0.0.2",
    "127.0.0.3",
    "127.0.0.4",
    "127.0.0.5",
    "127.0.0.6",
    "127.0.0.7",
];

struct Stored {
    directory: TempDir,
    backend: FakeBackend,
}

async fn stored() -> Stored {
    Stored {
        directory: tempfile::tempdir().unwrap(),
        backend: FakeBackend::grpc().start().await,
    }
}

impl Stored {
    fn file(&self) -> PathBuf {
        self.directory.path().join("templates")
    }

    fn setup(&self) -> Setup {
        let file = self.file();
        Setup::to_grpc(&self.backend).with("NETFLOW_TEMPLATE_STORE", file.to_str().unwrap())
    }

    /// Starts a daemon that knows nothing, and teaches it every exporter's template.
    async fn taught(&self) -> Daemon {
        let daemon = self.setup().start().await;
        for (index, exporter) in EXPORTERS.iter().enumerate() {
            let message = [v9_datagram, ipfix_datagram][index % 2];
            Exporter::new(exporter, daemon.address()).send(&message(now(), 0, Content::Template));
        }
        daemon
    }

    /// Sends data alone; all of it has to become flows.
    async fn assert_known(&self, daemon: &Daemon, before: usize) {
        for (index, exporter) in EXPORTERS.iter().enumerate() {
            let message = [v9_datagram, ipfix_datagram][index % 2];
            Exporter::new(exporter, daemon.address()).send(&message(now(), 1, DATA));
        }
        let spans = flows_at(&self.backend, before + 4 * EXPORTERS.len()).await;
        let waited = named(&spans, "netflow.process_flows")
            .iter()
            .filter(|seen| seen.attributes.contains_key("netflow.sets.waiting"))
            .count();
        assert_eq!(waited, 0, "no data waited");
    }
}

fn loaded(daemon: &Daemon) -> (u64, u64) {
    let log = daemon.log();
    let line = log.iter().find(|line| is(line, "template store loaded"));
    let line = line.unwrap_or_else(|| panic!("it was loaded: {log:#?}"));
    let number = |name: &str| line[name].as_u64().unwrap();
    (number("exporters"), number("templates"))
}

#[tokio::test]
async fn templates_are_known_after_a_stop_whatever_the_number_of_workers() {
    let stored = stored().await;
    let ended = stored.taught().await.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
    for (round, workers) in ["2", "3", "1"].into_iter().enumerate() {
        let daemon = stored
            .setup()
            .with("NETFLOW_WORKERS", workers)
            .start()
            .await;
        assert_eq!(loaded(&daemon), (6, 6));
        stored.assert_known(&daemon, round * 24).await;
        let ended = daemon.stop().await;
        assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
        ended.assert_totals(&[("sets_waiting", 0), ("flow_spans_accepted", 24)]);
    }
}

#[tokio::test]
async fn templates_are_known_at_once_after_a_kill() {
    let stored = stored().await;
    let daemon = stored.taught().await;
    // Written within seconds of the change, without an end.
    let deadline = tokio::time::Instant::now() + crate::daemon::PATIENCE;
    let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
    while fs::read(stored.file()).unwrap().len() < 6 * 100 {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{:#?}",
            daemon.log()
        );
        look.tick().await;
    }
    daemon.signal("KILL");
    assert_eq!(daemon.end().await.code, None);
    let daemon = stored.setup().start().await;
    assert_eq!(loaded(&daemon), (6, 6));
    stored.assert_known(&daemon, 0).await;
    let ended = daemon.stop().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
}

#[tokio::test]
async fn a_damaged_store_is_set_aside_and_another_is_begun() {
    let stored = stored().await;
    fs::write(stored.file(), "no store").unwrap();
    let daemon = stored.taught().await;
    let log = daemon.log();
    let warned = log.iter().find(|line| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("the template store is damaged")
    });
    let warned = warned.unwrap_or_else(|| panic!("a warning: {log:#?}"));
    let why = warned["error"].as_str().unwrap();
    assert!(why.contains("templates.damaged"), "{why}");
    daemon.stop().await;
    let aside = stored.directory.path().join("templates.damaged");
    assert_eq!(fs::read(aside).unwrap(), b"no store");
    let daemon = stored.setup().start().await;
    assert_eq!(loaded(&daemon), (6, 6));
}

#[tokio::test]
async fn a_store_that_can_not_be_written_stops_the_start() {
    let stored = stored().await;
    // A directory stands where the new file would be written, which stops root too.
    fs::create_dir(stored.directory.path().join("templates.new")).unwrap();
    let ended = stored.setup().start_on(1).await.err().unwrap();
    assert_eq!(ended.code, Some(1), "{:#?}", ended.log);
    let last = ended.log.last().unwrap().to_string();
    assert!(last.contains("NETFLOW_TEMPLATE_STORE"), "{last}");
}
