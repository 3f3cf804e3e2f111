//! Brings full segments to the disk. That may take seconds, in which nothing else of the spool is to wait; so it has a
//! thread of its own.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use tracing::warn;

use crate::deliver::counters::Counters;
use crate::health::Part;

/// Segments that may wait. Where there are more the disk is so slow that the writer has to wait for it.
const WAITING: usize = 4;

#[derive(Debug)]
pub(super) struct Syncer {
    files: Option<SyncSender<File>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Syncer {
    pub(super) fn start(counters: &Arc<Counters>, part: Arc<Part>) -> io::Result<Self> {
        let (files, waiting) = sync_channel::<File>(WAITING);
        let counted = Arc::clone(counters);
        let thread = thread::Builder::new()
            .name("spool-sync".into())
            .spawn(move || {
                part.keep_running(|| {
                    while let Ok(file) = waiting.recv() {
                        sync(&file, &counted);
                        part.rests();
                    }
                });
            })?;
        Ok(Self {
            files: Some(files),
            thread: Some(thread),
            counters: Arc::clone(counters),
        })
    }

    /// Brings a file to the disk, soon.
    pub(super) fn sync(&self, file: File) {
        let sent = match &self.files {
            Some(files) => files.try_send(file),
            None => Err(TrySendError::Disconnected(file)),
        };
        if let Err(TrySendError::Full(file) | TrySendError::Disconnected(file)) = sent {
            sync(&file, &self.counters);
        }
    }

    /// Waits until all is there.
    pub(super) fn finish(&mut self) {
        self.files = None;
        if let Some(thread) = self.thread.take() {
            // Its work is restarted when it panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.finish();
    }
}

fn sync(file: &File, counters: &Counters) {
    // One that was settled and removed needs no disk.
    let removed = file.metadata().is_ok_and(|about| about.nlink() == 0);
    if removed {
        return;
    }
    if let Err(error) = file.sync_data() {
        counters.spool.write_errors.fetch_add(1, Relaxed);
        // At most one for each segment.
        warn!(%error, "a segment of the spool could not be synced to disk: a power failure would lose it");
    }
}
