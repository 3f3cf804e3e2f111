//! `OTEL_TRACES_EXPORTER=console`: one JSON line a span, written by a thread of its own, so that a stdout that is not
//! read holds up neither the other threads nor the stop.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use otlp_wire::EncodedBatch;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::body::Prepared;
use super::counters::{Count, Counters};
use super::outcome::{Cause, Outcome};
use crate::health::Part;

/// Batches that may wait for stdout.
const WAITING: usize = 4;
/// A batch that takes longer to write than this is worth a log line.
const STALLED: Duration = Duration::from_secs(10);

/// Writes lines to stdout, or to what a test gives in its place. All clones share one thread.
#[derive(Clone)]
pub(super) struct Console {
    jobs: mpsc::Sender<Job>,
}

/// What the thread does next.
enum Job {
    /// Writes these lines and answers.
    Write(Bytes, oneshot::Sender<io::Result<()>>),
    /// Writes the spans of this request; failures are counted.
    Copy(EncodedBatch, Arc<Counters>),
    /// Answers when all before it is done.
    Flush(oneshot::Sender<()>),
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(mut out: impl Write + Send + 'static, part: Arc<Part>) -> io::Result<Self> {
        let (jobs, mut waiting) = mpsc::channel(WAITING);
        thread::Builder::new()
            .name("console".into())
            .spawn(move || {
                part.keep_running(|| {
                    while let Some(job) = waiting.blocking_recv() {
                        part.rests();
                        work(job, &mut out);
                    }
                });
            })?;
        Ok(Self { jobs })
    }

    /// Lines of one batch stay together. A reader that has gone away refuses them for good; while a reader pauses,
    /// this waits.
    pub(super) async fn send(&self, lines: &Prepared) -> Outcome {
        let (written, answer) = oneshot::channel();
        let job = Job::Write(lines.octets.clone(), written);
        let write = async {
            self.jobs.send(job).await.ok()?;
            answer.await.ok()
        };
        tokio::pin!(write);
        let written = match tokio::time::timeout(STALLED, &mut write).await {
            Ok(written) => written,
            Err(_) => {
                warn!("stdout is not being read: spans wait in the queue");
                write.await
            }
        };
        let refused = |text| Outcome::Rejected {
            cause: Cause::new(text),
        };
        match written {
            Some(Ok(())) => Outcome::Accepted,
            Some(Err(error)) => refused(format!("stdout can't be written: {error}")),
            None => refused("the thread that writes to stdout has ended".to_owned()),
        }
    }

    /// Copies a batch if there is room; else the copy is dropped and counted. Never waits.
    pub(super) fn copy(&self, batch: &EncodedBatch, counters: &Arc<Counters>) {
        let job = Job::Copy(batch.clone(), Arc::clone(counters));
        if let Err(TrySendError::Full(_) | TrySendError::Closed(_)) = self.jobs.try_send(job) {
            count_dropped(batch, counters);
        }
    }

    /// Waits until all that was given is written.
    pub(super) async fn flush(&self) {
        let (done, answer) = oneshot::channel();
        if self.jobs.send(Job::Flush(done)).await.is_ok() {
            // The thread has ended: nothing is left to wait for.
            let _ = answer.await;
        }
    }
}

fn work(job: Job, out: &mut impl Write) {
    let mut write = |octets: &[u8]| out.write_all(octets).and_then(|()| out.flush());
    match job {
        Job::Write(lines, written) => {
            // The sender may have been aborted.
            let _ = written.send(write(&lines));
        }
        Job::Copy(batch, counters) => {
            let mut lines = Vec::new();
            let encoded = otlp_wire::json::write_span_lines(&batch.octets, &mut lines);
            if encoded.is_err() || write(&lines).is_err() {
                count_dropped(&batch, &counters);
            }
        }
        Job::Flush(done) => {
            let _ = done.send(());
        }
    }
}

fn count_dropped(batch: &EncodedBatch, counters: &Counters) {
    let spans = Count::of(batch).all();
    counters.copies_dropped.fetch_add(spans, Relaxed);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as channel;

    use super::*;
    use crate::health::Kind;

    /// A reader that takes one write for each permit.
    struct Slow {
        permits: channel::Receiver<()>,
        written: channel::Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.permits.recv().map_err(gone)?;
            let _ = self.written.send(octets.to_vec());
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Console, channel::Sender<()>, channel::Receiver<Vec<u8>>) {
        let (permit, permits) = channel::channel();
        let (written, read) = channel::channel();
        let console = Console::start(Slow { permits, written }, Part::new(Kind::Console)).unwrap();
        (console, permit, read)
    }

    #[test]
    fn copies_that_find_no_room_are_counted_and_wait_for_nobody() {
        let (console, permit, read) = slow();
        let counters = Arc::new(Counters::default());
        let batch = EncodedBatch {
            // A span without fields: a line that the writer has to wait for.
            octets: Bytes::from_static(&[0x0a, 4, 0x12, 2, 0x12, 0]),
            flow_spans: 10,
            work_spans: 3,
            ..EncodedBatch::default()
        };
        for _ in 0..20 {
            console.copy(&batch, &counters);
        }
        let dropped = counters.copies_dropped.load(Relaxed);
        assert!((15 * 13..=16 * 13).contains(&dropped), "{dropped}");
        drop((permit, read));
    }

    #[tokio::test]
    async fn a_batch_waits_for_its_reader_and_is_refused_when_the_reader_is_gone() {
        let (console, permit, read) = slow();
        let lines = |text: &'static [u8]| Prepared::verbatim(Bytes::from_static(text));
        permit.send(()).unwrap();
        assert_eq!(console.send(&lines(b"one")).await, Outcome::Accepted);
        assert_eq!(read.recv().unwrap(), b"one");
        drop(permit);
        let outcome = console.send(&lines(b"two")).await;
        let Outcome::Rejected { cause } = outcome else {
            panic!("{outcome:?}");
        };
        assert!(cause.text.contains("stdout can't be written"), "{cause}");
    }
}
