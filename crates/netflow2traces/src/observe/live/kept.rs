//! The batches and records seen last, so that a page that opens has something to show and a record's trace can be
//! found. Bounded in octets and in number.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use otlp_wire::view;

use super::record::{Filter, Record};

/// Octets of batches; the latest stays in any case.
const MAX_OCTETS: usize = 32 << 20;
/// Records.
const MAX_RECORDS: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Oldest first.
    batches: VecDeque<Bytes>,
    octets: usize,
    /// What was seen with each look, oldest first.
    records: VecDeque<Arc<[Record]>>,
    number: usize,
}

impl Kept {
    pub(super) fn keep_batch(&mut self, octets: Bytes) {
        self.octets += octets.len();
        self.batches.push_back(octets);
        while self.octets > MAX_OCTETS && self.batches.len() > 1 {
            let oldest = self.batches.pop_front().unwrap_or_default();
            self.octets -= oldest.len();
        }
    }

    pub(super) fn keep_records(&mut self, records: Arc<[Record]>) {
        self.number += records.len();
        self.records.push_back(records);
        while self.number > MAX_RECORDS && self.records.len() > 1 {
            let oldest = self.records.pop_front();
            self.number -= oldest.map_or(0, |oldest| oldest.len());
        }
    }

    /// Cheap copies.
    pub(super) fn batches(&self) -> Vec<Bytes> {
        self.batches.iter().cloned().collect()
    }

    /// The latest that a filter lets through, newest first.
    pub(super) fn latest(&self, filter: &Filter, limit: usize) -> Vec<Record> {
        let newest_first = self.records.iter().rev().flat_map(|look| look.iter().rev());
        let wanted = newest_first.filter(|record| filter.matches(record));
        wanted.take(limit).cloned().collect()
    }
}

/// The spans of a trace, which may have come in several batches.
pub(super) fn trace(batches: &[Bytes], trace_id: [u8; 16]) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let mut spans = 0;
    for batch in batches.iter().rev() {
        // A batch of ours is well-formed.
        spans += view::extract_trace(batch, &trace_id, &mut request).unwrap_or(0);
    }
    (spans > 0).then_some(request)
}

#[cfg(test)]
mod tests {
    use super::super::record::FilterText;
    use super::super::record::tests::record;
    use super::*;

    #[test]
    fn octets_and_records_are_bounded() {
        let mut kept = Kept::default();
        for _ in 0..40 {
            kept.keep_batch(vec![0; 1 << 20].into());
        }
        assert_eq!((kept.octets, kept.batches.len()), (MAX_OCTETS, 32));
        kept.keep_batch(vec![0; MAX_OCTETS + 1].into());
        assert_eq!(kept.batches.len(), 1);
        let look: Arc<[Record]> = vec![record("10.0.0.1:1", "10.0.0.2:2", 6, 1); 4_000].into();
        for _ in 0..5 {
            kept.keep_records(Arc::clone(&look));
        }
        assert_eq!(kept.number, 8_000);
    }

    #[test]
    fn the_latest_records_come_first() {
        let mut kept = Kept::default();
        for octets in [1, 3] {
            let looked = [octets, octets + 1].map(|n| record("10.0.0.1:1", "10.0.0.2:2", 6, n));
            kept.keep_records(looked.into());
        }
        let all = Filter::read(&FilterText::default()).unwrap();
        let octets: Vec<u64> = kept.latest(&all, 3).iter().map(|r| r.octets).collect();
        assert_eq!(octets, [4, 3, 2]);
    }
}
