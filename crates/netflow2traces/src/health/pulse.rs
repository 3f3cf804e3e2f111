//! Asks every worker each second for a sign of life. A worker sleeps while nothing arrives, so it can't give one by
//! itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::{Health, Kind, Part, caught};
use crate::worker::Mailboxes;

const INTERVAL: Duration = Duration::from_secs(1);
/// A worker answers after a round over its sockets, which takes a fraction of this.
const WORKER: Duration = Duration::from_secs(5);
/// For the asking itself.
const OWN: Duration = Duration::from_secs(10);

/// The task that asks; it ends when this is dropped.
#[derive(Debug)]
pub struct Pulse(JoinHandle<()>);

impl Pulse {
    /// Begins to ask. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(health: &Health, mailboxes: Mailboxes) -> Self {
        let workers = (0..mailboxes.workers()).map(|worker| Part::numbered(Kind::Receive, worker));
        let workers: Vec<_> = workers.collect();
        for worker in &workers {
            health.add(worker);
        }
        let part = health.part(Kind::Pulse);
        Self(tokio::spawn(async move {
            while caught(ask(&part, &workers, &mailboxes)).await.is_err() {
                part.restart().await;
            }
        }))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn ask(part: &Part, workers: &[Arc<Part>], mailboxes: &Mailboxes) {
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        part.works(OWN);
        for (index, worker) in workers.iter().enumerate() {
            // One that hasn't answered yet is not asked again: its time runs.
            if worker.is_resting() {
                worker.expect(WORKER);
                let worker = Arc::clone(worker);
                // A full mailbox is a worker that doesn't answer, too.
                let _ = mailboxes.put(index, move |_, _| worker.rests());
            }
        }
    }
}
