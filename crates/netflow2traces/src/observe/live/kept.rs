//! The batches and records seen last, so that a page that opens has something to show and a record's trace can be
//! found. Bounded in octets and in number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use otlp_wire::view;

use super::record::{Filter, Record};

/// Octets of batches; the latest stays in any case.
const MAX_OCTETS: usize = 32 << 20;
/// Records.
const MAX_RECORDS: usize = 20_000;
/// Looks: five minutes.
const MAX_LOOKS: usize = 300;

/// When records were looked at, and which.
pub(super) type Look = (Instant, Arc<[Record]>);

#[derive(Debug, Default)]
pub(super) struct Kept {
    /// Oldest first.
    batches: VecDeque<Bytes>,
    octets: usize,
    /// What was seen with each look, and when that was; oldest first.
    records: VecDeque<Look>,
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

    pub(super) fn keep_records(&mut self, now: Instant, records: Arc<[Record]>) {
        self.number += records.len();
        self.records.push_back((now, records));
        let is_too_much = |kept: &Self| {
            (kept.number > MAX_RECORDS || kept.records.len() > MAX_LOOKS) && kept.records.len() > 1
        };
        while is_too_much(self) {
            let oldest = self.records.pop_front();
            self.number -= oldest.map_or(0, |(_, oldest)| oldest.len());
        }
    }

    /// Cheap copies of what was seen, oldest first.
    pub(super) fn looks(&self) -> Vec<Look> {
        self.records.iter().cloned().collect()
    }

    /// Cheap copies.
    pub(super) fn batches(&self) -> Vec<Bytes> {
        self.batches.iter().cloned().collect()
    }

    /// The latest that a filter lets through, newest first.
    pub(super) fn latest(&self, filter: &Filter, limit: usize) -> Vec<Record> {
        let looks = self.records.iter().rev();
        let newest_first = looks.flat_map(|(_, look)| look.iter().rev());
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
        let now = Instant::now();
        let look: Arc<[Record]> = vec![record("10.0.0.1:1", "10.0.0.2:2", 6, 1); 4_000].into();
        for _ in 0..9 {
            kept.keep_records(now, Arc::clone(&look));
        }
        assert_eq!(kept.number, 20_000);
        for _ in 0..2 * MAX_LOOKS {
            kept.keep_records(now, Arc::default());
        }
        assert_eq!((kept.number, kept.records.len()), (0, MAX_LOOKS));
    }

    #[test]
    fn the_latest_records_come_first() {
        let mut kept = Kept::default();
        for octets in [1, 3] {
            let looked = [octets, octets + 1].map(|n| record("10.0.0.1:1", "10.0.0.2:2", 6, n));
            kept.keep_records(Instant::now(), looked.into());
        }
        let all = Filter::read(&FilterText::default()).unwrap();
        let octets: Vec<u64> = kept.latest(&all, 3).iter().map(|r| r.octets).collect();
        assert_eq!(octets, [4, 3, 2]);
    }
}
