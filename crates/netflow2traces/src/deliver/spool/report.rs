//! The log lines of the spool: one for a change, others at most once a minute.

use std::io;
use std::path::Path;
use std::time::Instant;

use tracing::{info, warn};

use super::damage::Lost;
use crate::config::SpoolMode;
use crate::deliver::counters::Count;
use crate::deliver::report::Limiter;

#[derive(Debug, Default)]
pub(super) struct SpoolReport {
    /// Since when batches can't be written.
    failing: Option<Instant>,
    failed: Limiter,
    unreadable: Limiter,
    trouble: Limiter,
}

impl SpoolReport {
    pub(super) fn opened(directory: &Path, mode: SpoolMode, max_octets: u64) {
        info!(
            directory = %directory.display(),
            mode = mode.as_str(),
            max_bytes = max_octets,
            "spool opened"
        );
    }

    pub(super) fn recovered(batches: u64, spans: Count, damaged_bytes: u64, lost: Lost) {
        let (flow_spans, work_spans) = (spans.flow, spans.work);
        if lost != Lost::default() {
            warn!(
                batches,
                flow_spans,
                work_spans,
                damaged_bytes,
                lost_batches = lost.batches,
                lost_flow_spans = lost.spans.flow,
                lost_work_spans = lost.spans.work,
                "spool of an earlier run found; parts of it are damaged and lost"
            );
        } else if damaged_bytes > 0 {
            warn!(
                batches,
                flow_spans,
                work_spans,
                damaged_bytes,
                "spool of an earlier run found; a batch that was being written when that run ended is ignored"
            );
        } else {
            info!(
                batches,
                flow_spans,
                work_spans,
                "spool of an earlier run found: it is delivered along with new batches"
            );
        }
    }

    /// A batch could not be written. Said once until one can be again, and at most once a minute.
    pub(super) fn write_failed(&mut self, error: &io::Error, now: Instant) {
        if self.failing.is_some() {
            return;
        }
        self.failing = Some(now);
        if let Some(suppressed) = self.failed.pass(now) {
            warn!(
                %error,
                remedy = remedy(error),
                suppressed,
                "spool can't be written: batches stay in memory"
            );
        }
    }

    pub(super) fn written(&mut self, now: Instant) {
        if let Some(since) = self.failing.take() {
            let failed_ms = now.saturating_duration_since(since).as_millis();
            info!(failed_ms, "spool can be written again");
        }
    }

    pub(super) fn unreadable(&mut self, error: &io::Error, batches: u64) {
        if let Some(suppressed) = self.unreadable.pass(Instant::now()) {
            warn!(%error, batches, suppressed, "batches of the spool can't be read: they are lost");
        }
    }

    /// Something beside the writing of batches: a file can't be removed, brought to the disk, or opened.
    pub(super) fn trouble(&mut self, error: &io::Error) {
        if let Some(suppressed) = self.trouble.pass(Instant::now()) {
            warn!(%error, remedy = remedy(error), suppressed, "a file of the spool can't be opened or removed");
        }
    }
}

fn remedy(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on the disk, or set NETFLOW_SPOOL_MAX_SIZE lower"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system for writing again",
        io::ErrorKind::PermissionDenied => "let the daemon's user write to NETFLOW_SPOOL_DIR again",
        io::ErrorKind::NotFound => {
            "NETFLOW_SPOOL_DIR is gone: make it again, or restart the daemon"
        }
        _ => return None,
    })
}
