//! Kafka behind a narrow trait: produce with acknowledgement; poll; assigned, revoked, lost; commit. What uses Kafka knows
//! these traits alone, so that it is tested against a broker in the process ([`fake`](self)), and so that another
//! client costs one file (docs/decisions/0012-kafka.md).
//!
//! The client is there with the cargo feature `kafka`; without it [`connect`] says so, and the configuration has already
//! refused whatever needs one.

#[cfg(feature = "kafka")]
mod client;
#[cfg(test)]
pub(crate) mod fake;
mod flow_message;
pub mod input;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::config;

pub use flow_message::{FlowMessage, NotAFlowMessage};

/// Whether this build has a Kafka client.
pub const IS_BUILT_IN: bool = cfg!(feature = "kafka");

/// What a build without a client says where one is needed.
pub const NOT_BUILT_IN: &str = "this build of netflow2traces has no Kafka client: use a release build, or build it with \
     `cargo build --release --features kafka`";

/// What is there later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A message to write.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    pub topic: Arc<str>,
    /// Messages of one key stand in one partition, in their order. Without one the client chooses.
    pub key: Option<Bytes>,
    /// `None` deletes the key from a compacted topic.
    pub value: Option<Bytes>,
    pub headers: Vec<(&'static str, Bytes)>,
    /// Milliseconds since 1970; without it the time at which the client has it.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// Octets of memory that it takes while it waits, with what the client makes of it.
    #[must_use]
    pub fn octets(&self) -> usize {
        let length = |octets: &Option<Bytes>| octets.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter();
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        RECORD_OVERHEAD + length(&self.key) + length(&self.value) + headers
    }
}

/// Of a record with four headers: itself, its allocations, and the same again in the client.
const RECORD_OVERHEAD: usize = 1_024;

/// A message that was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Bytes)>,
}

impl Message {
    /// The value of the last header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        let mut headers = self.headers.iter().rev();
        headers
            .find(|(given, _)| given == name)
            .map(|(_, value)| value)
    }
}

/// Why Kafka didn't do what was asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KafkaError {
    pub kind: ErrorKind,
    /// For the log.
    pub text: String,
    /// A sentence for the operator, where the error points at a setting.
    pub remedy: Option<&'static str>,
}

/// What an error means for what was asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ErrorKind {
    /// It is worth another attempt: a broker is away, busy or not reachable, or the operator can allow it.
    Retry,
    /// The message is over the broker's or the topic's limit.
    TooLarge,
    /// This message will never be taken.
    Rejected,
    /// The client is of no use any more: make another one.
    Ended,
}

impl KafkaError {
    /// Without a remedy.
    #[must_use]
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            remedy: None,
        }
    }
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match self.remedy {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KafkaError {}

/// A connection to a cluster, from which everything else is made.
pub trait Client: Send + Sync {
    /// Something that writes: idempotent, acknowledged by all replicas in sync. `patience` is how long a message is tried
    /// before its outcome is an error; `room` how many octets may wait for their acknowledgement.
    fn producer(
        &self,
        patience: Duration,
        room: usize,
    ) -> Later<'_, Result<Arc<dyn Producer>, KafkaError>>;

    /// A member of a consumer group that reads `topic` from where the group has committed, at first from the start. It
    /// commits nothing by itself. Two members need two clients.
    fn consumer<'a>(
        &'a self,
        group: &'a str,
        topic: &'a str,
        rebalance: Arc<dyn Rebalance>,
    ) -> Later<'a, Result<Arc<dyn Consumer>, KafkaError>>;

    /// Reads a partition from its start to what is its end at this moment: a compacted topic's state. Gives each batch to
    /// `take` as it comes.
    fn read_all<'a>(
        &'a self,
        topic: &'a str,
        partition: i32,
        take: &'a mut (dyn FnMut(Vec<Message>) + Send),
    ) -> Later<'a, Result<(), KafkaError>>;

    /// How many partitions a topic has.
    fn partitions<'a>(&'a self, topic: &'a str) -> Later<'a, Result<usize, KafkaError>>;

    /// Reads the TLS files again.
    fn reload(&self) -> Later<'_, Result<(), KafkaError>>;
}

/// What became of queueing records.
pub struct Queued {
    /// So many of them, the first ones, were queued.
    pub queued: usize,
    /// Why the others were not.
    pub error: Option<KafkaError>,
    /// The outcome of each that was queued, in their order. It comes whether or not this is waited for.
    pub outcomes: Later<'static, Vec<Result<(), KafkaError>>>,
}

/// Writes messages.
pub trait Producer: Send + Sync {
    /// Queues records for writing, in this order; waits for room. Records of one partition keep the order in which they
    /// were queued, over retries as well.
    fn queue<'a>(&'a self, records: &'a [Record]) -> Later<'a, Queued>;

    /// Writes what is queued without waiting for more.
    fn flush(&self) -> Later<'_, ()>;
}

/// A member of a consumer group.
pub trait Consumer: Send + Sync {
    /// Messages of the partitions that the member has, each partition's in order; none if none comes within `wait`. Changes
    /// of the assignment happen in here: [`Rebalance`] is called before this returns. A member that doesn't poll for five
    /// minutes loses its partitions.
    fn poll(&self, wait: Duration) -> Later<'_, Result<Vec<Message>, KafkaError>>;

    /// Commits for each partition the offset of the next message to read.
    fn commit<'a>(&'a self, offsets: &'a [(i32, i64)]) -> Later<'a, Result<(), KafkaError>>;

    /// `poll` brings no messages of these partitions until they are resumed; the member keeps them.
    fn pause<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()>;

    /// The opposite of [`Consumer::pause`].
    fn resume<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()>;

    /// Reads a partition that the member has from this offset on.
    fn seek(&self, partition: i32, offset: i64) -> Later<'_, Result<(), KafkaError>>;

    /// Messages that are there and were not read, over the partitions that the member has, as far as that is known.
    fn lag(&self) -> Later<'_, u64>;

    /// Leaves the group; partitions are revoked before. Others take over at once.
    fn close(&self, within: Duration) -> Later<'_, ()>;
}

/// What a member of a group wants to know of its assignment. The calls come from within [`Consumer::poll`] and
/// [`Consumer::close`], which wait for their end.
pub trait Rebalance: Send + Sync {
    /// The member has these partitions from now on, besides those that it had.
    fn assigned<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()>;

    /// The member still has these partitions, until this ends: the time to finish and to commit.
    fn revoked<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()>;

    /// Another member may have these partitions already: nothing of them may be committed.
    fn lost<'a>(&'a self, partitions: &'a [i32]) -> Later<'a, ()>;
}

/// Connects to the cluster.
///
/// # Errors
/// When no broker answers, or a setting can't be used; [`NOT_BUILT_IN`] where there is no client.
pub async fn connect(config: &config::Kafka) -> Result<Arc<dyn Client>, KafkaError> {
    #[cfg(feature = "kafka")]
    return client::connect(config).await;
    #[cfg(not(feature = "kafka"))]
    {
        let _ = config;
        std::future::ready(Err(KafkaError::new(ErrorKind::Rejected, NOT_BUILT_IN))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_to_change() {
        let plain = KafkaError::new(ErrorKind::Retry, "no broker answers");
        assert_eq!(plain.to_string(), "no broker answers");
        let named = KafkaError {
            remedy: Some("check NETFLOW_KAFKA_BROKERS"),
            ..plain
        };
        assert_eq!(
            named.to_string(),
            "no broker answers: check NETFLOW_KAFKA_BROKERS"
        );
    }

    #[test]
    fn the_last_header_of_a_name_counts() {
        let header =
            |value: &'static str| ("port".to_owned(), Bytes::from_static(value.as_bytes()));
        let message = Message {
            partition: 0,
            offset: 0,
            timestamp_ms: 0,
            key: None,
            value: None,
            headers: vec![header("1"), header("2")],
        };
        assert_eq!(
            message.header("port").map(|value| &value[..]),
            Some(&b"2"[..])
        );
        assert_eq!(message.header("transport"), None);
    }
}
