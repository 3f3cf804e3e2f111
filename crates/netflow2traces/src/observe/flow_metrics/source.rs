//! Where flow metrics are read: from the workers while they run, and then from what they had at last.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::warn;

use crate::translate::counters::RateLimit;
use crate::translate::enrich::interfaces::Interfaces;
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
    /// `NETFLOW_INTERFACES`.
    interfaces: Mutex<Option<Arc<Interfaces>>>,
    unanswered: Mutex<RateLimit>,
}

impl FlowSource {
    /// Asks these workers; `None`: no view is counted.
    #[must_use]
    pub fn new(mailboxes: Option<Mailboxes>) -> Self {
        Self(Arc::new(Inner {
            mailboxes,
            last: Mutex::default(),
            interfaces: Mutex::default(),
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
                Some(Arc::new(self.merged(workers)))
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
    pub fn end(&self, last: Vec<FlowReading>) {
        *self.lock(&self.0.last) = Some(Arc::new(self.merged(last)));
    }

    /// Describes interfaces from here on; of a new version of the file too.
    pub fn describe(&self, interfaces: &Arc<Interfaces>) {
        *self.lock(&self.0.interfaces) = Some(Arc::clone(interfaces));
    }

    fn merged(&self, workers: Vec<FlowReading>) -> FlowReading {
        let merged = FlowReading::merge(workers);
        match self.lock(&self.0.interfaces).clone() {
            Some(interfaces) => merged.described(&interfaces),
            None => merged,
        }
    }

    fn lock<'a, T>(&self, mutex: &'a Mutex<T>) -> std::sync::MutexGuard<'a, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
