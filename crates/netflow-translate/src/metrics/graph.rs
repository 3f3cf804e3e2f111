//! The service graph: requests between networks, as Grafana's Service Graph tab asks for them.

use std::net::IpAddr;

use super::series::{Addition, Tally};
use super::{FlowFacts, SeriesKey};
use crate::flow::roles::End;

const NANOS: u64 = 1_000_000_000;
const TCP: u8 = 6;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
/// Packets of a connection that was refused, at most.
const REFUSED_PACKETS: u64 = 3;

/// Upper bounds of the histograms, in milliseconds: the ones that Tempo's metrics generator has.
const BOUNDS_MS: [u64; 8] = [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800];
/// The same in seconds.
pub const GRAPH_BOUNDS: [f64; 8] = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8];

/// What an edge of the graph adds up.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct GraphTotals {
    /// Records in the direction from client to server.
    pub requests: u64,
    /// Of these, those without an answer.
    pub failed: u64,
    /// Of all durations, in nanoseconds.
    pub nanos: u64,
    /// Requests that lasted up to each of [`GRAPH_BOUNDS`] and longer than the one before; then the longer ones.
    pub buckets: [u64; BOUNDS_MS.len() + 1],
}

impl Tally for GraphTotals {
    fn add(&mut self, addition: &Addition<'_>) {
        self.requests = self.requests.wrapping_add(1);
        self.failed = self.failed.wrapping_add(u64::from(addition.failed));
        self.nanos = self.nanos.wrapping_add(addition.duration);
        let longer = BOUNDS_MS.partition_point(|bound| bound * (NANOS / 1_000) < addition.duration);
        if let Some(bucket) = self.buckets.get_mut(longer) {
            *bucket = bucket.wrapping_add(1);
        }
    }

    fn plus(self, other: Self) -> Self {
        let mut buckets = self.buckets;
        for (bucket, other) in buckets.iter_mut().zip(other.buckets) {
            *bucket = bucket.wrapping_add(other);
        }
        Self {
            requests: self.requests.wrapping_add(other.requests),
            failed: self.failed.wrapping_add(other.failed),
            nanos: self.nanos.wrapping_add(other.nanos),
            buckets,
        }
    }
}

/// The edge that a record is a request of, from client to server; `None`: it is an answer.
pub(super) fn edge(
    exporter: [u64; 2],
    flow: &FlowFacts<'_>,
    server: End,
    source: u32,
    destination: u32,
) -> Option<SeriesKey> {
    match requested(flow, server)? {
        End::Destination => Some(SeriesKey::new(exporter, source, destination)),
        End::Source => Some(SeriesKey::new(exporter, destination, source)),
    }
}

/// The end of which a record is a request; `None`: it is an answer.
pub(crate) fn requested(flow: &FlowFacts<'_>, server: End) -> Option<End> {
    // A biflow's record has both directions, whichever end its exporter put first.
    (server == End::Destination || flow.is_biflow).then_some(server)
}

/// A whole TCP connection that was not answered or was refused.
pub(crate) fn has_failed(flow: &FlowFacts<'_>) -> bool {
    let Some(flags) = flow.tcp_flags else {
        return false;
    };
    if flow.is_sampled || flow.ends.protocol != Some(TCP) {
        return false;
    }
    // Headers of IP and TCP with all options.
    let headers = match flow.ends.source {
        Some(IpAddr::V6(_)) => 80,
        _ => 60,
    };
    let has_no_data = |bytes, packets: u64| bytes <= packets.saturating_mul(headers);
    let was_refused = |bytes, packets| packets <= REFUSED_PACKETS && has_no_data(bytes, packets);
    let is_unanswered = flags & (SYN | ACK) == SYN;
    let is_refused = flags & RST != 0
        && was_refused(flow.bytes, flow.packets)
        && (flow.reverse).is_none_or(|back| was_refused(back.bytes, back.packets));
    is_unanswered || is_refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Endpoints, Reverse};

    fn tcp(flags: u8, packets: u64, bytes: u64) -> FlowFacts<'static> {
        FlowFacts {
            ends: Endpoints {
                protocol: Some(TCP),
                ..Endpoints::default()
            },
            tcp_flags: Some(flags),
            packets,
            bytes,
            ..FlowFacts::default()
        }
    }

    #[test]
    fn a_connection_without_an_answer_or_refused_has_failed() {
        for (flags, packets, bytes, failed) in [
            (SYN, 3, 180, true),
            (SYN | RST, 1, 60, true),
            (RST | ACK, 1, 40, true),
            (SYN | ACK, 2, 120, false),
            (RST | ACK, 10, 400, false),
            (RST | ACK, 3, 4_000, false),
        ] {
            let found = has_failed(&tcp(flags, packets, bytes));
            assert_eq!(found, failed, "{flags:#x} {packets} {bytes}");
        }
        let greeted = FlowFacts {
            reverse: Some(Reverse {
                bytes: 4_000,
                packets: 3,
            }),
            ..tcp(RST | ACK, 3, 180)
        };
        assert!(!has_failed(&greeted), "the server sent data");
        let sampled = FlowFacts {
            is_sampled: true,
            ..tcp(SYN, 1, 60)
        };
        assert!(!has_failed(&sampled));
    }

    #[test]
    fn durations_fall_into_the_first_bucket_that_holds_them() {
        let mut totals = GraphTotals::default();
        for millis in [0, 100, 101, 12_800, 12_801] {
            totals.add(&Addition {
                bytes: 0,
                packets: 0,
                flows: 1,
                duration: millis * (NANOS / 1_000),
                failed: millis == 101,
                span: None,
                largest: 0,
                received_at: otlp_wire::UnixNanos(0),
            });
        }
        assert_eq!(totals.buckets, [2, 1, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((totals.requests, totals.failed), (5, 1));
        assert_eq!(totals.plus(totals).buckets[0], 4);
    }

    #[test]
    fn an_answer_is_no_request_unless_its_record_has_both_directions() {
        let one_way = FlowFacts::default();
        let both = FlowFacts {
            is_biflow: true,
            ..one_way
        };
        let ends = |flow, server| {
            let edge = edge([0, 1], &flow, server, 1, 2)?;
            Some((edge.first, edge.second))
        };
        assert_eq!(ends(one_way, End::Destination), Some((1, 2)));
        assert_eq!(ends(one_way, End::Source), None);
        assert_eq!(ends(both, End::Source), Some((2, 1)));
    }
}
