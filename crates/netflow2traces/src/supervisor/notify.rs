//! Messages to the service manager by `NOTIFY_SOCKET` (sd_notify(3)): assignments as text, descriptors beside them.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, PipeReader};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// A manager that takes nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// The service manager that started the daemon and wants notifications.
#[derive(Debug)]
pub struct Notifier {
    socket: UnixDatagram,
}

impl Notifier {
    /// The one that `NOTIFY_SOCKET` names, if any.
    ///
    /// # Errors
    /// When it names what can't be reached.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> io::Result<Option<Self>> {
        let name = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        name.map(|name| Self::connect(&name)).transpose()
    }

    fn connect(name: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        match name.as_bytes() {
            #[cfg(target_os = "linux")]
            [b'@', rest @ ..] => {
                use std::os::linux::net::SocketAddrExt as _;
                socket.connect_addr(&SocketAddr::from_abstract_name(rest)?)?;
            }
            [b'/', ..] => socket.connect_addr(&SocketAddr::from_pathname(name)?)?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "NOTIFY_SOCKET is neither a path nor an abstract socket",
                ));
            }
        }
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket })
    }

    /// It runs and takes datagrams.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It is about to end, and may take so long.
    pub fn stopping(&self, timeout: Duration) {
        let timeout = (timeout + PATIENCE).as_micros();
        self.tell(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={timeout}\nSTATUS=delivering what is left"
        ));
    }

    /// One line for people.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={status}"));
    }

    /// It is alive.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Asks to keep a descriptor over a restart. A pending error of the socket must not end that.
    ///
    /// # Errors
    /// When it can't be sent.
    pub fn store(&self, name: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.send(
            &format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"),
            Some(descriptor),
        )
    }

    /// Asks to keep it no longer.
    ///
    /// # Errors
    /// When it can't be sent.
    pub fn forget(&self, name: &str) -> io::Result<()> {
        self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None)
    }

    /// Waits until everything that was sent before has been done.
    ///
    /// # Errors
    /// When it can't be sent, or isn't done within five seconds.
    pub fn settle(&self) -> io::Result<()> {
        let (done, held) = io::pipe()?;
        self.send("BARRIER=1", Some(held.as_fd()))?;
        drop(held);
        wait_for_end(&done)
    }

    /// Whoever supervises us hears it or not: nothing depends on it here.
    fn tell(&self, text: &str) {
        if let Err(error) = self.send(text, None) {
            tracing::debug!(%error, text, "could not notify the service manager");
        }
    }

    fn send(&self, text: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<_> = descriptor.into_iter().collect();
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("a descriptor doesn't fit its message"));
        }
        let text = [IoSlice::new(text.as_bytes())];
        sendmsg(&self.socket, &text, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// The other end is closed when no process holds it any more.
fn wait_for_end(pipe: &PipeReader) -> io::Result<()> {
    let mut entries = [PollFd::new(pipe, PollFlags::IN)];
    let timeout = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    match poll(&mut entries, Some(&timeout))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_supervised_has_nobody_to_tell() {
        assert!(Notifier::from_environment(|_| None).unwrap().is_none());
        assert!(
            Notifier::from_environment(|_| Some("".into()))
                .unwrap()
                .is_none()
        );
        Notifier::from_environment(|_| Some("vsock:2:1".into())).unwrap_err();
        Notifier::from_environment(|_| Some("/nowhere/notify".into())).unwrap_err();
    }

    #[test]
    fn assignments_arrive_by_path_and_by_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::connect(path.as_os_str()).unwrap();
        notifier.ready("listening");
        let mut octets = [0; 200];
        let length = by_path.recv(&mut octets).unwrap();
        assert_eq!(&octets[..length], b"READY=1\nSTATUS=listening");
        #[cfg(target_os = "linux")]
        {
            use std::os::linux::net::SocketAddrExt as _;
            let name = format!("netflow2traces-test-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(&name).unwrap();
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            let notifier = Notifier::connect(OsStr::new(&format!("@{name}"))).unwrap();
            notifier.alive();
            let length = socket.recv(&mut octets).unwrap();
            assert_eq!(&octets[..length], b"WATCHDOG=1");
        }
    }

    #[test]
    fn a_barrier_ends_when_the_manager_lets_go_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::connect(path.as_os_str()).unwrap();
        let reading = std::thread::spawn(move || {
            // A plain read leaves the descriptor behind, which closes it.
            let mut octets = [0; 20];
            let length = manager.recv(&mut octets).unwrap();
            octets[..length].to_vec()
        });
        notifier.settle().unwrap();
        assert_eq!(reading.join().unwrap(), b"BARRIER=1");
    }
}
