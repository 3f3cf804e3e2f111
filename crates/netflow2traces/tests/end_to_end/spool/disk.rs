//! Trouble with the disk while the daemon runs: it warns, counts, continues in memory, and recovers. On a small tmpfs,
//! so these need the right to mount; without it they say so and do nothing.

use std::cell::Cell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;

use super::{accepted, assert_balanced, part, spooling};
use crate::admin_client::{Admin, value};
use crate::backend::{FakeBackend, Reply};
use crate::daemon::{Daemon, Setup};
use crate::exporter::{Exporter, now, v5_datagram};
use crate::left_out::left_out;

const FAILING: &str = "spool can't be written: batches stay in memory";
const AGAIN: &str = "spool can be written again";
/// Each with 30 flows and three spans around them.
const FLOWS: u16 = 30;

/// A file system in memory, of its own; it goes with the value.
struct Tmpfs {
    directory: TempDir,
}

impl Tmpfs {
    /// `None` where mounting isn't permitted.
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"])
            .arg(directory.path())
            .output()
            .is_ok_and(|done| done.status.success());
        if !mounted {
            left_out("a full disk under the spool: this user can't mount a file system");
            return None;
        }
        Some(Self { directory })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", &format!("remount,{options}")])
            .arg(self.path())
            .status();
        assert!(status.unwrap().success(), "{options}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// A daemon whose backend is unreachable, and a sender to it.
struct Rig {
    daemon: Daemon,
    backend: FakeBackend,
    admin: Admin,
    exporter: Exporter,
    sent: u32,
}

impl Rig {
    async fn start(spool: &Path, mode: &str, through: &[&str]) -> Self {
        let backend = FakeBackend::grpc().start().await;
        backend.answers(Some(Reply::Grpc(Code::Unavailable, "away")));
        let admin = Admin::new();
        let setup = spooling(Setup::to_grpc(&backend), spool, mode)
            .with("NETFLOW_QUEUE_SIZE", "16MiB")
            .with("NETFLOW_MAX_REQUEST_SIZE", "64KiB")
            .with("NETFLOW_SPOOL_MAX_SIZE", "256MiB")
            .with("OTEL_BSP_SCHEDULE_DELAY", "10")
            .through(through);
        let daemon = admin.of(setup).start().await;
        let exporter = Exporter::new("127.0.0.2", daemon.address());
        Self {
            daemon,
            backend,
            admin,
            exporter,
            sent: 0,
        }
    }

    async fn status(&self) -> Value {
        self.admin.json("/api/status").await
    }

    /// Sends so many datagrams at a time, each time after the ones before were understood, until this holds.
    async fn send_until(
        &mut self,
        at_once: u32,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        for _ in 0..1_000 {
            for _ in 0..at_once {
                let sequence = self.sent * u32::from(FLOWS);
                self.exporter
                    .send(&v5_datagram(now(), sequence, 1000, FLOWS));
                self.sent += 1;
            }
            let made = u64::from(self.sent) * u64::from(FLOWS);
            let status = self
                .admin
                .until("/api/status", |body| {
                    part(&serde_json::from_str(body).unwrap(), "made") == made
                })
                .await;
            let status = serde_json::from_str(&status).unwrap();
            if holds(&status) {
                return status;
            }
        }
        panic!("{what}: {:#}", self.status().await);
    }

    /// Sends until the disk is found to fail.
    async fn send_until_the_spool_fails(&mut self) -> Value {
        self.send_until(10, "failing", |status| {
            status["delivery"]["spool"]["state"] == "failing"
        })
        .await
    }

    /// One datagram for each look, so that there is something to write when the disk is tried again, a second later;
    /// as many as come without a pause would fill the memory within that second.
    async fn send_until_the_spool_works(&mut self) {
        let sent = Cell::new(self.sent);
        self.admin
            .until("/api/status", |body| {
                let sequence = sent.get() * u32::from(FLOWS);
                self.exporter
                    .send(&v5_datagram(now(), sequence, 1000, FLOWS));
                sent.set(sent.get() + 1);
                let status: Value = serde_json::from_str(body).unwrap();
                status["delivery"]["spool"]["state"] == "up"
            })
            .await;
        self.sent = sent.get();
    }

    /// The backend comes back: all that was made arrives, each span once.
    async fn deliver_all(self) {
        self.backend.answers(None);
        let made = u64::from(self.sent) * u64::from(FLOWS);
        self.admin
            .until("/api/status", |body| {
                part(&serde_json::from_str(body).unwrap(), "accepted") == made
            })
            .await;
        assert_balanced(&self.status().await);
        let ended = self.daemon.stop().await;
        assert_eq!(ended.code, Some(0), "{:#?}", ended.log);
        let times = accepted(&self.backend);
        assert_eq!(times.len() as u64, made + u64::from(self.sent) * 3);
        assert!(times.values().all(|times| *times == 1));
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_and_survived() {
    for mode in ["overflow", "always"] {
        let Some(disk) = Tmpfs::mount("1m") else {
            return;
        };
        let mut rig = Rig::start(&disk.path().join("spool"), mode, &[]).await;
        let status = rig.send_until_the_spool_fails().await;
        rig.daemon.says(FAILING).await;
        let spool = &status["delivery"]["spool"];
        assert!(spool["errors"]["write"].as_u64().unwrap() > 0, "{spool}");
        // What fitted before is there; nothing is lost while the memory has room.
        assert!(part(&status, "spooled") > 0);
        assert_eq!(part(&status, "dropped_queue_full"), 0);
        disk.remount("size=64m");
        rig.send_until_the_spool_works().await;
        rig.daemon.says(AGAIN).await;
        rig.deliver_all().await;
    }
}

#[tokio::test]
async fn a_full_disk_and_a_full_memory_drop_the_oldest_and_count_it() {
    let Some(disk) = Tmpfs::mount("1m") else {
        return;
    };
    let mut rig = Rig::start(&disk.path().join("spool"), "overflow", &[]).await;
    let status = rig
        .send_until(20, "drops", |status| part(status, "dropped_queue_full") > 0)
        .await;
    assert_eq!(status["delivery"]["spool"]["state"], "failing");
    rig.backend.answers(None);
    let made = u64::from(rig.sent) * u64::from(FLOWS);
    rig.admin
        .until("/api/status", |body| {
            let status = serde_json::from_str(body).unwrap();
            part(&status, "accepted") + part(&status, "dropped_queue_full") == made
        })
        .await;
    let status = rig.status().await;
    assert_balanced(&status);
    let arrived = accepted(&rig.backend).len() as u64;
    let dropped = part(&status, "dropped_queue_full");
    assert!(arrived >= made - dropped);
    let ended = rig.daemon.stop().await;
    assert_eq!(ended.code, Some(1), "something was lost");
    ended.assert_totals(&[("flow_spans_dropped", dropped)]);
}

#[tokio::test]
async fn a_disk_that_becomes_read_only_is_reported_and_survived() {
    for mode in ["overflow", "always"] {
        let Some(disk) = Tmpfs::mount("64m") else {
            return;
        };
        let mut rig = Rig::start(disk.path(), mode, &[]).await;
        // No file is open for writing while the spool is empty, or the kernel would refuse.
        disk.remount("ro");
        let status = rig.send_until_the_spool_fails().await;
        rig.daemon.says(FAILING).await;
        assert_eq!(part(&status, "spooled"), 0);
        assert_balanced_but_for_what_moves(&status);
        disk.remount("rw");
        rig.send_until_the_spool_works().await;
        rig.daemon.says(AGAIN).await;
        rig.deliver_all().await;
    }
}

#[tokio::test]
async fn a_disk_that_works_again_is_noticed_though_nothing_waits_to_be_written() {
    let Some(disk) = Tmpfs::mount("64m") else {
        return;
    };
    let mut rig = Rig::start(disk.path(), "overflow", &[]).await;
    disk.remount("ro");
    rig.send_until_the_spool_fails().await;
    rig.backend.answers(None);
    rig.admin
        .until("/api/status", |body| {
            let status: Value = serde_json::from_str(body).unwrap();
            status["delivery"]["queue"]["batches"] == 0
        })
        .await;
    assert!(rig.admin.metric("netflow_spool_up").await < 1.0);
    disk.remount("rw");
    rig.daemon.says(AGAIN).await;
    let works = |text: &str| value(text, "netflow_spool_up") > 0.0;
    rig.admin.until("/metrics", works).await;
    rig.deliver_all().await;
}

#[tokio::test]
async fn a_lost_permission_is_reported_and_survived() {
    let spool = tempfile::tempdir().unwrap();
    // Root may write everywhere, unless it has given up that capability.
    let humble: &[&str] = &[
        "setpriv",
        "--bounding-set",
        "-dac_override,-dac_read_search",
    ];
    let works = Command::new(humble[0])
        .args(&humble[1..])
        .arg("true")
        .output();
    let is_root = std::fs::read_dir("/proc/1/fd").is_ok();
    if is_root && !works.is_ok_and(|done| done.status.success()) {
        left_out("a spool without permission: root can't drop its capabilities here");
        return;
    }
    let through = if is_root { humble } else { &[] };
    let allow =
        |mode| std::fs::set_permissions(spool.path(), Permissions::from_mode(mode)).unwrap();
    let mut rig = Rig::start(spool.path(), "overflow", through).await;
    allow(0o500);
    rig.send_until_the_spool_fails().await;
    rig.daemon.says(FAILING).await;
    allow(0o700);
    rig.send_until_the_spool_works().await;
    rig.daemon.says(AGAIN).await;
    rig.deliver_all().await;

    // And at the start it refuses.
    allow(0o500);
    let backend = FakeBackend::grpc().start().await;
    let setup = spooling(Setup::to_grpc(&backend), spool.path(), "overflow").through(through);
    let Err(ended) = setup.start_on(1).await else {
        panic!("it started");
    };
    allow(0o700);
    assert_eq!(ended.code, Some(2), "{:#?}", ended.log);
    let said = format!("{:?}", ended.log);
    assert!(said.contains("can't be written"), "{said}");
}

/// Accounts are read while batches move: none may be off by more than what is under way.
fn assert_balanced_but_for_what_moves(status: &Value) {
    for account in status["accounts"].as_array().unwrap() {
        let difference = account["difference"].as_i64().unwrap();
        assert!(difference.abs() <= 1_000, "{account:#}");
    }
}
