//! A finished request and the wall time it speaks of.

use bytes::Bytes;

use crate::receipt::{Receipt, Settled};

/// Wall time in nanoseconds since 1970-01-01 00:00:00 UTC, as in OTLP's `…_time_unix_nano`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixNanos(pub u64);

/// One encoded `ExportTraceServiceRequest`: the body of a request, an entry of a spool, a payload.
///
/// Flow spans and work spans (the export, parse and process spans of a datagram) are counted apart,
/// so that every flow record can be accounted for.
#[derive(Debug, Default)]
pub struct EncodedBatch {
    /// The protobuf octets of the request.
    pub octets: Bytes,
    /// Spans named `netflow.flow`.
    pub flow_spans: u32,
    /// All other spans.
    pub work_spans: u32,
    /// Arrival of the oldest datagram whose spans are inside.
    pub oldest: UnixNanos,
    /// For a source that has to know what becomes of it.
    pub receipt: Option<Receipt>,
}

/// A copy has no receipt: nobody waits for what becomes of it.
impl Clone for EncodedBatch {
    fn clone(&self) -> Self {
        Self {
            octets: self.octets.clone(),
            receipt: None,
            ..*self
        }
    }
}

impl EncodedBatch {
    /// Reports to its source what became of it, if it has one.
    pub fn settle(&mut self, outcome: Settled) {
        if let Some(receipt) = self.receipt.take() {
            receipt.settle(outcome);
        }
    }

    /// A receipt for another part of the same batch, if it has one.
    #[must_use]
    pub fn receipt_for_another_part(&self) -> Option<Receipt> {
        self.receipt.as_ref().map(Receipt::for_another_part)
    }

    /// All spans of the batch.
    #[must_use]
    pub fn spans(&self) -> u32 {
        self.flow_spans.saturating_add(self.work_spans)
    }
}
