//! A datagram, or a message of a connection, as a message in Kafka: its octets unchanged as the value, the exporter's
//! address as the key, and what else the network said in headers. All but the value is text, so that any Kafka tool shows
//! it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use netflow_wire::Transport;
use otlp_wire::UnixNanos;

use super::{Message, Record};

/// The exporter's port.
const PORT: &str = "port";
/// The port at which the relay received.
const LOCAL_PORT: &str = "local_port";
/// `udp`, `tcp` or `tls`.
const TRANSPORT: &str = "transport";
/// When the relay's kernel took it: nanoseconds since 1970.
const RECEIVED_AT: &str = "received_at";

/// What the relay received.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FlowMessage {
    pub octets: Bytes,
    /// The exporter.
    pub source: SocketAddr,
    pub local_port: u16,
    pub transport: Transport,
    pub received_at: UnixNanos,
}

/// A message that no relay wrote.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAFlowMessage {
    #[error("it has no value")]
    NoValue,
    #[error("its key is not the address of an exporter")]
    Key,
    #[error("its header {0} is missing or can't be read")]
    Header(&'static str),
}

impl FlowMessage {
    /// As it is written.
    #[must_use]
    pub fn to_record(&self, topic: &Arc<str>) -> Record {
        Record {
            topic: Arc::clone(topic),
            key: Some(self.source.ip().to_string().into()),
            value: Some(self.octets.clone()),
            headers: vec![
                (PORT, self.source.port().to_string().into()),
                (LOCAL_PORT, self.local_port.to_string().into()),
                (
                    TRANSPORT,
                    Bytes::from_static(self.transport.as_str().as_bytes()),
                ),
                (RECEIVED_AT, self.received_at.0.to_string().into()),
            ],
            timestamp_ms: i64::try_from(self.received_at.0 / 1_000_000).ok(),
        }
    }

    /// Reads what [`FlowMessage::to_record`] wrote.
    ///
    /// # Errors
    /// When something else wrote the message.
    pub fn read(message: &Message) -> Result<Self, NotAFlowMessage> {
        let octets = message.value.clone().ok_or(NotAFlowMessage::NoValue)?;
        let key = message.key.as_deref().and_then(parse::<IpAddr>);
        let address = key.ok_or(NotAFlowMessage::Key)?;
        let transport = message.header(TRANSPORT);
        let transport = transport.and_then(|text| {
            let all = [Transport::Udp, Transport::Tcp, Transport::Tls];
            all.into_iter()
                .find(|known| known.as_str().as_bytes() == &text[..])
        });
        Ok(Self {
            octets,
            source: SocketAddr::new(address, number(message, PORT)?),
            local_port: number(message, LOCAL_PORT)?,
            transport: transport.ok_or(NotAFlowMessage::Header(TRANSPORT))?,
            received_at: UnixNanos(number(message, RECEIVED_AT)?),
        })
    }
}

fn number<T: FromStr>(message: &Message, name: &'static str) -> Result<T, NotAFlowMessage> {
    let value = message.header(name).and_then(|value| parse(value));
    value.ok_or(NotAFlowMessage::Header(name))
}

fn parse<T: FromStr>(octets: &[u8]) -> Option<T> {
    std::str::from_utf8(octets).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(record: Record) -> Message {
        let headers = record.headers.into_iter();
        Message {
            partition: 3,
            offset: 7,
            timestamp_ms: record.timestamp_ms.unwrap_or_default(),
            key: record.key,
            value: record.value,
            headers: headers
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        }
    }

    fn message() -> FlowMessage {
        FlowMessage {
            octets: Bytes::from_static(&[0, 10, 0, 16]),
            source: "[2001:db8::7]:4739".parse().unwrap(),
            local_port: 2055,
            transport: Transport::Tls,
            received_at: UnixNanos(1_700_000_000_123_456_789),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            let message = FlowMessage {
                transport,
                ..message()
            };
            let record = message.to_record(&"raw".into());
            assert_eq!(record.key.as_deref(), Some(&b"2001:db8::7"[..]));
            assert_eq!(record.timestamp_ms, Some(1_700_000_000_123));
            assert_eq!(FlowMessage::read(&stored(record)), Ok(message));
        }
    }

    #[test]
    fn a_message_of_something_else_is_named() {
        let good = stored(message().to_record(&"raw".into()));
        let without = |change: fn(&mut Message)| {
            let mut bad = good.clone();
            change(&mut bad);
            FlowMessage::read(&bad).unwrap_err()
        };
        assert_eq!(without(|m| m.value = None), NotAFlowMessage::NoValue);
        assert_eq!(without(|m| m.key = None), NotAFlowMessage::Key);
        assert_eq!(
            without(|m| m.key = Some("router".into())),
            NotAFlowMessage::Key
        );
        for (at, name) in [PORT, LOCAL_PORT, TRANSPORT, RECEIVED_AT]
            .into_iter()
            .enumerate()
        {
            for value in [None, Some("x"), Some("-1"), Some("99999999999999999999999")] {
                let mut bad = good.clone();
                match value {
                    None => drop(bad.headers.remove(at)),
                    Some(value) => bad.headers[at].1 = value.into(),
                }
                let error = FlowMessage::read(&bad).unwrap_err();
                assert_eq!(error, NotAFlowMessage::Header(name));
            }
        }
    }
}
