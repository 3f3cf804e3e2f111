//! systemd's part: hears what the daemon says, keeps its sockets, and starts it with them.
#![expect(
    unsafe_code,
    reason = "descriptors take their numbers between fork and exec"
)]

use std::collections::BTreeMap;
use std::io::{IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::daemon::{Daemon, Ended, PATIENCE, Setup};

/// The first descriptor that a process is given.
const FIRST: RawFd = 3;

pub(crate) struct Manager {
    directory: TempDir,
    heard: Arc<Mutex<Heard>>,
    changed: watch::Sender<()>,
    listening: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Heard {
    /// Assignments, in their order.
    lines: Vec<String>,
    stored: BTreeMap<String, OwnedFd>,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (changed, _) = watch::channel(());
        let listening = {
            let (heard, changed) = (Arc::clone(&heard), changed.clone());
            move || {
                while let Some((text, descriptors)) = receive(&socket) {
                    heard.lock().unwrap().take(&text, descriptors);
                    changed.send_replace(());
                }
            }
        };
        Self {
            directory,
            heard,
            changed,
            listening: Some(std::thread::spawn(listening)),
        }
    }

    fn address(&self) -> String {
        self.directory.path().join("notify").display().to_string()
    }

    /// The names of what is kept.
    pub(crate) fn stored(&self) -> Vec<String> {
        self.heard.lock().unwrap().stored.keys().cloned().collect()
    }

    /// How often this was heard.
    pub(crate) fn count(&self, line: &str) -> usize {
        let heard = self.heard.lock().unwrap();
        heard.lines.iter().filter(|heard| *heard == line).count()
    }

    pub(crate) fn status(&self) -> Option<String> {
        let heard = self.heard.lock().unwrap();
        let mut lines = heard.lines.iter().rev();
        lines
            .find_map(|line| line.strip_prefix("STATUS="))
            .map(str::to_owned)
    }

    /// Waits until this was heard so often.
    pub(crate) async fn hears(&self, line: &str, times: usize) {
        let mut changed = self.changed.subscribe();
        let heard = changed.wait_for(|()| self.count(line) >= times);
        let heard = tokio::time::timeout(PATIENCE, heard).await;
        let lines = self.heard.lock().unwrap().lines.clone();
        assert!(heard.is_ok(), "{line} in time: {lines:#?}");
    }

    /// Starts the daemon with what is kept, and waits until it is ready.
    pub(crate) async fn start(&self, setup: Setup) -> Daemon {
        let kept = {
            let heard = self.heard.lock().unwrap();
            let kept = heard.stored.iter();
            kept.map(|(name, socket)| (name.clone(), socket.try_clone().unwrap()))
                .collect()
        };
        self.start_with(setup, kept).await
    }

    /// Starts the daemon with these, and waits until it is ready.
    pub(crate) async fn start_with(&self, setup: Setup, passed: Vec<(String, OwnedFd)>) -> Daemon {
        let ready = self.count("READY=1");
        let daemon = self.try_start(setup, passed).await;
        let daemon = daemon.unwrap_or_else(|ended| panic!("it ended: {:#?}", ended.log));
        self.hears("READY=1", ready + 1).await;
        daemon
    }

    async fn try_start(
        &self,
        setup: Setup,
        passed: Vec<(String, OwnedFd)>,
    ) -> std::result::Result<Daemon, Ended> {
        let (names, passed): (Vec<_>, Vec<_>) = passed.into_iter().unzip();
        let setup = setup
            .with("NOTIFY_SOCKET", &self.address())
            .with("LISTEN_FDS", &passed.len().to_string())
            .with("LISTEN_FDNAMES", &names.join(":"));
        // Its process id is known only once it runs.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "LISTEN_PID=$$ exec \"$0\""]);
        command.arg(env!("CARGO_BIN_EXE_netflow2traces"));
        let give = move || give(&passed);
        // SAFETY: between fork and exec it only makes system calls, and allocates nothing.
        unsafe { command.pre_exec(give) };
        setup.start_as(command, 1).await
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let end = UnixDatagram::unbound().unwrap();
        let _ = end.send_to(b"END", self.address());
        if let Some(listening) = self.listening.take() {
            let _ = listening.join();
        }
    }
}

impl Heard {
    fn take(&mut self, text: &str, descriptors: Vec<OwnedFd>) {
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let name = lines.iter().find_map(|line| line.strip_prefix("FDNAME="));
        let says = |line: &str| lines.iter().any(|said| said == line);
        if let Some(name) = name {
            assert!(!name.contains(':') && name.len() <= 255, "{name}");
            if says("FDSTORE=1") {
                let [socket] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
                let before = self.stored.insert(name.to_owned(), socket);
                assert!(before.is_none(), "{name} twice");
            } else if says("FDSTOREREMOVE=1") {
                let gone = self.stored.remove(name);
                assert!(gone.is_some(), "{name} was not kept");
            }
        }
        // What came with a barrier is closed here, by being let go of.
        self.lines.extend(lines);
    }
}

/// The next message; `None` at the end.
fn receive(socket: &UnixDatagram) -> Option<(String, Vec<OwnedFd>)> {
    let mut octets = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut octets)];
    let received = recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            descriptors.extend(passed);
        }
    }
    let text = str::from_utf8(&octets[..received.bytes])
        .unwrap()
        .to_owned();
    (text != "END").then_some((text, descriptors))
}

/// Gives the descriptors the numbers from [`FIRST`] on.
fn give(passed: &[OwnedFd]) -> Result<()> {
    let end =
        FIRST + RawFd::try_from(passed.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    // Out of the way first, so that none is overwritten before its turn.
    for (at, socket) in passed.iter().enumerate() {
        // SAFETY: no pointers.
        let above = unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_DUPFD_CLOEXEC, end + 64) };
        if above < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: no pointers. What has the number 1000 and above is ours alone.
        if unsafe { libc::dup2(above, 1000 + at as RawFd) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    for at in 0..passed.len() as RawFd {
        // SAFETY: no pointers.
        if unsafe { libc::dup2(1000 + at, FIRST + at) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: no pointers.
        unsafe { libc::close(1000 + at) };
    }
    Ok(())
}
