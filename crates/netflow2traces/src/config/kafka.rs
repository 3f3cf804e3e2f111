//! Kafka: the cluster, how to connect to it, and its topics.

use std::path::PathBuf;
use std::sync::Arc;

use super::load::{Loader, Mistake, Purpose};
use super::values::{self, Rejection};
use super::{ExporterKind, pem, settings};
use crate::kafka::{IS_BUILT_IN, NOT_BUILT_IN};

/// `NETFLOW_KAFKA_…`.
#[derive(Clone, Debug)]
pub struct Kafka {
    /// `HOST:PORT`, at least one.
    pub brokers: Vec<String>,
    /// Of raw datagrams.
    pub topic: Arc<str>,
    /// Of OTLP requests with spans.
    pub traces_topic: Arc<str>,
    /// Of OTLP requests with metrics.
    pub metrics_topic: Arc<str>,
    /// Octets of a message before compression.
    pub max_message_size: usize,
    pub compression: KafkaCompression,
    pub create_topics: bool,
    pub tls: Option<KafkaTls>,
    pub sasl: Option<Sasl>,
}

/// Octets that a message needs besides its value, with room to spare.
const AROUND_VALUE: usize = 1 << 10;

impl Kafka {
    /// Octets of a value that fits into a message.
    #[must_use]
    pub const fn largest_request(&self) -> usize {
        self.max_message_size.saturating_sub(AROUND_VALUE)
    }
}

/// `NETFLOW_INPUT=kafka`.
#[derive(Clone, Debug)]
pub struct KafkaInput {
    pub kafka: Kafka,
    /// The consumer group.
    pub group: String,
    /// Compacted; of what exporters have reported.
    pub templates_topic: Arc<str>,
}

/// `NETFLOW_INPUT`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InputKind {
    Udp,
    Kafka,
}

/// `NETFLOW_KAFKA_COMPRESSION`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KafkaCompression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// `NETFLOW_KAFKA_TLS_…`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KafkaTls {
    /// Trusted roots instead of the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// `NETFLOW_KAFKA_SASL_MECHANISM`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SaslMechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

/// `NETFLOW_KAFKA_SASL_…`.
#[derive(Clone, Eq, PartialEq)]
pub struct Sasl {
    pub mechanism: SaslMechanism,
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for Sasl {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Loader<'_> {
    /// What needs the cluster, as an error names it.
    pub(super) fn what_needs_kafka(&mut self, purpose: Purpose) -> Option<&'static str> {
        match purpose {
            Purpose::Relay => Some("relay"),
            Purpose::Demo => None,
            Purpose::Run if self.value(&settings::INPUT) == InputKind::Kafka => {
                Some("NETFLOW_INPUT=kafka")
            }
            Purpose::Run => {
                let exporter = self.optional(&settings::TRACES_EXPORTER);
                let is_kafka = exporter == Some(ExporterKind::Kafka);
                is_kafka.then_some("OTEL_TRACES_EXPORTER=kafka")
            }
        }
    }

    /// The cluster, where something needs it: `needed_by` is that, as an error names it. `None` is a mistake that has been
    /// noted, or nothing that needs it.
    pub(super) fn kafka(&mut self, needed_by: Option<&str>) -> Option<Kafka> {
        let brokers = self.optional(&settings::KAFKA_BROKERS);
        let tls = self.kafka_tls();
        let sasl = self.sasl();
        let kafka = Kafka {
            brokers: brokers.unwrap_or_default(),
            topic: self.value(&settings::KAFKA_TOPIC),
            traces_topic: self.value(&settings::KAFKA_TRACES_TOPIC),
            metrics_topic: self.value(&settings::KAFKA_METRICS_TOPIC),
            max_message_size: self.value(&settings::KAFKA_MAX_MESSAGE_SIZE),
            compression: self.value(&settings::KAFKA_COMPRESSION),
            create_topics: self.value(&settings::KAFKA_CREATE_TOPICS),
            tls,
            sasl,
        };
        let Some(needed_by) = needed_by else {
            for about in [
                &settings::KAFKA_BROKERS.about,
                &settings::KAFKA_TOPIC.about,
                &settings::KAFKA_TRACES_TOPIC.about,
                &settings::KAFKA_METRICS_TOPIC.about,
                &settings::KAFKA_MAX_MESSAGE_SIZE.about,
                &settings::KAFKA_COMPRESSION.about,
                &settings::KAFKA_CREATE_TOPICS.about,
                &settings::KAFKA_TLS.about,
                &settings::KAFKA_SASL_MECHANISM.about,
            ] {
                self.warn_of(about, "nothing uses Kafka");
            }
            return None;
        };
        if !IS_BUILT_IN {
            self.mistakes.push(Mistake::new(needed_by, NOT_BUILT_IN));
            return None;
        }
        if self.is_set(&settings::KAFKA_BROKERS).is_none() {
            self.mistakes.push(Mistake::new(
                settings::KAFKA_BROKERS.about.variable(),
                &format!(
                    "not set, and {needed_by} needs it; accepted: {}",
                    settings::KAFKA_BROKERS.about.accepted
                ),
            ));
            return None;
        }
        (!kafka.brokers.is_empty()).then_some(kafka)
    }

    /// What is read from the cluster, if anything.
    pub(super) fn kafka_input(
        &mut self,
        purpose: Purpose,
        kafka: Option<&Kafka>,
    ) -> Option<KafkaInput> {
        let group = self.value(&settings::KAFKA_GROUP);
        let templates_topic = self.value(&settings::KAFKA_TEMPLATES_TOPIC);
        if purpose != Purpose::Run || self.value(&settings::INPUT) != InputKind::Kafka {
            let because = "NETFLOW_INPUT is not kafka";
            self.warn_without_effect(&settings::KAFKA_GROUP, because);
            self.warn_without_effect(&settings::KAFKA_TEMPLATES_TOPIC, because);
            return None;
        }
        let because = "NETFLOW_INPUT=kafka binds no ports for exporters";
        self.warn_without_effect(&settings::LISTEN_TCP_PORT, because);
        self.warn_without_effect(&settings::LISTEN_TLS_PORT, because);
        let because = "what waits in Kafka is read faster than it was sent, and nothing is cut";
        self.warn_without_effect(&settings::MAX_RATE_PER_EXPORTER, because);
        self.warn_without_effect(&settings::MAX_RECORD_RATE_PER_EXPORTER, because);
        let because =
            "with NETFLOW_INPUT=kafka templates are kept in NETFLOW_KAFKA_TEMPLATES_TOPIC";
        self.warn_without_effect(&settings::TEMPLATE_STORE, because);
        Some(KafkaInput {
            kafka: kafka?.clone(),
            group,
            templates_topic,
        })
    }

    fn kafka_tls(&mut self) -> Option<KafkaTls> {
        let wanted = self.value(&settings::KAFKA_TLS);
        let ca = self.optional(&settings::KAFKA_TLS_CA);
        let certificate = self.optional(&settings::KAFKA_TLS_CERTIFICATE);
        let key = self.optional(&settings::KAFKA_TLS_KEY);
        if !wanted {
            let because = "NETFLOW_KAFKA_TLS is not true";
            self.warn_without_effect(&settings::KAFKA_TLS_CA, because);
            self.warn_without_effect(&settings::KAFKA_TLS_CERTIFICATE, because);
            self.warn_without_effect(&settings::KAFKA_TLS_KEY, because);
            return None;
        }
        match (
            self.is_set(&settings::KAFKA_TLS_CERTIFICATE),
            self.is_set(&settings::KAFKA_TLS_KEY),
        ) {
            (Some(given), None) => self.mistakes.push(Mistake::new(
                given.named(),
                "a certificate needs its key; accepted: together with NETFLOW_KAFKA_TLS_KEY",
            )),
            (None, Some(given)) => self.mistakes.push(Mistake::new(
                given.named(),
                "a key needs its certificate; accepted: together with NETFLOW_KAFKA_TLS_CERTIFICATE",
            )),
            (_, Some(given)) => {
                if let (Some(certificate), Some(key)) = (&certificate, &key)
                    && let Some(reason) = pem::mismatch(certificate, key)
                {
                    self.reject(&settings::KAFKA_TLS_KEY, &given, &Rejection(reason));
                }
            }
            (None, None) => {}
        }
        Some(KafkaTls {
            ca,
            identity: certificate.zip(key),
        })
    }

    fn sasl(&mut self) -> Option<Sasl> {
        let mechanism = self.optional(&settings::KAFKA_SASL_MECHANISM);
        let username = self.optional(&settings::KAFKA_SASL_USERNAME);
        let password = self.optional(&settings::KAFKA_SASL_PASSWORD);
        if self.is_set(&settings::KAFKA_SASL_MECHANISM).is_none() {
            let because = "NETFLOW_KAFKA_SASL_MECHANISM is not set";
            self.warn_without_effect(&settings::KAFKA_SASL_USERNAME, because);
            self.warn_without_effect(&settings::KAFKA_SASL_PASSWORD, because);
            return None;
        }
        for (value, setting) in [
            (&username, &settings::KAFKA_SASL_USERNAME),
            (&password, &settings::KAFKA_SASL_PASSWORD),
        ] {
            if value.is_none() {
                self.mistakes.push(Mistake::new(
                    setting.about.variable(),
                    "not set, and NETFLOW_KAFKA_SASL_MECHANISM needs it",
                ));
            }
        }
        let mechanism = mechanism?;
        if mechanism == SaslMechanism::Plain && !self.value(&settings::KAFKA_TLS) {
            self.warnings.push(
                "NETFLOW_KAFKA_SASL_MECHANISM=PLAIN sends the password over a connection that is not encrypted: set \
                 NETFLOW_KAFKA_TLS=true"
                    .to_owned(),
            );
        }
        Some(Sasl {
            mechanism,
            username: username?,
            password: password?,
        })
    }
}

/// `HOST:PORT,…`; an IPv6 address stands in brackets.
pub(super) fn brokers(text: &str) -> Result<Vec<String>, Rejection> {
    values::list(text, |item| {
        if item.contains("://") {
            return Err(Rejection(format!(
                "{item} is a URL: leave out what precedes the host"
            )));
        }
        let missing = || Rejection(format!("{item} has no port"));
        let (host, port) = item.rsplit_once(':').ok_or_else(missing)?;
        match port.parse::<u16>() {
            Ok(1..) => {}
            _ => return Err(Rejection(format!("{item} has no valid port"))),
        }
        let is_bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty()
            || (host.contains(':') && !is_bracketed)
            || host.contains(['/', '@', ' '])
        {
            return Err(Rejection(format!("{item} has no valid host")));
        }
        Ok(item.to_owned())
    })
}

/// As topics are named: what operators can type, and brokers can restrict by prefix.
pub(super) fn group(text: &str) -> Result<String, Rejection> {
    if is_name(text) {
        return Ok(text.to_owned());
    }
    Err(Rejection(format!(
        "{text} can't be the name of a consumer group here"
    )))
}

fn is_name(text: &str) -> bool {
    let is_allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"._-".contains(&octet);
    text.len() <= 249 && text != "." && text != ".." && text.bytes().all(is_allowed)
}

/// As Kafka lets topics be named.
pub(super) fn topic(text: &str) -> Result<Arc<str>, Rejection> {
    if !is_name(text) {
        return Err(Rejection(format!("{text} can't be the name of a topic")));
    }
    Ok(text.into())
}

pub(super) fn input(text: &str) -> Result<InputKind, Rejection> {
    values::choice(
        text,
        &[("udp", InputKind::Udp), ("kafka", InputKind::Kafka)],
    )
}

pub(super) fn compression(text: &str) -> Result<KafkaCompression, Rejection> {
    let words = [
        ("none", KafkaCompression::None),
        ("gzip", KafkaCompression::Gzip),
        ("snappy", KafkaCompression::Snappy),
        ("lz4", KafkaCompression::Lz4),
        ("zstd", KafkaCompression::Zstd),
    ];
    values::choice(text, &words)
}

/// A user name or a password.
pub(super) fn credential(text: &str) -> Result<String, Rejection> {
    if text.contains(char::is_control) {
        return Err(Rejection::new("it has a control character"));
    }
    Ok(text.to_owned())
}

pub(super) fn mechanism(text: &str) -> Result<SaslMechanism, Rejection> {
    let words = [
        ("PLAIN", SaslMechanism::Plain),
        ("SCRAM-SHA-256", SaslMechanism::ScramSha256),
        ("SCRAM-SHA-512", SaslMechanism::ScramSha512),
    ];
    values::choice(text, &words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_ports() {
        let good = "kafka-1:9092, 192.0.2.1:9093,[2001:db8::1]:9092";
        assert_eq!(
            brokers(good).unwrap(),
            ["kafka-1:9092", "192.0.2.1:9093", "[2001:db8::1]:9092"]
        );
        for (bad, word) in [
            ("kafka", "has no port"),
            ("kafka:0", "no valid port"),
            ("kafka:http", "no valid port"),
            (":9092", "no valid host"),
            ("2001:db8::1:9092", "no valid host"),
            ("kafka://one:9092", "is a URL"),
            ("one:9092,one:9092", "is given twice"),
            (",", "has no items"),
        ] {
            let Rejection(reason) = brokers(bad).unwrap_err();
            assert!(reason.contains(word), "{bad}: {reason}");
        }
    }

    #[test]
    fn topics_are_named_as_kafka_names_them() {
        assert_eq!(&*topic("netflow.raw_1-a").unwrap(), "netflow.raw_1-a");
        for bad in ["a b", "ä", ".", "..", &"x".repeat(250)] {
            assert!(topic(bad).is_err(), "{bad}");
        }
    }
}
