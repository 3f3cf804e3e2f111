//! The traits of this module by `krafka`, a client in Rust. All that is known of it stands here.

use std::sync::Arc;
use std::time::Duration;

use krafka::auth::{AuthConfig, TlsConfig};
use krafka::consumer::{
    AutoOffsetReset, ConsumerRebalanceListener, GroupProtocol, OffsetAndMetadata, TopicPartition,
};
use krafka::error::ErrorCode;
use krafka::producer::Acks;
use krafka::{CloseOptions, Compression, Kafka, KrafkaError};

use super::{
    Client, Consumer, ErrorKind, KafkaError, Later, Message, Producer, Queued, Rebalance, Record,
};
use crate::config::{self, KafkaCompression, Sasl, SaslMechanism};

/// As the brokers' logs name us.
const CLIENT_ID: &str = "netflow2traces";
/// Of one request to a broker, with the connection that it needs.
const REQUEST: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Datagrams wait so long for others to be compressed with.
const LINGER: Duration = Duration::from_millis(20);
/// Octets of messages that are compressed together.
const BATCH: usize = 256 << 10;
/// How long a batch may be tried before it is given up; the broker's own limit on a producer's memory is a day.
const LONGEST_PATIENCE: Duration = Duration::from_secs(24 * 3_600);
/// How often the TLS files are read again.
const RELOAD: Duration = Duration::from_secs(60);
/// A member that doesn't poll for so long loses its partitions.
const LONGEST_POLL: Duration = Duration::from_secs(300);
/// Messages that one poll brings at most.
const POLLED: i32 = 4_096;
/// Reading a compacted topic: a poll that brings nothing for so long is tried again, so many times.
const SCAN: Duration = Duration::from_millis(500);
const EMPTY_SCANS: u32 = 60;

const REMEDY_BROKERS: &str = "check NETFLOW_KAFKA_BROKERS, and whether the brokers' advertised listeners can be reached \
     from here";
const REMEDY_SASL: &str = "check NETFLOW_KAFKA_SASL_MECHANISM, NETFLOW_KAFKA_SASL_USERNAME and NETFLOW_KAFKA_SASL_PASSWORD, \
     and NETFLOW_KAFKA_TLS_CA if the brokers use TLS";
const REMEDY_TOPIC: &str = "create the topic (docs/kafka.md has the command)";
const REMEDY_ACL: &str = "the brokers don't allow this user to use the topic or the group; grant it (docs/kafka.md lists the operations)";

/// A cluster.
pub(super) struct Cluster {
    kafka: Kafka,
    compression: Compression,
    /// Octets of a message.
    message: usize,
}

/// Connects.
pub(super) async fn connect(config: &config::Kafka) -> Result<Arc<dyn Client>, KafkaError> {
    let kafka = Kafka::builder(config.brokers.join(","))
        .client_id(CLIENT_ID)
        .security(security(config))
        .request_timeout(REQUEST)
        .connect_timeout(CONNECT)
        .tls_reload_interval(config.tls.is_some().then_some(RELOAD))
        .allow_auto_create_topics(config.create_topics)
        .connect()
        .await
        .map_err(named)?;
    Ok(Arc::new(Cluster {
        kafka,
        compression: match config.compression {
            KafkaCompression::None => Compression::None,
            KafkaCompression::Gzip => Compression::Gzip,
            KafkaCompression::Snappy => Compression::Snappy,
            KafkaCompression::Lz4 => Compression::Lz4,
            KafkaCompression::Zstd => Compression::Zstd,
        },
        message: config.max_message_size,
    }))
}

fn security(config: &config::Kafka) -> AuthConfig {
    let tls = config.tls.as_ref().map(|files| {
        let mut tls = TlsConfig::new();
        tls = match &files.ca {
            Some(path) => tls.with_ca_cert(path.to_string_lossy()),
            None => tls.with_native_roots(),
        };
        if let Some((certificate, key)) = &files.identity {
            tls = tls.with_client_cert(certificate.to_string_lossy(), key.to_string_lossy());
        }
        tls
    });
    let sasl = config.sasl.as_ref().map(|sasl| {
        let Sasl {
            mechanism,
            username,
            password,
        } = sasl;
        match mechanism {
            SaslMechanism::Plain => AuthConfig::sasl_plain(username, password),
            SaslMechanism::ScramSha256 => AuthConfig::sasl_scram_sha256(username, password),
            SaslMechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(username, password),
        }
    });
    match (sasl, tls) {
        (None, None) => AuthConfig::plaintext(),
        (None, Some(tls)) => AuthConfig::ssl(tls),
        (Some(sasl), None) => sasl,
        (Some(sasl), Some(tls)) => sasl.with_tls(tls),
    }
}

impl Client for Cluster {
    fn producer(
        &self,
        patience: Duration,
        room: usize,
    ) -> Later<'_, Result<Arc<dyn Producer>, KafkaError>> {
        let least = REQUEST + LINGER;
        Box::pin(async move {
            let producer = self
                .kafka
                .producer()
                .acks(Acks::All)
                .idempotent(true)
                .compression(self.compression)
                .batch_size(BATCH.min(self.message))
                .linger(LINGER)
                .delivery_timeout(patience.clamp(least, LONGEST_PATIENCE))
                .max_block(REQUEST)
                .buffer_memory(room.max(2 * self.message).max(2 * BATCH))
                .metrics_push(false)
                .build()
                .await
                .map_err(named)?;
            let producer: Arc<dyn Producer> = Arc::new(Writer(producer));
            Ok(producer)
        })
    }

    fn consumer<'a>(
        &'a self,
        group: &'a str,
        topic: &'a str,
        rebalance: Arc<dyn Rebalance>,
    ) -> Later<'a, Result<Arc<dyn Consumer>, KafkaError>> {
        Box::pin(async move {
            let consumer = self
                .kafka
                .consumer(group)
                .group_protocol(GroupProtocol::Consumer)
                .auto_offset_reset(AutoOffsetReset::Earliest)
                .enable_auto_commit(false)
                .max_poll_records(POLLED)
                // No limit: at the limit a poll returns at once and fetches nothing for anybody, which would last as long
                // as partitions with so many records are paused. Each partition holds one fetch at most.
                .max_buffered_records(0)
                .max_poll_interval(LONGEST_POLL)
                .metrics_push(false)
                .rebalance_listener(Listener(rebalance))
                .build()
                .await
                .map_err(named)?;
            consumer.subscribe([topic]).await.map_err(named)?;
            let member: Arc<dyn Consumer> = Arc::new(Member {
                consumer,
                topic: topic.to_owned(),
            });
            Ok(member)
        })
    }

    fn read_all<'a>(
        &'a self,
        topic: &'a str,
        partition: i32,
        take: &'a mut (dyn FnMut(Vec<Message>) + Send),
    ) -> Later<'a, Result<(), KafkaError>> {
        Box::pin(async move {
            let reader = self
                .kafka
                .consumer_without_group()
                .auto_offset_reset(AutoOffsetReset::Earliest)
                .metrics_push(false)
                .build()
                .await
                .map_err(named)?;
            let (start, end) = reader
                .fetch_watermarks(topic, partition)
                .await
                .map_err(named)?;
            if start >= end {
                return Ok(());
            }
            reader.assign(topic, vec![partition]).await.map_err(named)?;
            let mut empty = 0;
            // The last messages may have been compacted away: the position tells, not what was read.
            while reader
                .position(topic, partition)
                .await
                .is_none_or(|at| at < end)
            {
                let read = reader.poll(SCAN).await.map_err(named)?;
                empty = if read.is_empty() { empty + 1 } else { 0 };
                if empty > EMPTY_SCANS {
                    let text = format!("{topic}-{partition} can't be read to its end");
                    return Err(KafkaError::new(ErrorKind::Retry, text));
                }
                take(read.into_iter().map(message).collect());
            }
            // Nothing depends on how it ends.
            let _ = reader.close().await;
            Ok(())
        })
    }

    fn partitions<'a>(&'a self, topic: &'a str) -> Later<'a, Result<usize, KafkaError>> {
        Box::pin(async move {
            let reader = self.kafka.consumer_without_group().metrics_push(false);
            let reader = reader.build().await.map_err(named)?;
            let found = reader.fetch_metadata(Some(topic)).await.map_err(named)?;
            let found = found.topics.into_iter().find(|found| found.name == topic);
            match found {
                Some(found) if !found.partitions.is_empty() => Ok(found.partitions.len()),
                _ => Err(named(KrafkaError::unknown_topic(topic))),
            }
        })
    }

    fn reload(&self) -> Later<'_, Result<(), KafkaError>> {
        Box::pin(async move { self.kafka.refresh_tls().await.map_err(named) })
    }
}

struct Writer(krafka::producer::Producer);

impl Producer for Writer {
    fn queue<'a>(&'a self, records: &'a [Record]) -> Later<'a, Queued> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(records.len());
            let mut error = None;
            for record in records {
                match self.0.enqueue(theirs(record)).await {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(failed) => {
                        error = Some(named(failed));
                        break;
                    }
                }
            }
            Queued {
                queued: outcomes.len(),
                error,
                outcomes: Box::pin(async move {
                    let mut all = Vec::with_capacity(outcomes.len());
                    for outcome in outcomes {
                        all.push(outcome.await.map(drop).map_err(named));
                    }
                    all
                }),
            }
        })
    }

    fn flush(&self) -> Later<'_, ()> {
        Box::pin(async move {
            // It has no way to fail; the outcomes say what became of the messages.
            let _ = self.0.flush().await;
        })
    }
}

fn theirs(record: &Record) -> krafka::Record {
    let mut theirs = krafka::Record::new(&*record.topic, record.value.clone().unwrap_or_default());
    if record.value.is_none() {
        theirs = theirs.without_value();
    }
    theirs.key.clone_from(&record.key);
    theirs.timestamp = record.timestamp_ms;
    for (name, value) in &record.headers {
        theirs = theirs.header(*name, value.clone());
    }
    theirs
}

fn message(record: krafka::ConsumerRecord) -> Message {
    let headers = record.headers.into_iter();
    Message {
        partition: record.partition,
        offset: record.offset,
        timestamp_ms: record.timestamp,
        key: record.key,
        value: record.value,
        headers: headers
            .filter_map(|(name, value)| Some((name, value?)))
            .collect(),
    }
}

struct Member {
    consumer: krafka::consumer::Consumer,
    topic: String,
}

impl Consumer for Member {
    fn poll(&self, wait: Duration) -> Later<'_, Result<Vec<Message>, KafkaError>> {
        Box::pin(async move {
            let read = self.consumer.poll(wait).await.map_err(named)?;
            Ok(read.into_iter().map(message).collect())
        })
    }

    fn commit<'a>(&'a self, offsets: &'a [(i32, i64)]) -> Later<'a, Result<(), KafkaError>> {
        let offsets = offsets.iter().map(|(partition, offset)| {
            (
                TopicPartition::new(&self.topic, *partition),
                OffsetAndMetadata::new(*offset),
            )
        });
        let offsets: Vec<_> = offsets.collect();
        Box::pin(async move { self.consumer.commit_offsets(offsets).await.map_err(named) })
    }

    fn pause<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()> {
        Box::pin(self.consumer.pause(&self.topic, partitions))
    }

    fn resume<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()> {
        Box::pin(self.consumer.resume(&self.topic, partitions))
    }

    fn seek(&self, partition: i32, offset: i64) -> Later<'_, Result<(), KafkaError>> {
        Box::pin(async move {
            let seek = self.consumer.seek(&self.topic, partition, offset);
            seek.await.map_err(named)
        })
    }

    fn lag(&self) -> Later<'_, u64> {
        Box::pin(async move {
            let lag = self.consumer.lag().await;
            lag.values().filter_map(|of| of.lag).sum()
        })
    }

    fn close(&self, within: Duration) -> Later<'_, ()> {
        Box::pin(async move {
            let options = CloseOptions::new().timeout(within);
            if let Err(error) = self.consumer.close_with(options).await {
                tracing::debug!(%error, "leaving the consumer group failed");
            }
        })
    }
}

struct Listener(Arc<dyn Rebalance>);

impl Listener {
    /// An empty change is none.
    fn numbers(partitions: &[TopicPartition]) -> Option<Vec<i32>> {
        let numbers = partitions.iter().map(TopicPartition::partition);
        Some(numbers.collect()).filter(|numbers: &Vec<i32>| !numbers.is_empty())
    }
}

impl ConsumerRebalanceListener for Listener {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        if let Some(numbers) = Self::numbers(partitions) {
            self.0.assigned(&numbers).await;
        }
    }

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        if let Some(numbers) = Self::numbers(partitions) {
            self.0.revoked(&numbers).await;
        }
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        if let Some(numbers) = Self::numbers(partitions) {
            self.0.lost(&numbers).await;
        }
    }
}

/// Says what an error means for us. What an operator can mend (a broker that is away, a password, a missing topic, a missing
/// grant) is worth another attempt, as nothing that waits is to blame for it.
fn named(error: KrafkaError) -> KafkaError {
    let text = error.to_string();
    let (kind, remedy) = match &error {
        KrafkaError::Auth { .. } => (ErrorKind::Retry, Some(REMEDY_SASL)),
        KrafkaError::Network(_) | KrafkaError::Timeout { .. } => {
            (ErrorKind::Retry, Some(REMEDY_BROKERS))
        }
        KrafkaError::UnknownTopic { .. } => (ErrorKind::Retry, Some(REMEDY_TOPIC)),
        KrafkaError::Broker { code, .. } => of_code(*code),
        KrafkaError::Fenced { .. }
        | KrafkaError::Closed { .. }
        | KrafkaError::IllegalState { .. } => (ErrorKind::Ended, None),
        // Serialization and Compression concern this message; a configuration that passed ours is no better at the next
        // attempt.
        KrafkaError::Serialization { .. } | KrafkaError::Compression { .. } => {
            (ErrorKind::Rejected, None)
        }
        _ => (ErrorKind::Retry, None),
    };
    KafkaError { kind, text, remedy }
}

fn of_code(code: ErrorCode) -> (ErrorKind, Option<&'static str>) {
    match code {
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => (ErrorKind::TooLarge, None),
        ErrorCode::UnknownTopicOrPartition => (ErrorKind::Retry, Some(REMEDY_TOPIC)),
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => (ErrorKind::Retry, Some(REMEDY_ACL)),
        ErrorCode::SaslAuthenticationFailed => (ErrorKind::Retry, Some(REMEDY_SASL)),
        ErrorCode::InvalidRecord | ErrorCode::InvalidTimestamp => (ErrorKind::Rejected, None),
        ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch => (ErrorKind::Ended, None),
        _ => (ErrorKind::Retry, None),
    }
}
