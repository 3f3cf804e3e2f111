//! A segment of the spool as a disk may give it back: reading ends, every octet is accounted for, and what is found
//! lies in its order within the file.

use netflow2traces::deliver::spool::format::{
    EntryHeader, NOTE_PLACES, Note, SEGMENT_HEADER, SegmentHeader, Walk,
};
use otlp_wire::{EncodedBatch, UnixNanos};

const SEGMENT: SegmentHeader = SegmentHeader { number: 1, salt: 2 };

pub fn run(input: &[u8]) {
    if let Some(note) = Note::latest(input) {
        assert!(NOTE_PLACES.contains(&note.place()));
        assert_eq!(Note::decode(&note.encode()), Some(note));
    }
    if let Ok(segment) = SegmentHeader::decode(input) {
        read(segment, input);
    }
    let mut behind_a_header = SEGMENT.encode().to_vec();
    behind_a_header.extend(input);
    read(SEGMENT, &behind_a_header);
    changed(input);
}

/// The places of the entries that are whole.
fn read(segment: SegmentHeader, file: &[u8]) -> Vec<u64> {
    let end = file.len() as u64;
    let mut walk = Walk::new(segment, 0, end);
    let (mut places, mut found_octets, mut steps) = (Vec::new(), 0, 0_usize);
    let mut at = SEGMENT_HEADER as u64;
    while let Some((offset, wanted)) = walk.wants() {
        steps += 1;
        assert!(steps <= file.len(), "it ends");
        assert!(offset >= at && offset + wanted as u64 <= end);
        let from = usize::try_from(offset).expect("within the file");
        if let Some(found) = walk.take(&file[from..from + wanted]) {
            assert!(found.offset >= at && found.end() <= end);
            at = found.end();
            found_octets += found.header.entry_octets();
            let payload = &file[found.payload() as usize..found.end() as usize];
            if found.header.fits(payload) {
                places.push(found.offset);
            }
        }
    }
    let all = end.max(SEGMENT_HEADER as u64) - SEGMENT_HEADER as u64;
    assert_eq!(
        found_octets + walk.damaged(),
        all,
        "every octet is accounted for"
    );
    places
}

/// A sound segment whose batches are parts of the input, cut and changed as its first octets say: what isn't hit is
/// read.
fn changed(input: &[u8]) {
    let Some((&[cut_low, cut_high, at_low, at_high, change], parts)) = input.split_first_chunk()
    else {
        return;
    };
    let mut file = SEGMENT.encode().to_vec();
    let mut entries = Vec::new();
    for part in parts.split(|octet| *octet == 0).take(64) {
        let batch = EncodedBatch {
            octets: part.to_vec().into(),
            flow_spans: 1,
            work_spans: 0,
            oldest: UnixNanos(3),
            receipt: None,
        };
        let header = EntryHeader::of(&batch, UnixNanos(4)).expect("a short batch");
        let offset = file.len() as u64;
        file.extend(header.encode(&SEGMENT, offset));
        file.extend(part);
        entries.push((offset, file.len() as u64));
    }
    let cut = usize::from(u16::from_le_bytes([cut_low, cut_high]));
    file.truncate(cut.max(SEGMENT_HEADER));
    let at = usize::from(u16::from_le_bytes([at_low, at_high])).max(SEGMENT_HEADER);
    let is_hit = change != 0 && at < file.len();
    if is_hit {
        file[at] ^= change;
    }
    let hit = |(from, to): &(u64, u64)| is_hit && (*from..*to).contains(&(at as u64));
    let whole = entries.iter().filter(|entry| entry.1 <= file.len() as u64);
    let wanted: Vec<u64> = whole
        .filter(|entry| !hit(entry))
        .map(|entry| entry.0)
        .collect();
    assert_eq!(read(SEGMENT, &file), wanted);
}
