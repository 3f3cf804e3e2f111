//! Settings: Kafka, as an output, and between receiving and translating.

use std::path::PathBuf;
use std::sync::Arc;

use super::{KIB, MIB};
use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::{InputKind, KafkaCompression, SaslMechanism, kafka, otlp, values};

settings! { KAFKA:
    INPUT: InputKind {
        section: Kafka,
        variables: ["NETFLOW_INPUT"],
        flag: "input",
        placeholder: "INPUT",
        preset: Preset::Text("udp"),
        accepted: "udp or kafka",
        summary: "Where flow records come from: `udp` or `kafka`",
        details: "`udp` receives datagrams, and connections where their ports are set. With `kafka` the daemon binds no ports \
            for exporters: as a member of a consumer group it reads the datagrams that `netflow2traces relay` has written, \
            and commits an offset once all that was made of the datagrams before it is delivered or spooled (docs/kafka.md).",
        parse: kafka::input,
    }
    KAFKA_BROKERS: Vec<String> {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_BROKERS"],
        flag: "kafka-brokers",
        placeholder: "HOST:PORT,…",
        preset: Preset::Nothing("none"),
        accepted: "hosts with their ports, separated by commas, such as kafka-1:9092,kafka-2:9092",
        summary: "Kafka brokers to connect to at first",
        details: "Some brokers of the cluster; the others are found through them. Required for `relay`, for \
            `NETFLOW_INPUT=kafka` and for `OTEL_TRACES_EXPORTER=kafka`.",
        parse: kafka::brokers,
    }
    KAFKA_TOPIC: Arc<str> {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_TOPIC"],
        flag: "kafka-topic",
        placeholder: "TOPIC",
        preset: Preset::Text("netflow_datagrams"),
        accepted: "a topic name: 1 to 249 letters, digits, dots, underscores and hyphens",
        summary: "Topic of the datagrams that `relay` receives",
        details: "One message for each datagram, unchanged. The key is the exporter's address, so that one partition has \
            everything of an exporter, in order. Create the topic with as many partitions as there may ever be workers.",
        parse: kafka::topic,
    }
    KAFKA_GROUP: String {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_GROUP"],
        flag: "kafka-group",
        placeholder: "GROUP",
        preset: Preset::Text("netflow2traces"),
        accepted: "1 to 249 letters, digits, dots, underscores and hyphens",
        summary: "Consumer group of `NETFLOW_INPUT=kafka`",
        details: "Daemons with the same group share the partitions of the topic among them, and take over from each other. \
            Another group reads the whole topic on its own.",
        parse: kafka::group,
    }
    KAFKA_TEMPLATES_TOPIC: Arc<str> {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_TEMPLATES_TOPIC"],
        flag: "kafka-templates-topic",
        placeholder: "TOPIC",
        preset: Preset::Text("netflow_templates"),
        accepted: "a topic name: 1 to 249 letters, digits, dots, underscores and hyphens",
        summary: "Compacted topic of exporters' templates",
        details: "With `NETFLOW_INPUT=kafka`, templates and options data of each exporter are written here, so that a daemon \
            that takes a partition over need not wait for exporters to repeat them. Create it with `cleanup.policy=compact` \
            and exactly as many partitions as the topic of datagrams has.",
        parse: kafka::topic,
    }
    KAFKA_TRACES_TOPIC: Arc<str> {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_TRACES_TOPIC"],
        flag: "kafka-traces-topic",
        placeholder: "TOPIC",
        preset: Preset::Text("otlp_spans"),
        accepted: "a topic name: 1 to 249 letters, digits, dots, underscores and hyphens",
        summary: "Topic of the spans of `OTEL_TRACES_EXPORTER=kafka`",
        details: "One OTLP request in protobuf for each message, which the Collector's Kafka receiver calls `otlp_proto`; \
            `otlp_spans` is the topic that it reads by default.",
        parse: kafka::topic,
    }
    KAFKA_METRICS_TOPIC: Arc<str> {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_METRICS_TOPIC"],
        flag: "kafka-metrics-topic",
        placeholder: "TOPIC",
        preset: Preset::Text("otlp_metrics"),
        accepted: "a topic name: 1 to 249 letters, digits, dots, underscores and hyphens",
        summary: "Topic of the metrics of `OTEL_METRICS_EXPORTER=kafka`",
        details: "One OTLP request in protobuf for each message, as for spans; `otlp_metrics` is the topic that the \
            Collector's Kafka receiver reads by default.",
        parse: kafka::topic,
    }
    KAFKA_MAX_MESSAGE_SIZE: usize {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_MAX_MESSAGE_SIZE"],
        flag: "kafka-max-message-size",
        placeholder: "SIZE",
        preset: Preset::Text("1000KiB"),
        accepted: "a size from 64KiB to 64MiB",
        summary: "Bytes of one message, before compression",
        details: "Brokers refuse larger messages than `message.max.bytes` or the topic's `max.message.bytes` allows \
            (1048588 by default, with the message's headers). Requests with spans are split to fit. If the topic's limit \
            is lower, the daemon learns it from the first refusal.",
        parse: |text| values::size(text, 64 * KIB..=64 * MIB),
    }
    KAFKA_COMPRESSION: KafkaCompression {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_COMPRESSION"],
        flag: "kafka-compression",
        placeholder: "METHOD",
        preset: Preset::Text("zstd"),
        accepted: "none, gzip, snappy, lz4 or zstd",
        summary: "Compression of messages",
        details: "Kafka clients compress messages in batches. The brokers store them compressed, and readers decompress them.",
        parse: kafka::compression,
    }
    KAFKA_CREATE_TOPICS: bool {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_CREATE_TOPICS"],
        flag: "kafka-create-topics",
        placeholder: "BOOL",
        preset: Preset::Text("false"),
        accepted: "true or false",
        summary: "Let the brokers create missing topics",
        details: "If the brokers create topics by themselves (`auto.create.topics.enable`), they do it with their default \
            number of partitions, which is seldom the one that is needed. Without this setting, the daemon waits for a \
            missing topic and reports it.",
        switch: true,
        parse: values::switch,
    }
    KAFKA_TLS: bool {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_TLS"],
        flag: "kafka-tls",
        placeholder: "BOOL",
        preset: Preset::Text("false"),
        accepted: "true or false",
        summary: "Encrypt connections to the brokers",
        details: "What Kafka calls the security protocol `SSL`, or `SASL_SSL` with `NETFLOW_KAFKA_SASL_MECHANISM`.",
        switch: true,
        parse: values::switch,
    }
    KAFKA_TLS_CA: PathBuf {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_TLS_CA"],
        flag: "kafka-tls-ca",
        placeholder: "FILE",
        preset: Preset::Nothing("the system's roots"),
        accepted: "a readable PEM file with at least one certificate",
        summary: "Certificate authorities of the brokers",
        details: "A PEM file with the authorities to trust instead of the system's. It is read again every minute.",
        parse: otlp::authority_file,
    }
    KAFKA_TLS_CERTIFICATE: PathBuf {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_TLS_CERTIFICATE"],
        flag: "kafka-tls-certificate",
        placeholder: "FILE",
        preset: Preset::Nothing("none"),
        accepted: "a readable PEM file with at least one certificate",
        summary: "Client certificate to show the brokers",
        details: "Needs `NETFLOW_KAFKA_TLS_KEY` too. Both are read again every minute.",
        parse: otlp::certificate_file,
    }
    KAFKA_TLS_KEY: PathBuf {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_TLS_KEY"],
        flag: "kafka-tls-key",
        placeholder: "FILE",
        preset: Preset::Nothing("none"),
        accepted: "a readable PEM file with an unencrypted private key",
        summary: "Key of that certificate",
        details: "A PEM file with the private key of `NETFLOW_KAFKA_TLS_CERTIFICATE`.",
        parse: otlp::key_file,
    }
    KAFKA_SASL_MECHANISM: SaslMechanism {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_SASL_MECHANISM"],
        flag: "kafka-sasl-mechanism",
        placeholder: "MECHANISM",
        preset: Preset::Nothing("none"),
        accepted: "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
        summary: "How to log in to the brokers",
        details: "Needs `NETFLOW_KAFKA_SASL_USERNAME` and `NETFLOW_KAFKA_SASL_PASSWORD`. `PLAIN` sends the password as \
            it is: use it with `NETFLOW_KAFKA_TLS`.",
        parse: kafka::mechanism,
    }
    KAFKA_SASL_USERNAME: String {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_SASL_USERNAME"],
        flag: "kafka-sasl-username",
        placeholder: "NAME",
        preset: Preset::Nothing("none"),
        accepted: "text without control characters",
        summary: "User name for the brokers",
        details: "For `NETFLOW_KAFKA_SASL_MECHANISM`.",
        parse: kafka::credential,
    }
    KAFKA_SASL_PASSWORD: String {
        section: Kafka,
        variables: ["NETFLOW_KAFKA_SASL_PASSWORD"],
        flag: "kafka-sasl-password",
        placeholder: "PASSWORD",
        preset: Preset::Nothing("none"),
        accepted: "text without control characters",
        summary: "Password for the brokers",
        details: "For `NETFLOW_KAFKA_SASL_MECHANISM`. Other users of the machine can see a flag: set the variable, or write \
            it into a file for `--env-file`.",
        secrecy: Secret,
        parse: kafka::credential,
    }
}
