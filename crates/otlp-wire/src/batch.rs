//! A finished request and the wall time it speaks of.

use bytes::Bytes;

/// Wall time in nanoseconds since 1970-01-01 00:00:00 UTC, as in OTLP's `…_time_unix_nano`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixNanos(pub u64);

/// One encoded `ExportTraceServiceRequest`: the body of a request, an entry of a spool, a payload.
///
/// Flow spans and work spans (the export, parse and process spans of a datagram) are counted apart,
/// so that every flow record can be accounted for.
#[derive(Clone, Debug, Default)]
pub struct EncodedBatch {
    /// The protobuf octets of the request.
    pub octets: Bytes,
    /// Spans named `netflow.flow`.
    pub flow_spans: u32,
    /// All other spans.
    pub work_spans: u32,
    /// Arrival of the oldest datagram whose spans are inside.
    pub oldest: UnixNanos,
}

impl EncodedBatch {
    /// All spans of the batch.
    #[must_use]
    pub fn spans(&self) -> u32 {
        self.flow_spans.saturating_add(self.work_spans)
    }
}
