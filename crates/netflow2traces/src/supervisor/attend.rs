//! Tells the service manager regularly how we are. That we are alive is said only when every worker has just
//! answered, which takes a round over its sockets, and the asynchronous runtime got around to asking.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::warn;

use super::Notifier;
use crate::health::{Kind, Part, caught};
use crate::observe::stages::Stages;
use crate::worker::Mailboxes;

/// How often the status is brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);
/// A watchdog is fed so many times within its time.
const FEEDS: u32 = 3;

/// How often the manager wants to hear that we live: `WATCHDOG_USEC`, if `WATCHDOG_PID` is ours or isn't set.
#[must_use]
pub(super) fn watchdog_interval(variable: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let is_ours = variable("WATCHDOG_PID").is_none_or(|id| id.parse() == Ok(std::process::id()));
    let micros = variable("WATCHDOG_USEC")?.parse().ok()?;
    (is_ours && micros > 0).then(|| Duration::from_micros(micros))
}

/// The task that notifies; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Attending(JoinHandle<()>);

impl Drop for Attending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Attending {
    /// Says that the daemon is ready, and continues to report.
    #[must_use]
    pub(super) fn start(
        notifier: Arc<Notifier>,
        watchdog: Option<Duration>,
        stages: Arc<Stages>,
        mailboxes: Mailboxes,
    ) -> Self {
        notifier.ready(&status(&stages));
        let part = stages.health.part(Kind::Notifier);
        Self(tokio::spawn(async move {
            while caught(attend(&part, &notifier, watchdog, &stages, &mailboxes))
                .await
                .is_err()
            {
                part.restart().await;
            }
        }))
    }
}

async fn attend(
    part: &Part,
    notifier: &Notifier,
    watchdog: Option<Duration>,
    stages: &Stages,
    mailboxes: &Mailboxes,
) {
    let interval = watchdog.map_or(STATUS_INTERVAL, |watchdog| {
        (watchdog / FEEDS).clamp(Duration::from_millis(1), STATUS_INTERVAL)
    });
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut said, mut said_at) = (String::new(), tokio::time::Instant::now());
    let mut silent = false;
    loop {
        let now = tick.tick().await;
        part.works(STATUS_INTERVAL * 2);
        if watchdog.is_some() {
            let answered = mailboxes.ask(|_, _| ()).await;
            let problem = match (answered, stages.health.given_up()) {
                (Ok(_), None) => None,
                (Ok(_), Some(part)) => Some(part),
                (Err(error), _) => Some(error.to_string()),
            };
            match &problem {
                None => notifier.alive(),
                Some(problem) if !silent => {
                    warn!(problem, "the service manager's watchdog is not notified");
                }
                Some(_) => {}
            }
            silent = problem.is_some();
        }
        if now.duration_since(said_at) >= STATUS_INTERVAL {
            said_at = now;
            let status = status(stages);
            if status != said {
                notifier.status(&status);
                said = status;
            }
        }
    }
}

/// How we are, in a line.
fn status(stages: &Stages) -> String {
    let listening = stages.facts.listening.iter();
    let listening: Vec<_> = listening.map(ToString::to_string).collect();
    let exporters = stages.translate(|all| all.exporters.value());
    let flows = stages.translate(|all| all.flow_spans.value());
    let backend = if stages.delivered.backend_away.load(Relaxed) {
        "; the backend is not accepting spans"
    } else {
        ""
    };
    let source = match &stages.kafka_input {
        Some(input) => format!("reading {} partitions of Kafka", input.partitions.value()),
        None => format!("listening on {}", listening.join(", ")),
    };
    format!(
        "{source} with {} workers; {exporters} exporters, {flows} flows{backend}",
        stages.received.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let variables = |id: Option<u32>, micros: &'static str| {
            move |name: &str| match name {
                "WATCHDOG_PID" => id.map(|id| id.to_string()),
                "WATCHDOG_USEC" => Some(micros.to_owned()),
                _ => None,
            }
        };
        let us = std::process::id();
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog_interval(variables(Some(us), "1000000")), second);
        assert_eq!(watchdog_interval(variables(None, "1000000")), second);
        assert_eq!(watchdog_interval(variables(Some(us + 1), "1000000")), None);
        assert_eq!(watchdog_interval(variables(None, "0")), None);
        assert_eq!(watchdog_interval(variables(None, "soon")), None);
        assert_eq!(watchdog_interval(|_| None), None);
    }
}
