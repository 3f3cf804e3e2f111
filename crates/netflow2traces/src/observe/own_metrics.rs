//! `OTEL_METRICS_EXPORTER=otlp` or `kafka`: every interval, and once at the end, all metrics, in requests of bounded size.
//!
//! Each has the sums since the start, so that a lost request loses nothing but a point in time: what can't be
//! delivered within its time is given up, counted, and said once.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use otlp_wire::messages::ExportMetricsServiceRequest;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::flow_metrics::{Exposition, FlowSource};
use super::metrics_otlp::Requests;
use super::stages::Stages;
use crate::config;
use crate::deliver::{Cause, DeliverError, MetricsSender, Outcome};
use crate::health::{Kind, Part, caught};
use crate::translate::counters::RateLimit;

/// From a failed attempt to the next; a backend may ask for longer.
const PAUSE: Duration = Duration::from_secs(1);
/// Octets of a request: before it is encoded, it takes several times as much.
const MAX_LIMIT: usize = 1 << 20;
/// Octets of a request that may always be sent.
const LEAST_LIMIT: usize = 64 << 10;
/// Beyond an export's own time limit it must have ended.
const SLACK: Duration = Duration::from_secs(30);
/// Time between two lines about refusals.
const QUIET: Duration = Duration::from_secs(60);

/// The outcomes of requests.
#[derive(Debug, Default)]
pub struct ExportCounters {
    /// The backend has all of it.
    pub accepted: AtomicU64,
    /// The backend refused it, or a part of it.
    pub rejected: AtomicU64,
    /// There was no usable answer in time.
    pub failed: AtomicU64,
}

/// The running export. Dropped, it ends at once; [`stop`](Self::stop) sends a last time.
#[derive(Debug)]
pub struct MetricsExport {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    sender: Arc<MetricsSender>,
}

impl MetricsExport {
    /// Reads the TLS files and starts. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`DeliverError`], if a setting can't be used. A backend that is away is no error.
    pub fn start(
        config: &config::OwnMetrics,
        resource: &[(String, String)],
        stages: Arc<Stages>,
        flows: FlowSource,
    ) -> Result<Self, DeliverError> {
        let part = stages.health.part(Kind::OwnMetrics);
        let sender = Arc::new(MetricsSender::new(&config.to)?);
        let mut export = Export {
            sender: Arc::clone(&sender),
            timeout: config.timeout,
            resource: resource.to_vec(),
            stages,
            flows,
            limit: MAX_LIMIT,
            away_since: None,
            refusals: RateLimit::new(1, QUIET),
        };
        let (stop, mut stopped) = watch::channel(false);
        let interval = config.interval;
        let task = tokio::spawn(async move {
            while caught(export.run(interval, &mut stopped, &part))
                .await
                .is_err()
            {
                part.restart().await;
            }
        });
        Ok(Self { stop, task, sender })
    }

    /// Reads the files of TLS and headers again.
    pub fn reload_files(&self) {
        self.sender.reload_files();
    }

    /// Sends a last time, and ends not later than at `deadline`.
    pub async fn stop(mut self, deadline: Instant) {
        self.stop.send_replace(true);
        let ended = tokio::time::timeout_at(deadline.into(), &mut self.task).await;
        if ended.is_err() {
            warn!("the last numbers of the daemon's own metrics were not sent in time");
        }
    }
}

impl Drop for MetricsExport {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Export {
    sender: Arc<MetricsSender>,
    timeout: Duration,
    resource: Vec<(String, String)>,
    stages: Arc<Stages>,
    flows: FlowSource,
    /// Octets of a request; fewer once one was too large.
    limit: usize,
    /// Since when exports fail, once that was said.
    away_since: Option<Instant>,
    refusals: RateLimit,
}

impl Export {
    async fn run(&mut self, interval: Duration, stopped: &mut watch::Receiver<bool>, part: &Part) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first is now, when there is nothing to send yet.
        ticks.tick().await;
        loop {
            part.rests();
            let last = tokio::select! {
                _ = ticks.tick() => false,
                // An error says that the sender is gone, which means the same.
                _ = stopped.wait_for(|stopped| *stopped) => true,
            };
            // A stop needn't wait for an export whose backend is away: the last one follows.
            part.works(self.timeout + SLACK);
            let mut stopped = stopped.clone();
            tokio::select! {
                () = self.export() => {}
                _ = stopped.wait_for(|stopped| *stopped), if !last => continue,
            }
            if last {
                return;
            }
        }
    }

    async fn export(&mut self) {
        let deadline = Instant::now() + self.timeout;
        let flows = self.flows.read().await.map(Exposition::new);
        // What the backend of spans was found not to accept, one of metrics hardly does.
        let limit = self.stages.request_limit.load(Relaxed).min(self.limit);
        let limit = limit.max(LEAST_LIMIT);
        let requests = Requests::new(
            &self.stages,
            flows,
            &self.resource,
            SystemTime::now(),
            limit,
        );
        for request in requests {
            if !self.deliver(&request, limit, deadline).await {
                break;
            }
        }
    }

    /// Sends a request until there is an answer; `false` if there was none in time.
    async fn deliver(
        &mut self,
        request: &ExportMetricsServiceRequest,
        limit: usize,
        deadline: Instant,
    ) -> bool {
        let mut cause = None;
        let outcome = tokio::time::timeout_at(deadline.into(), async {
            loop {
                match self.sender.send(request).await {
                    Outcome::Retry { after, cause: why } => {
                        cause = Some(why);
                        tokio::time::sleep(after.unwrap_or(PAUSE).max(PAUSE)).await;
                    }
                    outcome => return outcome,
                }
            }
        })
        .await;
        let counters = &self.stages.own_metrics;
        match outcome {
            Ok(Outcome::Accepted) => {
                counters.accepted.fetch_add(1, Relaxed);
                self.back();
            }
            Ok(Outcome::Partial {
                rejected_spans: 0,
                message,
            }) => {
                counters.accepted.fetch_add(1, Relaxed);
                self.back();
                self.refused(&Cause {
                    text: message,
                    remedy: None,
                });
            }
            Ok(Outcome::Partial { message, .. }) => {
                counters.rejected.fetch_add(1, Relaxed);
                self.back();
                self.refused(&Cause {
                    text: message,
                    remedy: None,
                });
            }
            Ok(Outcome::TooLarge { cause }) => {
                counters.rejected.fetch_add(1, Relaxed);
                // The next export has all sums again, in smaller requests.
                self.limit = limit / 2;
                self.refused(&cause);
            }
            Ok(Outcome::Rejected { cause } | Outcome::Retry { cause, .. }) => {
                counters.rejected.fetch_add(1, Relaxed);
                self.refused(&cause);
            }
            Err(_) => {
                counters.failed.fetch_add(1, Relaxed);
                self.away(cause.as_ref());
                return false;
            }
        }
        true
    }

    fn refused(&mut self, cause: &Cause) {
        if let Some(suppressed) = self.refusals.admit(Instant::now()) {
            warn!(
                cause = %cause.text,
                remedy = cause.remedy,
                suppressed,
                "the metrics backend rejected the daemon's own metrics, or a part of them"
            );
        }
    }

    fn away(&mut self, cause: Option<&Cause>) {
        if self.away_since.is_some() {
            return;
        }
        self.away_since = Some(Instant::now());
        let no_answer = "no answer in the time of OTEL_METRIC_EXPORT_TIMEOUT";
        warn!(
            cause = cause.map_or(no_answer, |cause| cause.text.as_str()),
            remedy = cause.and_then(|cause| cause.remedy),
            "the metrics backend is not accepting the daemon's own metrics; retrying at every interval"
        );
    }

    fn back(&mut self) {
        if let Some(since) = self.away_since.take() {
            let away_ms = since.elapsed().as_millis();
            info!(
                away_ms,
                "the metrics backend accepts the daemon's own metrics again"
            );
        }
    }
}
