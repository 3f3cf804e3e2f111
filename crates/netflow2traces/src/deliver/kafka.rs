//! OTLP requests as messages of a Kafka topic. The octets are those of the request; compression, and retries within an
//! attempt, are the client's. An attempt that fails is retried like any other, so that a message may stand in the topic twice.

use std::fmt;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;

use super::outcome::{Cause, Outcome};
use crate::config;
use crate::kafka::{self, Client, ErrorKind, KafkaError, Later, Producer, Record};

/// How long an attempt may take.
pub(super) const ATTEMPT: Duration = Duration::from_secs(30);

/// Makes a connection to the cluster.
type Connect = Box<dyn Fn() -> Later<'static, Result<Arc<dyn Client>, KafkaError>> + Send + Sync>;

/// Writes requests to a topic.
pub(super) struct KafkaSender {
    topic: Arc<str>,
    /// Octets of messages that wait for their acknowledgement.
    room: usize,
    connect: Connect,
    /// Made when it is needed, and again when it has ended.
    producer: Mutex<Option<Arc<dyn Producer>>>,
}

impl KafkaSender {
    /// Connects to nothing. So many attempts may be under way.
    pub(super) fn new(config: &config::Kafka, topic: &Arc<str>, slots: usize) -> Self {
        let room = config.max_message_size * (slots + 1);
        let config = config.clone();
        Self::with(topic, room, move || {
            let config = config.clone();
            Box::pin(async move { kafka::connect(&config).await })
        })
    }

    fn with(
        topic: &Arc<str>,
        room: usize,
        connect: impl Fn() -> Later<'static, Result<Arc<dyn Client>, KafkaError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            topic: Arc::clone(topic),
            room,
            connect: Box::new(connect),
            producer: Mutex::default(),
        }
    }

    /// Connects if there is no connection, and looks whether the topic is there.
    pub(super) async fn warm_up(&self) -> Result<(), Cause> {
        self.producer().await.map(drop).map_err(cause)
    }

    /// One attempt.
    pub(super) async fn send(&self, octets: &Bytes) -> Outcome {
        match self.try_to_send(octets).await {
            Ok(()) => Outcome::Accepted,
            Err(error) => {
                if error.kind == ErrorKind::Ended {
                    *self.producer.lock().await = None;
                }
                outcome(error)
            }
        }
    }

    async fn try_to_send(&self, octets: &Bytes) -> Result<(), KafkaError> {
        let producer = self.producer().await?;
        let record = Record {
            topic: Arc::clone(&self.topic),
            value: Some(octets.clone()),
            ..Record::default()
        };
        let queued = producer.queue(slice::from_ref(&record)).await;
        if let Some(error) = queued.error {
            return Err(error);
        }
        queued.outcomes.await.into_iter().collect()
    }

    async fn producer(&self) -> Result<Arc<dyn Producer>, KafkaError> {
        let mut kept = self.producer.lock().await;
        if let Some(producer) = &*kept {
            return Ok(Arc::clone(producer));
        }
        let client = (self.connect)().await?;
        client.partitions(&self.topic).await?;
        let producer = client.producer(ATTEMPT, self.room).await?;
        *kept = Some(Arc::clone(&producer));
        Ok(producer)
    }
}

impl fmt::Debug for KafkaSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSender")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

fn outcome(error: KafkaError) -> Outcome {
    let kind = error.kind;
    let cause = cause(error);
    match kind {
        ErrorKind::Retry | ErrorKind::Ended => Outcome::Retry { after: None, cause },
        ErrorKind::TooLarge => Outcome::TooLarge { cause },
        ErrorKind::Rejected => Outcome::Rejected { cause },
    }
}

fn cause(error: KafkaError) -> Cause {
    Cause {
        text: format!("Kafka: {}", error.text),
        remedy: error.remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::fake::FakeBroker;

    fn sender(broker: &FakeBroker) -> KafkaSender {
        let broker = broker.clone();
        KafkaSender::with(&"otlp_spans".into(), 1 << 20, move || {
            let client: Arc<dyn Client> = Arc::new(broker.clone());
            Box::pin(std::future::ready(Ok(client)))
        })
    }

    #[tokio::test]
    async fn a_request_is_a_message_with_the_same_octets() {
        let broker = FakeBroker::new(3);
        let sender = sender(&broker);
        let octets = Bytes::from_static(b"a request");
        assert_eq!(sender.send(&octets).await, Outcome::Accepted);
        let messages = broker.messages("otlp_spans");
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].value, Some(octets));
        assert_eq!(messages[0].key, None);
    }

    #[tokio::test]
    async fn a_broker_that_is_away_is_worth_another_attempt() {
        let broker = FakeBroker::new(1);
        let sender = sender(&broker);
        broker.stop(true);
        assert!(sender.warm_up().await.is_err());
        let octets = Bytes::from_static(b"a request");
        let outcome = sender.send(&octets).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
        broker.stop(false);
        assert_eq!(sender.send(&octets).await, Outcome::Accepted);
        // With a producer, too.
        broker.stop(true);
        let outcome = sender.send(&octets).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
        assert_eq!(broker.messages("otlp_spans").len(), 1);
    }

    #[tokio::test]
    async fn a_message_over_the_brokers_limit_is_to_be_split() {
        let broker = FakeBroker::new(1);
        let sender = sender(&broker);
        broker.refuse_over(4);
        let outcome = sender.send(&Bytes::from_static(b"a request")).await;
        assert!(matches!(outcome, Outcome::TooLarge { .. }), "{outcome:?}");
    }

    #[test]
    fn the_cause_names_kafka_and_the_setting() {
        let error = KafkaError {
            kind: ErrorKind::Rejected,
            text: "no".to_owned(),
            remedy: Some("check NETFLOW_KAFKA_BROKERS"),
        };
        let Outcome::Rejected { cause } = outcome(error) else {
            panic!("it is rejected");
        };
        assert_eq!(cause.to_string(), "Kafka: no: check NETFLOW_KAFKA_BROKERS");
    }
}
