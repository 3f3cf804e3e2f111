//! Where flow metrics are read: from the workers while they run, and then from what they had at last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::warn;

use crate::translate::counters::RateLimit;
use crate::translate::metrics::FlowReading;
use crate::worker::Mailboxes;

/// Lines about workers that don't answer are at least this far apart.
const QUIET: std::time::Duration = std::time::Duration::from_secs(60);

/// Reads the flow metrics of all workers.
#[derive(Clone, Debug)]
pub struct FlowSource(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None`: no view is counted.
    mailboxes: Option<Mailboxes>,
    last: Mutex<Option<Arc<FlowReading>>>,
    unanswered: Mutex<RateLimit>,
}

impl FlowSource {
    /// Asks these workers; `None`: no view is counted.
    #[must_use]
    pub fn new(mailboxes: Option<Mailboxes>) -> Self {
        Self(Arc::new(Inner {
            mailboxes,
            last: Mutex::default(),
            unanswered: Mutex::new(RateLimit::new(1, QUIET)),
        }))
    }

    /// What is counted now; `None` if no view is counted, or a worker doesn't answer.
    pub async fn read(&self) -> Option<Arc<FlowReading>> {
        let mailboxes = self.0.mailboxes.as_ref()?;
        if let Some(last) = self.lock(&self.0.last).clone() {
            return Some(last);
        }
        match mailboxes
            .ask(|machine, now| machine.flow_metrics(now))
            .await
        {
            Ok(workers) => {
                let workers = workers.into_iter().flatten().collect();
                Some(Arc::new(FlowReading::merge(workers)))
            }
            Err(error) => {
                // The workers may have ended meanwhile.
                if let Some(last) = self.lock(&self.0.last).clone() {
                    return Some(last);
                }
                let admitted = self.lock(&self.0.unanswered).admit(Instant::now());
                if let Some(suppressed) = admitted {
                    warn!(%error, suppressed, "flow metrics are missing from this answer");
                }
                None
            }
        }
    }

    /// The workers have ended, and this is what they had.
    pub fn end(&self, last: FlowReading) {
        *self.lock(&self.0.last) = Some(Arc::new(last));
    }

    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> std::sync::MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
