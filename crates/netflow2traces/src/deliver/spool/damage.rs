//! What was lost with octets of the spool that are no whole entry: how many batches, with how many spans. An estimate as
//! good as the damage allows, so that no loss goes uncounted.

use super::format::{ENTRY_HEADER, EntryHeader, MARKER};
use crate::deliver::counters::Count;
use otlp_wire::view;

/// Octets of damage that are looked at; what is beyond isn't counted.
pub(super) const MAX_LOOKED_AT: usize = 16 << 20;

/// Batches that were lost, and their spans.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Lost {
    pub(super) batches: u64,
    pub(super) spans: Count,
}

impl Lost {
    /// At least this is lost where nothing can be said of a batch.
    pub(super) const ONE: Self = Self {
        batches: 1,
        spans: Count { flow: 1, work: 0 },
    };

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            batches: self.batches + other.batches,
            spans: self.spans.plus(other.spans),
        }
    }
}

/// What was in these octets, which begin where an entry is expected. The batch itself says what is in it, for its header
/// may be what is damaged; one that says nothing counts as one span.
pub(super) fn lost_in(octets: &[u8]) -> Lost {
    let mut lost = Lost::default();
    let mut rest = octets;
    while let Some(entry) = rest.get(..ENTRY_HEADER) {
        let batch = &rest[ENTRY_HEADER..];
        let header = EntryHeader::decode_unplaced(entry)
            .filter(|header| header.length as usize <= batch.len())
            .filter(|header| header.fits(&batch[..header.length as usize]));
        let end = match header {
            Some(header) => header.length as usize,
            // To where the next one may begin.
            None => {
                let next = batch.windows(MARKER.len()).position(|next| next == MARKER);
                next.unwrap_or(batch.len())
            }
        };
        let found = spans_of(&batch[..end]);
        lost.spans = lost.spans.plus(match header {
            _ if found != Count::default() => found,
            Some(header) => Count {
                flow: u64::from(header.flow_spans),
                work: u64::from(header.work_spans),
            },
            None => Lost::ONE.spans,
        });
        lost.batches += 1;
        rest = &batch[end..];
    }
    lost
}

fn spans_of(request: &[u8]) -> Count {
    let mut spans = Count::default();
    for span in view::spans(request) {
        if view::is_flow_name(span.name) {
            spans.flow += 1;
        } else {
            spans.work += 1;
        }
    }
    spans
}

/// Whether an entry that begins with these octets was being written when the process, or the machine, ended.
pub(super) fn is_torn(begin: &[u8], is_whole_header: bool) -> bool {
    begin.len() < ENTRY_HEADER || is_whole_header || begin.iter().all(|octet| *octet == 0)
}

#[cfg(test)]
mod tests {
    use otlp_wire::{EncodedBatch, UnixNanos};

    use super::super::format::SegmentHeader;
    use super::*;

    /// A request with so many spans of flows and one around them, and nothing else.
    fn request(flows: usize) -> Vec<u8> {
        let message = |number: u8, octets: &[u8]| {
            let mut message = vec![number << 3 | 2, u8::try_from(octets.len()).unwrap()];
            message.extend_from_slice(octets);
            message
        };
        let mut spans = message(2, &message(5, b"netflow.export"));
        for _ in 0..flows {
            spans.extend(message(2, &message(5, b"flow")));
        }
        message(1, &message(2, &spans))
    }

    fn entry(flows: usize) -> Vec<u8> {
        let batch = EncodedBatch {
            octets: request(flows).into(),
            flow_spans: u32::try_from(flows).unwrap(),
            work_spans: 1,
            oldest: UnixNanos(1),
            receipt: None,
        };
        let header = EntryHeader::of(&batch, UnixNanos(2)).unwrap();
        let segment = SegmentHeader { number: 1, salt: 2 };
        let mut entry = header.encode(&segment, 32).to_vec();
        entry.extend_from_slice(&batch.octets);
        entry
    }

    fn lost(batches: u64, flow: u64, work: u64) -> Lost {
        Lost {
            batches,
            spans: Count { flow, work },
        }
    }

    #[test]
    fn entries_of_a_segment_without_a_header_are_counted_by_their_own_headers() {
        let octets = [entry(3), entry(4), entry(2)].concat();
        assert_eq!(lost_in(&octets), lost(3, 9, 3));
    }

    #[test]
    fn where_an_entrys_header_is_damaged_its_batch_tells() {
        for at in [0, 4, 8, 33] {
            let mut octets = [entry(3), entry(4)].concat();
            octets[at] ^= 0x55;
            let found = lost_in(&octets);
            assert_eq!((found.batches, found.spans.work), (2, 2), "{at}");
            assert_eq!(found.spans.flow, 7, "{at}");
        }
    }

    #[test]
    fn a_batch_that_says_nothing_counts_as_one_span() {
        assert_eq!(lost_in(&[0xff; 100]), Lost::ONE);
        assert_eq!(lost_in(&[]), Lost::default());
        let mut octets = entry(3);
        octets[ENTRY_HEADER..].fill(0);
        assert_eq!(lost_in(&octets), Lost::ONE);
    }

    #[test]
    fn what_a_crash_leaves_at_the_end_is_no_damage() {
        assert!(is_torn(&[1; ENTRY_HEADER - 1], false));
        assert!(is_torn(&[0; ENTRY_HEADER], false));
        assert!(is_torn(&entry(1)[..ENTRY_HEADER], true));
        assert!(!is_torn(&entry(1)[..ENTRY_HEADER], false));
    }
}
