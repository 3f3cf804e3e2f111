//! An output stream that no other thread waits for: lines go through a bounded queue to a thread that writes them.
//! While the reader of the stream pauses, lines wait; what finds no room is dropped and counted.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::health::{Kind, Part};

/// A handle to the queue; all clones write to the same stream.
#[derive(Clone, Debug)]
pub struct Output {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    written: Condvar,
    /// Bytes that may wait.
    capacity: usize,
    dropped: AtomicU64,
    /// The thread.
    part: Arc<Part>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Box<[u8]>>,
    octets: usize,
    /// A line has left the queue and is not written yet.
    writing: bool,
}

impl Output {
    /// Starts the thread, named `name`. Lines of up to `capacity` bytes together may wait.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        name: &str,
        mut stream: impl Write + Send + 'static,
        capacity: usize,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            written: Condvar::new(),
            capacity,
            dropped: AtomicU64::new(0),
            part: Part::new(Kind::Log),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name(name.into()).spawn(move || {
            of_thread
                .part
                .keep_running(|| of_thread.write_to(&mut stream));
        })?;
        Ok(Self { shared })
    }

    /// Queues a line, with its line break, and never waits for the stream. `false` if there was no room: then the
    /// line is counted as dropped.
    pub fn offer(&self, line: &[u8]) -> bool {
        let mut waiting = self.shared.lock();
        if waiting.octets.saturating_add(line.len()) > self.shared.capacity {
            drop(waiting);
            self.shared.dropped.fetch_add(1, Relaxed);
            return false;
        }
        waiting.octets += line.len();
        waiting.lines.push_back(line.into());
        drop(waiting);
        self.shared.arrived.notify_one();
        true
    }

    /// Waits until all lines so far are written, but not longer than `patience`; whether they are.
    pub fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut waiting = self.shared.lock();
        while waiting.writing || !waiting.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.shared.written.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The thread that writes.
    #[must_use]
    pub fn part(&self) -> &Arc<Part> {
        &self.shared.part
    }

    /// Lines that found no room, or that the stream refused.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}

impl Shared {
    fn write_to(&self, stream: &mut impl Write) {
        // After a panic, the line that was being written is lost.
        if std::mem::take(&mut self.lock().writing) {
            self.dropped.fetch_add(1, Relaxed);
        }
        loop {
            let line = self.next();
            self.part.rests();
            let written = stream.write_all(&line).and_then(|()| stream.flush());
            if written.is_err() {
                // Its reader is gone. The next line is tried anyway: the failure may be a full disk.
                self.dropped.fetch_add(1, Relaxed);
            }
            self.lock().writing = false;
            self.written.notify_all();
        }
    }

    fn next(&self) -> Box<[u8]> {
        let mut waiting = self.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.octets -= line.len();
                waiting.writing = true;
                return line;
            }
            let woken = self.arrived.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes to a stream that another process may have made non-blocking (they share its flags): waits for room instead of
/// failing.
#[derive(Debug)]
pub struct Blocking<W>(pub W);

impl<W: Write + AsFd> Write for Blocking<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(octets) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait()?,
                outcome => return outcome,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        loop {
            match self.0.flush() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait()?,
                outcome => return outcome,
            }
        }
    }
}

impl<W: AsFd> Blocking<W> {
    fn wait(&self) -> io::Result<()> {
        let mut writable = [PollFd::new(&self.0, PollFlags::OUT)];
        match poll(&mut writable, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const LINE: &[u8] = b"a line of the log, as long as most of them are\n";

    /// A stream whose reader pauses, and the reader.
    fn stalled(nonblocking: bool) -> (UnixStream, UnixStream) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        while ours.write(LINE).is_ok() {}
        ours.set_nonblocking(nonblocking).unwrap();
        (ours, theirs)
    }

    #[test]
    fn a_stalled_stream_delays_lines_and_drops_what_finds_no_room() {
        for nonblocking in [false, true] {
            let (ours, mut theirs) = stalled(nonblocking);
            let output = Output::start("test", Blocking(ours), 10 * LINE.len()).unwrap();
            let mut kept = 0;
            for _ in 0..100 {
                kept += u64::from(output.offer(LINE));
            }
            assert!((10..=11).contains(&kept), "{kept}");
            assert_eq!(output.dropped(), 100 - kept);
            assert!(!output.flush(Duration::from_millis(1)));
            let last = b"the last line\n";
            let reader = thread::spawn(move || {
                let (mut text, mut piece) = (Vec::new(), [0; 4096]);
                while !text.ends_with(last) {
                    let read = theirs.read(&mut piece).unwrap();
                    text.extend_from_slice(&piece[..read]);
                }
                text
            });
            assert!(output.flush(PATIENCE));
            assert!(output.offer(last));
            let text = reader.join().unwrap();
            let lines = text.split_inclusive(|octet| *octet == b'\n');
            // The first lines are those that filled the stream; the last of these may be cut.
            let whole = lines.rev().skip(1).take_while(|line| *line == LINE).count();
            assert!(whole as u64 >= kept, "{whole} of {kept}");
            assert_eq!(output.dropped(), 100 - kept);
        }
    }

    #[test]
    fn lines_that_nobody_reads_any_more_are_counted() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let output = Output::start("test", Blocking(ours), 1024).unwrap();
        drop(theirs);
        assert!(output.offer(LINE));
        assert!(output.flush(PATIENCE));
        assert_eq!(output.dropped(), 1);
    }
}
