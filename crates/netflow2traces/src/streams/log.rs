//! What is logged of connections, at a bounded rate: exporters may connect without end.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use netflow_wire::Transport;
use tracing::{error, info, warn};

use super::connection::End;
use super::counters::Reason;
use crate::translate::counters::RateLimit;

/// Lines of a kind …
const LINES: u32 = 20;
/// … in so much time.
const INTERVAL: Duration = Duration::from_secs(10);

/// The limits of its lines.
#[derive(Debug)]
pub(super) struct Log {
    /// That connections come and go.
    usual: Mutex<RateLimit>,
    /// That something is wrong with one.
    problems: Mutex<RateLimit>,
}

impl Default for Log {
    fn default() -> Self {
        let limit = || Mutex::new(RateLimit::new(LINES, INTERVAL));
        Self {
            usual: limit(),
            problems: limit(),
        }
    }
}

/// Whether a line may be written, and how many were not since the last one.
fn admit(limit: &Mutex<RateLimit>) -> Option<Option<u64>> {
    let mut limit = limit.lock().unwrap_or_else(PoisonError::into_inner);
    let suppressed = limit.admit(Instant::now())?;
    Some((suppressed > 0).then_some(suppressed))
}

impl Log {
    pub(super) fn opened(&self, peer: SocketAddr, transport: Transport) {
        if let Some(suppressed) = admit(&self.usual) {
            let (exporter, port, transport) = (peer.ip(), peer.port(), transport.as_str());
            info!(%exporter, port, transport, suppressed, "connection opened");
        }
    }

    /// A connection was closed, or was not let in.
    pub(super) fn ended(&self, peer: SocketAddr, transport: Transport, messages: u64, end: &End) {
        let (exporter, port, transport) = (peer.ip(), peer.port(), transport.as_str());
        let reason = end.reason.as_str();
        if matches!(end.reason, Reason::Exporter | Reason::Stop | Reason::Idle) {
            if let Some(suppressed) = admit(&self.usual) {
                info!(%exporter, port, transport, reason, messages, suppressed, "connection closed");
            }
            return;
        }
        let Some(suppressed) = admit(&self.problems) else {
            return;
        };
        let why = end.detail.as_deref().unwrap_or_else(|| explain(end.reason));
        if end.reason == Reason::Failed {
            error!(%exporter, port, transport, reason, messages, suppressed, "connection closed: {why}");
        } else {
            warn!(%exporter, port, transport, reason, messages, suppressed, "connection closed: {why}");
        }
    }

    /// A connection could not be accepted.
    pub(super) fn not_accepted(&self, error: &std::io::Error) {
        if let Some(suppressed) = admit(&self.problems) {
            warn!(
                %error, suppressed,
                "a connection could not be accepted; if the limit of open files is the cause, raise it (`ulimit -n`, \
                 LimitNOFILE= in a systemd unit)"
            );
        }
    }
}

/// What to know of a reason that has no detail of its own.
const fn explain(reason: Reason) -> &'static str {
    match reason {
        Reason::Incomplete => "the rest of a message did not come within a minute",
        Reason::Displaced => {
            "it had been quiet for longest, and all places for connections were taken"
        }
        Reason::Memory => {
            "it had the beginning of a message for longest, and incomplete messages took all the memory they may"
        }
        Reason::Replaced => "the exporter opened another one from the same port",
        Reason::Forgotten => {
            "the exporter was forgotten for the memory of others (NETFLOW_MEMORY_LIMIT, NETFLOW_MAX_EXPORTERS), and \
             must send its templates again"
        }
        Reason::Failed => "reading it has panicked; this is a bug, please report it",
        Reason::NotAllowed => "NETFLOW_ALLOWED_EXPORTERS does not have its address",
        Reason::TooMany => "all places for connections are taken",
        Reason::TooManyOfAddress => "all places for connections of one address are taken",
        Reason::Handshake => "the TLS handshake was not complete in time",
        _ => "the connection broke",
    }
}
