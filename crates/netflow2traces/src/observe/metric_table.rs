//! THE table of metrics: name, meaning, labels, and where each value is read. `/metrics` and `docs/metrics.md` are
//! made from it. Names and labels are public.

use netflow_wire::Transport;
use prometheus_client::metrics::MetricType;

use super::logging;
use super::stages::Stages;
use crate::deliver::{Count, Counters, DropReason};
use crate::health::Kind;
use crate::receive::WorkerCounters;
use crate::relay;
use crate::streams::{Reason, TransportCounters};
use crate::translate::counters::Distribution;
use crate::translate::{Protocol, ProtocolCounters, Traffic};

use std::sync::atomic::Ordering::Relaxed;

/// A metric.
#[derive(Debug)]
pub struct Metric {
    pub section: Section,
    /// As a query names it; all but the samples of histograms.
    pub name: &'static str,
    /// One sentence, without a line break.
    pub help: &'static str,
    pub series: Series,
}

/// Metrics that are shown together, in the order of the data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Section {
    Receiving,
    Decoding,
    Spans,
    Delivery,
    Kafka,
    Relay,
    Spool,
    Process,
}

/// Labels of one series, and where its value is read.
pub type Row = (&'static [(&'static str, &'static str)], fn(&Stages) -> u64);

/// The series of a metric.
#[derive(Debug)]
pub enum Series {
    Counters(&'static [Row]),
    Gauges(&'static [Row]),
    /// A counter with the label `worker`: 0 and up, as many as there are workers.
    ByWorker(fn(&WorkerCounters) -> u64),
    /// A counter with the label `version`.
    ByProtocol(&'static [Protocol], fn(&ProtocolCounters) -> u64),
    /// A gauge of seconds.
    Seconds(fn(&Stages) -> f64),
    Histogram(fn(&Traffic) -> Distribution),
    /// Always 1; the labels carry the information.
    Info(fn(&Stages) -> Vec<(&'static str, String)>),
}

impl Series {
    /// As the formats name it.
    #[must_use]
    pub fn kind(&self) -> MetricType {
        match self {
            Self::Counters(_) | Self::ByWorker(_) | Self::ByProtocol(..) => MetricType::Counter,
            Self::Gauges(_) | Self::Seconds(_) => MetricType::Gauge,
            Self::Histogram(_) => MetricType::Histogram,
            Self::Info(_) => MetricType::Info,
        }
    }
}

impl Section {
    pub const ALL: [Self; 8] = [
        Self::Receiving,
        Self::Decoding,
        Self::Spans,
        Self::Delivery,
        Self::Kafka,
        Self::Relay,
        Self::Spool,
        Self::Process,
    ];

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Receiving => "Receiving",
            Self::Decoding => "Decoding",
            Self::Spans => "Spans",
            Self::Delivery => "Delivery",
            Self::Kafka => "Kafka as the input",
            Self::Relay => "The relay",
            Self::Spool => "The spool",
            Self::Process => "The process",
        }
    }
}

/// Those whose headers were read.
const READ: &[Protocol] = &[
    Protocol::V1,
    Protocol::V5,
    Protocol::V7,
    Protocol::V9,
    Protocol::Ipfix,
    Protocol::Sflow,
];

/// A sum over the workers of a counter of stage 2.
macro_rules! translated {
    ($field:ident) => {
        |stages: &Stages| stages.translate(|all| all.$field.value())
    };
}

/// Series of stage 2's counters with one label.
macro_rules! translated_by {
    ($label:literal: $($value:literal $field:ident),+ $(,)?) => {
        &[$((&[($label, $value)], translated!($field))),+]
    };
}

/// The series of both kinds of spans.
macro_rules! both_kinds {
    ($read:expr) => {
        &[
            (&[("kind", "flow")], |stages| $read(&stages.delivered).flow),
            (&[("kind", "work")], |stages| $read(&stages.delivered).work),
        ]
    };
}

macro_rules! dropped {
    ($($reason:ident $value:literal),+) => {
        &[$(
            (&[("kind", "flow"), ("reason", $value)], |stages| dropped(stages, DropReason::$reason).flow),
            (&[("kind", "work"), ("reason", $value)], |stages| dropped(stages, DropReason::$reason).work),
        )+]
    };
}

macro_rules! restarts {
    ($($kind:ident $value:literal),+) => {
        &[$((&[("part", $value)], |stages| stages.health.restarts(Kind::$kind)),)+]
    };
}

fn dropped(stages: &Stages, reason: DropReason) -> Count {
    stages.delivered.dropped.by(reason).load()
}

/// One series of a number of delivery, without labels.
macro_rules! delivered {
    ($field:ident) => {
        &[(&[], |stages| stages.delivered.$field.load(Relaxed))]
    };
}

/// One series of a number of the template store, without labels.
macro_rules! stored {
    ($field:ident) => {
        &[(&[], |stages| stages.template_store.$field.load(Relaxed))]
    };
}

/// Series of the connections of each transport.
macro_rules! connections {
    ($field:ident) => {
        &[
            (&[("transport", "tcp")], |stages| {
                of_transport(stages, Transport::Tcp).$field.value()
            }),
            (&[("transport", "tls")], |stages| {
                of_transport(stages, Transport::Tls).$field.value()
            }),
        ]
    };
}

macro_rules! closed {
    ($($reason:ident $value:literal),+ $(,)?) => {
        &[$((&[("reason", $value)], |stages| stages.streams.closed(Reason::$reason).value()),)+]
    };
}

fn of_transport(stages: &Stages, transport: Transport) -> &TransportCounters {
    stages.streams.of(transport)
}

/// One series of a number of the spool, without labels.
macro_rules! spool {
    ($field:ident) => {
        &[(&[], |stages| stages.delivered.spool.$field.load(Relaxed))]
    };
}

/// Series of numbers of the input from Kafka.
macro_rules! kafka {
    ($field:ident) => {
        &[(&[], |stages| stages.from_kafka(|all| all.$field.value()))]
    };
    ($label:literal: $($field:ident),+) => {
        &[$((&[($label, stringify!($field))], |stages| stages.from_kafka(|all| all.$field.value())),)+]
    };
}

/// One series of a number of the relay, without labels.
macro_rules! relay {
    ($field:ident) => {
        &[(&[], |stages| stages.relayed.$field.load(Relaxed))]
    };
}

macro_rules! relay_dropped {
    ($($reason:ident $value:literal),+ $(,)?) => {
        &[$((&[("reason", $value)], |stages| stages.relayed.dropped(relay::DropReason::$reason)),)+]
    };
}

macro_rules! metrics {
    ($($section:ident { $($name:ident: $series:expr, $help:literal;)+ })+) => {
        &[$($(Metric {
            section: Section::$section,
            name: stringify!($name),
            help: $help,
            series: $series,
        },)+)+]
    };
}

/// Every metric, in the order in which they are shown.
pub static METRICS: &[Metric] = metrics! {
    Receiving {
        netflow_packets_total: Series::ByProtocol(&Protocol::ALL, |all| all.datagrams.value()),
            "Datagrams received, by version; unknown: the header could not be read";
        netflow_packet_bytes_total: Series::ByProtocol(&Protocol::ALL, |all| all.octets.value()),
            "Bytes of their UDP payloads";
        netflow_packet_size_bytes: Series::Histogram(|all| all.datagram_octets.distribution()),
            "Bytes of each datagram's UDP payload";
        netflow_worker_packets_total: Series::ByWorker(|all| all.datagrams.value()),
            "Datagrams by the worker that received them; each exporter always has the same worker";
        netflow_kernel_drops_total: Series::ByWorker(|all| all.kernel_drops.value()),
            "Datagrams that the kernel dropped because a worker's receive buffer was full or their checksum was wrong";
        netflow_receive_truncated_total: Series::Counters(&[(&[], |stages| {
            stages.receive(|all| all.truncated.value())
        })]),
            "Datagrams dropped because they were longer than any UDP payload may be";
        netflow_receive_errors_total: Series::Counters(&[(&[], |stages| {
            stages.receive(|all| all.receive_errors.value())
        })]),
            "Failed reads from sockets";
        netflow_connections: Series::Gauges(connections!(open)),
            "Connections of exporters that are open";
        netflow_connections_accepted_total: Series::Counters(connections!(accepted)),
            "Connections of exporters that were accepted";
        netflow_connections_closed_total: Series::Counters(closed!(
            Exporter "exporter", Broken "broken", Handshake "handshake", Framing "framing", Incomplete "incomplete",
            Idle "idle", Displaced "displaced", Memory "memory", Replaced "replaced", Forgotten "forgotten", Stop "stop",
            Failed "failed", NotAllowed "not_allowed", TooMany "too_many", TooManyOfAddress "too_many_of_address",
            Accept "accept",
        )),
            "Connections that were closed or turned away, by reason (docs/connections.md)";
        netflow_messages_total: Series::Counters(connections!(messages)),
            "IPFIX messages received over connections; netflow_packets_total counts them too";
        netflow_message_bytes_total: Series::Counters(connections!(octets)),
            "Bytes of these messages";
        netflow_connection_buffer_bytes: Series::Gauges(&[
            (&[("state", "waiting")], |stages| stages.streams.octets_waiting.value()),
            (&[("state", "incomplete")], |stages| stages.streams.octets_incomplete.value()),
        ]),
            "Bytes received over connections that wait for their worker, or for the rest of their message";
        netflow_connection_workers_paused: Series::Gauges(&[(&[], |stages| stages.streams.workers_paused.value())]),
            "Workers that read no messages of connections at the moment because the queue has no room: exporters are slowed down";
    }
    Decoding {
        netflow_packet_errors_total: Series::Counters(translated_by!("reason":
            "truncated" datagrams_truncated,
            "unknown_version" datagrams_unknown_version,
            "bad_length" datagrams_bad_length,
            "bad_agent" datagrams_bad_agent,
        )),
            "Datagrams rejected as a whole because their header could not be read";
        netflow_packets_dropped_total: Series::Counters(translated_by!("reason":
            "not_allowed" datagrams_not_allowed,
            "rate_limited" datagrams_rate_limited,
        )),
            "Datagrams received but not decoded, and not counted above: not from NETFLOW_ALLOWED_EXPORTERS, or over NETFLOW_MAX_RATE_PER_EXPORTER";
        netflow_flows_total: Series::ByProtocol(READ, |all| all.flows.value()),
            "Flow records decoded, whatever their outcome";
        netflow_flows_per_packet: Series::Histogram(|all| all.datagram_flows.distribution()),
            "Flow records in each datagram, without those that waited for a template";
        netflow_flows_skipped_total: Series::Counters(translated_by!("reason":
            "filtered" records_filtered,
            "sampled_out" records_sampled_out,
            "sampled_by_size" records_sampled_by_size,
            "too_large" records_too_large,
            "cut" records_cut,
            "rate_limited" records_rate_limited,
        )),
            "Flow records without a span: left out by NETFLOW_FILTER, OTEL_TRACES_SAMPLER or NETFLOW_SAMPLE_BYTES, larger than a request may be, beyond what one datagram may cause, or over NETFLOW_MAX_RECORD_RATE_PER_EXPORTER";
        netflow_lists_cut_total: Series::Counters(&[(&[], translated!(lists_cut))]),
            "Span attributes whose lists were cut because the list was too long, or because its datagram had reached the limit of what one may cause";
        netflow_flow_times_suspect_total: Series::Counters(&[(&[], translated!(times_suspect))]),
            "Flow spans whose time was implausible or could not be derived";
        netflow_options_records_total: Series::Counters(&[(&[], translated!(options_records))]),
            "Records that describe the exporter, not a flow (options data)";
        netflow_options_refused_total: Series::Counters(&[(&[], translated!(options_refused))]),
            "Names and intervals in options data for which there was no room";
        netflow_set_errors_total: Series::Counters(translated_by!("reason":
            "bad_set_length" sets_bad_length,
            "truncated_set" sets_truncated,
            "reserved_set_id" sets_reserved_id,
            "malformed_template" sets_malformed_template,
            "too_many_fields" sets_too_many_fields,
            "empty_record" sets_empty_record,
            "truncated_record" sets_truncated_record,
        )),
            "Sets, or parts of Sets, that could not be used; the other Sets of the datagram were used";
        netflow_sets_waited_total: Series::Counters(&[(&[], translated!(sets_waited))]),
            "Sets that arrived before their template";
        netflow_sets_decoded_late_total: Series::Counters(&[(&[], translated!(sets_decoded_late))]),
            "Sets that were decoded when their template arrived";
        netflow_sets_expired_total: Series::Counters(&[(&[], translated!(sets_expired))]),
            "Sets dropped without a template, because of their age or to make room";
        netflow_sets_waiting: Series::Gauges(&[(&[], translated!(sets_waiting))]),
            "Sets that are waiting for their template now";
        netflow_templates_total: Series::Counters(translated_by!("event":
            "learnt" templates_learnt,
            "refreshed" templates_refreshed,
            "replaced" templates_replaced,
            "expired" templates_expired,
            "evicted" templates_evicted,
            "withdrawn" templates_withdrawn,
            "connection_ended" templates_ended,
            "withdrawal_ignored" withdrawals_ignored,
        )),
            "Templates, by what happened to them";
        netflow_samples_total: Series::Counters(translated_by!("kind":
            "flow" flow_samples,
            "counter" counter_samples,
            "unknown" samples_unknown,
        )),
            "Samples of sFlow; flow samples are flow records, counter samples feed the view sflow_counters";
        netflow_sample_errors_total: Series::Counters(translated_by!("reason":
            "truncated_sample" samples_truncated,
            "malformed_sample" samples_malformed,
            "truncated_record" sample_records_truncated,
            "malformed_record" sample_records_malformed,
        )),
            "Samples of sFlow, and records in samples, that could not be used";
        netflow_lost_total: Series::Counters(translated_by!("unit":
            "flows" lost_flows,
            "messages" lost_messages,
            "records" lost_records,
            "datagrams" lost_datagrams,
        )),
            "Missing by sequence numbers, in the unit of each version: flows (v5, v7), messages (v9), records (IPFIX), datagrams (sFlow)";
        netflow_late_total: Series::Counters(translated_by!("unit":
            "flows" late_flows,
            "messages" late_messages,
            "records" late_records,
            "datagrams" late_datagrams,
        )),
            "Counted as lost and then arrived late, because datagrams were reordered";
        netflow_template_store_exporters: Series::Gauges(stored!(exporters)),
            "Exporters in NETFLOW_TEMPLATE_STORE";
        netflow_template_store_bytes: Series::Gauges(stored!(octets)),
            "Bytes of the file of NETFLOW_TEMPLATE_STORE";
        netflow_template_store_writes_total: Series::Counters(&[
            (&[("outcome", "written")], |stages| stages.template_store.writes.load(Relaxed)),
            (&[("outcome", "failed")], |stages| stages.template_store.failures.load(Relaxed)),
        ]),
            "Attempts to write NETFLOW_TEMPLATE_STORE, by outcome";
        netflow_template_store_refused_total: Series::Counters(stored!(refused)),
            "Changes of exporters for which NETFLOW_TEMPLATE_STORE had no room (256 MiB)";
        netflow_exporters: Series::Gauges(&[(&[], translated!(exporters))]),
            "Known exporters";
        netflow_exporter_restarts_total: Series::Counters(&[(&[], translated!(exporter_restarts))]),
            "Restarts of exporters: their uptime or sequence numbers started again";
        netflow_memory_evictions_total: Series::Counters(&[(&[], translated!(evicted_for_memory))]),
            "Exporters and sFlow agents forgotten because their state reached its share of NETFLOW_MEMORY_LIMIT";
        netflow_memory_limit_bytes: Series::Gauges(&[
            (&[("kind", "all")], |stages| stages.facts.memory.limit as u64),
            (&[("kind", "state")], |stages| stages.state_budget.limit() as u64),
        ]),
            "NETFLOW_MEMORY_LIMIT, and the part of it for the state of exporters";
        netflow_memory_used_bytes: Series::Gauges(&[
            (&[("kind", "state")], |stages| stages.state_budget.used() as u64),
        ]),
            "Memory used for the state of exporters, as estimated by the daemon";
        netflow_exporters_evicted_total: Series::Counters(&[(&[], translated!(exporters_evicted))]),
            "Exporters forgotten to make room for others";
    }
    Spans {
        netflow_spans_total: Series::Counters(translated_by!("kind":
            "flow" flow_spans,
            "work" work_spans,
        )),
            "Spans created: for flow records, and for processing";
        netflow_spans_open: Series::Gauges(translated_by!("kind":
            "flow" open_flow_spans,
            "work" open_work_spans,
        )),
            "Spans in batches that are being filled";
        netflow_batches_total: Series::Counters(&[(&[], translated!(batches))]),
            "Finished batches, each of which becomes a request";
        netflow_batch_bytes_total: Series::Counters(&[(&[], translated!(batch_octets))]),
            "Encoded bytes of these batches";
    }
    Delivery {
        netflow_spans_pushed_total: Series::Counters(both_kinds!(|all: &Counters| all.pushed.load())),
            "Spans handed over for delivery";
        netflow_spans_accepted_total: Series::Counters(both_kinds!(|all: &Counters| all.accepted.load())),
            "Spans that the backend accepted";
        netflow_spans_rejected_total: Series::Counters(both_kinds!(|all: &Counters| all.rejected.load())),
            "Spans that the backend rejected for good";
        netflow_spans_discarded_total: Series::Counters(both_kinds!(|all: &Counters| all.discarded.load())),
            "Spans discarded by OTEL_TRACES_EXPORTER=none";
        netflow_spans_dropped_total: Series::Counters(dropped!(
            QueueFull "queue_full", TooLarge "too_large", Shutdown "shutdown", Encoding "encoding",
            SpoolFull "spool_full", SpoolAge "spool_age", SpoolUnreadable "spool_unreadable"
        )),
            "Spans that the daemon dropped before a backend accepted or rejected them";
        netflow_spans_queued: Series::Gauges(both_kinds!(|all: &Counters| all.queued.load())),
            "Spans waiting in the queue";
        netflow_spans_in_flight: Series::Gauges(both_kinds!(|all: &Counters| all.in_flight.load())),
            "Spans taken from the queue and not settled yet";
        netflow_queue_bytes: Series::Gauges(delivered!(queued_octets)),
            "Encoded bytes waiting in the queue";
        netflow_queue_limit_bytes: Series::Gauges(&[(&[], |stages| stages.facts.queue_size as u64)]),
            "Limit on the encoded bytes in the queue (NETFLOW_QUEUE_SIZE)";
        netflow_queue_batches: Series::Gauges(delivered!(queued_batches)),
            "Batches waiting in the queue";
        netflow_requests_in_flight: Series::Gauges(delivered!(requests_in_flight)),
            "Requests waiting for an answer";
        netflow_request_limit_bytes: Series::Gauges(&[(&[], |stages| stages.request_limit.load(Relaxed) as u64)]),
            "Limit on the encoded bytes of a request, as configured or as learned from the backend";
        netflow_requests_total: Series::Counters(delivered!(requests)),
            "Requests sent, counting each attempt";
        netflow_request_retries_total: Series::Counters(delivered!(retries)),
            "Requests that were retries";
        netflow_request_failures_total: Series::Counters(delivered!(failures)),
            "Requests that failed and are retried";
        netflow_partial_successes_total: Series::Counters(delivered!(partial_successes)),
            "Answers in which the backend accepted only part of the spans";
        netflow_batch_splits_total: Series::Counters(delivered!(splits)),
            "Batches split in two because they were too large for the backend";
        netflow_request_encoded_bytes_total: Series::Counters(delivered!(octets_encoded)),
            "Bytes of requests before compression, counting each attempt";
        netflow_request_sent_bytes_total: Series::Counters(delivered!(octets_sent)),
            "Bytes of requests as sent, counting each attempt";
        netflow_console_copies_dropped_total: Series::Counters(delivered!(copies_dropped)),
            "Spans not copied to stdout because it was not read fast enough (OTEL_TRACES_EXPORTER=otlp,console); they were sent anyway";
        netflow_backend_up: Series::Gauges(&[(&[], |stages| {
            u64::from(!stages.delivered.backend_away.load(Relaxed))
        })]),
            "0 while requests fail and are retried, otherwise 1";
    }
    Kafka {
        netflow_kafka_messages_total: Series::Counters(kafka!(datagrams)),
            "Datagrams and messages of connections read from Kafka (NETFLOW_INPUT=kafka)";
        netflow_kafka_message_bytes_total: Series::Counters(kafka!(octets)),
            "Bytes of their payloads";
        netflow_kafka_alien_messages_total: Series::Counters(kafka!("reason": no_value, key, header)),
            "Messages of the topic that no relay wrote, by what is wrong with them: they are ignored";
        netflow_kafka_times_replaced_total: Series::Counters(kafka!(times_replaced)),
            "Datagrams with an impossible time of receipt: the message's own time-stamp, or the present, was used";
        netflow_kafka_messages_reread_total: Series::Counters(kafka!(replayed)),
            "Datagrams that this process had read before: their spans are delivered twice";
        netflow_kafka_messages_uncommitted_total: Series::Counters(kafka!(uncommitted)),
            "Datagrams that were read but not committed when their partition went: they are read again";
        netflow_kafka_batches_given_up_total: Series::Counters(kafka!(batches_given_up)),
            "Batches that were dropped or refused for good (counted as spans, too): their offsets are committed nevertheless";
        netflow_kafka_commits_total: Series::Counters(kafka!("outcome": committed, failed)),
            "Commits of offsets, by outcome; one that failed is repeated";
        netflow_kafka_poll_failures_total: Series::Counters(kafka!(poll_failures)),
            "Attempts to reach Kafka, or to read from it, that failed and were repeated";
        netflow_kafka_partition_changes_total: Series::Counters(kafka!("change": assigned, revoked, lost)),
            "Partitions that came, were handed over in order, or were lost";
        netflow_kafka_partitions: Series::Gauges(kafka!(partitions)),
            "Partitions that this daemon reads now";
        netflow_kafka_partitions_paused: Series::Gauges(kafka!(paused)),
            "Of these, partitions that are paused because the daemon has enough to do";
        netflow_kafka_pauses_total: Series::Counters(kafka!(pauses)),
            "How often a partition was paused";
        netflow_kafka_lag: Series::Gauges(kafka!(lag)),
            "Messages in these partitions that are not read yet; a few seconds old";
        netflow_kafka_waiting_bytes: Series::Gauges(kafka!(octets_waiting)),
            "Bytes that were read and wait for their worker";
        netflow_kafka_exporter_states_total: Series::Counters(kafka!("outcome": written, refused, restored, unreadable)),
            "What exporters have reported, written to the topic of templates or read from it, by outcome";
    }
    Relay {
        netflow_relay_messages_total: Series::Counters(relay!(relayed)),
            "Datagrams and messages of connections that Kafka has acknowledged (netflow2traces relay)";
        netflow_relay_message_bytes_total: Series::Counters(relay!(relayed_octets)),
            "Bytes of their payloads";
        netflow_relay_dropped_total: Series::Counters(relay_dropped!(
            NotAllowed "not_allowed", QueueFull "queue_full", TooLarge "too_large", Rejected "rejected", Shutdown "shutdown",
        )),
            "Datagrams and messages that were not relayed, by reason (docs/kafka.md)";
        netflow_relay_waiting: Series::Gauges(relay!(waiting)),
            "Datagrams and messages that wait for Kafka's acknowledgement";
        netflow_relay_waiting_bytes: Series::Gauges(relay!(waiting_octets)),
            "Bytes that they take; NETFLOW_QUEUE_SIZE is the limit";
        netflow_relay_failures_total: Series::Counters(relay!(failures)),
            "Attempts to reach Kafka, or to write to it, that failed and were repeated";
        netflow_relay_up: Series::Gauges(&[(&[], |stages| {
            u64::from(!stages.relayed.is_away.load(Relaxed))
        })]),
            "0 while Kafka does not acknowledge what it is sent, otherwise 1";
    }
    Spool {
        netflow_spans_recovered_total: Series::Counters(both_kinds!(|all: &Counters| all.recovered.load())),
            "Spans found in the spool at the start, left by an earlier run";
        netflow_spans_spooled: Series::Gauges(both_kinds!(|all: &Counters| all.spooled.load())),
            "Spans waiting in the spool";
        netflow_spool_up: Series::Gauges(&[(&[], |stages| {
            u64::from(stages.facts.spool.is_some() && !stages.delivered.spool.failing.load(Relaxed))
        })]),
            "1 if there is a spool and its last write succeeded, otherwise 0";
        netflow_spool_bytes: Series::Gauges(spool!(octets)),
            "Bytes of the spool's files";
        netflow_spool_limit_bytes: Series::Gauges(&[(&[], |stages| {
            stages.facts.spool.as_ref().map_or(0, |spool| spool.max_size)
        })]),
            "Limit on the bytes of the spool's files (NETFLOW_SPOOL_MAX_SIZE); 0 without a spool";
        netflow_spool_segments: Series::Gauges(spool!(segments)),
            "Files of the spool";
        netflow_spool_batches: Series::Gauges(spool!(batches)),
            "Batches waiting in the spool";
        netflow_spool_recovered_batches_total: Series::Counters(spool!(recovered_batches)),
            "Batches found in the spool at the start";
        netflow_spool_written_batches_total: Series::Counters(spool!(written_batches)),
            "Batches written to the spool";
        netflow_spool_written_bytes_total: Series::Counters(spool!(written_octets)),
            "Bytes written to the spool";
        netflow_spool_replayed_batches_total: Series::Counters(spool!(replayed_batches)),
            "Batches read back from the spool's files; a batch that is sent right after it was written isn't read back";
        netflow_spool_replayed_bytes_total: Series::Counters(spool!(replayed_octets)),
            "Bytes read back from the spool's files";
        netflow_spool_dropped_batches_total: Series::Counters(&[
            (&[("reason", "full")], |stages| stages.delivered.spool.dropped_full.load(Relaxed)),
            (&[("reason", "age")], |stages| stages.delivered.spool.dropped_age.load(Relaxed)),
            (&[("reason", "unreadable")], |stages| stages.delivered.spool.dropped_unreadable.load(Relaxed)),
        ]),
            "Batches dropped from the spool: to make room, because of their age, or because they could not be read";
        netflow_spool_errors_total: Series::Counters(&[
            (&[("operation", "write")], |stages| stages.delivered.spool.write_errors.load(Relaxed)),
            (&[("operation", "read")], |stages| stages.delivered.spool.read_errors.load(Relaxed)),
        ]),
            "Failures of the spool's disk; write includes removing a file";
    }
    Process {
        netflow_build_info: Series::Info(|_| vec![("version", env!("CARGO_PKG_VERSION").to_owned())]),
            "The version of this program";
        netflow_start_time_seconds: Series::Seconds(|stages| {
            let since = stages.facts.started.duration_since(std::time::UNIX_EPOCH);
            since.unwrap_or_default().as_secs_f64()
        }),
            "Start of the daemon, in seconds since 1970";
        netflow_uptime_seconds: Series::Seconds(|stages| stages.facts.started_instant.elapsed().as_secs_f64()),
            "How long the daemon has been running, in seconds";
        netflow_metrics_exports_total: Series::Counters(&[
            (&[("outcome", "accepted")], |stages| stages.own_metrics.accepted.load(Relaxed)),
            (&[("outcome", "rejected")], |stages| stages.own_metrics.rejected.load(Relaxed)),
            (&[("outcome", "failed")], |stages| stages.own_metrics.failed.load(Relaxed)),
        ]),
            "Requests with these metrics over OTLP (OTEL_METRICS_EXPORTER), by outcome; many flow metrics need several for one export";
        netflow_log_lines_dropped_total: Series::Counters(&[(&[], |_| logging::lines_dropped())]),
            "Log lines that were not written because stderr was closed or not read fast enough";
        netflow_part_restarts_total: Series::Counters(restarts!(
            Receive "receive", Connections "connections", Certificates "certificates", Pulse "pulse", Delivery "delivery", Losses "losses", Spool "spool", SpoolSync "spool_sync",
            TemplateStore "template_store", Enrichment "enrichment", OwnMetrics "own_metrics", Admin "admin", Page "page", Notifier "notifier",
            KafkaInput "kafka_input", Relay "relay", Console "console", Log "log"
        )),
            "Threads and tasks of the daemon that panicked and were restarted; the log says why";
        netflow_parts_overdue: Series::Gauges(&[(&[], |stages| {
            let parts = stages.health.parts();
            parts.iter().filter(|part| part.overdue().is_some()).count() as u64
        })]),
            "Threads and tasks of the daemon that are overdue to report progress; /readyz names one on which flow records depend";
        netflow_workers: Series::Gauges(&[(&[], |stages| stages.received.len() as u64)]),
            "Receiving threads";
        netflow_tasks: Series::Gauges(&[(&[], |stages| stages.tasks() as u64)]),
            "Running tasks of delivery and of the admin server";
        netflow_receive_buffer_bytes: Series::Gauges(&[
            (&[("size", "requested")], |stages| stages.facts.receive_buffer.requested as u64),
            (&[("size", "granted")], |stages| stages.facts.receive_buffer.granted as u64),
        ]),
            "Receive buffer of each socket in bytes: requested, and granted by the system";
    }
};
