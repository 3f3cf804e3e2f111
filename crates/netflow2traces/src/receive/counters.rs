//! What a worker counts. Each worker has counters of its own and is the only one that writes them;
//! anyone may read.

use crate::translate::counters::Counter;

/// The counters of one worker, over all of its sockets, on cache lines of their own (two, since
/// processors fetch lines in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// Datagrams handed to the handler.
    pub datagrams: Counter,
    /// Octets of their payloads.
    pub octets: Counter,
    /// Datagrams that the kernel dropped because a socket's receive buffer was full (or their
    /// checksum wrong); at most a second old while datagrams come, exact after the stop.
    pub kernel_drops: Counter,
    /// Datagrams dropped because they were longer than any UDP payload may be.
    pub truncated: Counter,
    /// Reads that failed, and datagrams from what is not an IP address.
    pub receive_errors: Counter,
    /// Sockets whose last read failed (gauge).
    pub unreadable: Counter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_no_cache_line() {
        assert_eq!(size_of::<WorkerCounters>() % 128, 0);
        assert_eq!(align_of::<WorkerCounters>(), 128);
    }
}
