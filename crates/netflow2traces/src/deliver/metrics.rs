//! Requests with the daemon's own metrics, by the same transports as the spans' and one at a time.

use otlp_wire::messages::ExportMetricsServiceRequest;
use prost::Message as _;

use super::kafka::KafkaSender;
use super::outcome::{Cause, Outcome};
use super::sender::{DeliverError, Sender};
use crate::config::{MetricsTo, Protocol, Signal};

/// Sends requests to a backend of metrics.
#[derive(Debug)]
pub struct MetricsSender {
    sender: Sender,
    json: bool,
}

impl MetricsSender {
    /// Reads the TLS files; connections are made when there is something to send.
    ///
    /// # Errors
    /// [`DeliverError`], if a setting can't be used.
    pub fn new(to: &MetricsTo) -> Result<Self, DeliverError> {
        Ok(match to {
            MetricsTo::Otlp(otlp) => Self {
                sender: Sender::otlp(otlp, Signal::Metrics, 1)?,
                json: otlp.protocol == Protocol::HttpJson,
            },
            MetricsTo::Kafka(kafka) => Self {
                sender: Sender::Kafka(KafkaSender::new(kafka, &kafka.metrics_topic, 1)),
                json: false,
            },
        })
    }

    /// Reads the files of TLS and headers again. Files that change are noticed without it, within seconds.
    pub fn reload_files(&self) {
        self.sender.reload();
    }

    /// One attempt. What can't be written counts as refused.
    pub async fn send(&self, request: &ExportMetricsServiceRequest) -> Outcome {
        let octets = if self.json {
            match serde_json::to_vec(request) {
                Ok(octets) => octets,
                Err(error) => return unwritable(&error),
            }
        } else {
            request.encode_to_vec()
        };
        match self.sender.prepare(octets.into()).await {
            Ok(body) => of_metrics(self.sender.send(0, &body).await),
            Err(error) => unwritable(&error),
        }
    }
}

/// Its causes speak of metrics.
fn of_metrics(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Retry { after, cause } => Outcome::Retry {
            after,
            cause: cause.of_metrics(),
        },
        Outcome::TooLarge { cause } => Outcome::TooLarge {
            cause: cause.of_metrics(),
        },
        Outcome::Rejected { cause } => Outcome::Rejected {
            cause: cause.of_metrics(),
        },
        outcome => outcome,
    }
}

fn unwritable(error: &dyn std::error::Error) -> Outcome {
    Outcome::Rejected {
        cause: Cause::new(format!("the metrics can't be written: {error}")),
    }
}
