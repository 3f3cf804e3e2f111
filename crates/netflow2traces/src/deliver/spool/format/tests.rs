//! What is written is read again; what is cut off or changed costs the batch it hits.

use super::*;
use proptest::prelude::*;

const SEGMENT: SegmentHeader = SegmentHeader {
    number: 7,
    salt: 0x1234_5678_9abc_def0,
};

fn batch(number: u32, octets: Vec<u8>) -> EncodedBatch {
    EncodedBatch {
        octets: octets.into(),
        flow_spans: number,
        work_spans: 3,
        oldest: UnixNanos(1_000 + u64::from(number)),
        receipt: None,
    }
}

/// A segment of these batches, and where each entry begins.
fn segment(batches: &[EncodedBatch]) -> (Vec<u8>, Vec<u64>) {
    let mut file = SEGMENT.encode().to_vec();
    let mut places = Vec::new();
    for batch in batches {
        let offset = file.len() as u64;
        places.push(offset);
        let header = EntryHeader::of(batch, UnixNanos(5)).unwrap();
        file.extend(header.encode(&SEGMENT, offset));
        file.extend(&batch.octets);
    }
    (file, places)
}

/// What a reader gets out of a file: the batches that are whole, by their number.
fn read(file: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, SegmentError> {
    let segment = SegmentHeader::decode(file)?;
    let mut walk = Walk::new(segment, 0, file.len() as u64);
    let (mut whole, mut steps) = (Vec::new(), 0);
    while let Some((offset, wanted)) = walk.wants() {
        steps += 1;
        assert!(steps <= file.len(), "it ends");
        let from = usize::try_from(offset).unwrap();
        if let Some(found) = walk.take(&file[from..from + wanted]) {
            let (from, to) = (found.payload() as usize, found.end() as usize);
            if found.header.fits(&file[from..to]) {
                whole.push((found.header.flow_spans, file[from..to].to_vec()));
            }
        }
    }
    let _ = walk.damaged();
    Ok(whole)
}

fn some_batches() -> Vec<EncodedBatch> {
    vec![
        batch(1, vec![1; 10]),
        batch(2, Vec::new()),
        batch(3, (0..=255).collect()),
        batch(4, MARKER.repeat(30)),
        batch(5, vec![9; 60]),
    ]
}

fn numbered(batches: &[EncodedBatch]) -> Vec<(u32, Vec<u8>)> {
    let all = batches.iter();
    all.map(|batch| (batch.flow_spans, batch.octets.to_vec()))
        .collect()
}

#[test]
fn what_is_written_is_read() {
    let batches = some_batches();
    let (file, _) = segment(&batches);
    assert_eq!(read(&file).unwrap(), numbered(&batches));
    let found = EntryHeader::decode(&file[SEGMENT_HEADER..], &SEGMENT, 32).unwrap();
    assert_eq!(found.oldest, batches[0].oldest);
    assert_eq!((found.work_spans, found.written), (3, UnixNanos(5)));
}

#[test]
fn cut_at_any_octet_all_whole_batches_before_are_read() {
    let batches = some_batches();
    let (file, places) = segment(&batches);
    for cut in 0..file.len() {
        let whole = places[1..].iter().filter(|end| **end <= cut as u64).count();
        match read(&file[..cut]) {
            Ok(read) => assert_eq!(read, numbered(&batches[..whole]), "cut at {cut}"),
            Err(error) => assert_eq!((error, cut < SEGMENT_HEADER), (SegmentError::Short, true)),
        }
    }
}

#[test]
fn changed_at_any_octet_only_the_batch_it_hits_is_lost() {
    let batches = some_batches();
    let (file, places) = segment(&batches);
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut changed = file.clone();
            changed[at] ^= 1 << bit;
            let Ok(read) = read(&changed) else {
                assert!(at < SEGMENT_HEADER, "only its own header costs the segment");
                continue;
            };
            let hit = places.iter().rposition(|place| *place <= at as u64);
            let mut expected = numbered(&batches);
            // An unused bit can't be hit: every octet is under a checksum.
            expected.remove(hit.unwrap_or_else(|| panic!("octet {at} of the header")));
            assert_eq!(read, expected, "octet {at}, bit {bit}");
        }
    }
}

#[test]
fn an_entry_at_another_place_or_of_another_segment_is_none() {
    let header = EntryHeader::of(&batch(1, vec![0; 4]), UnixNanos(0)).unwrap();
    let octets = header.encode(&SEGMENT, 32);
    assert_eq!(EntryHeader::decode(&octets, &SEGMENT, 32), Some(header));
    assert_eq!(EntryHeader::decode(&octets, &SEGMENT, 33), None);
    let other = SegmentHeader { salt: 1, ..SEGMENT };
    assert_eq!(EntryHeader::decode(&octets, &other, 32), None);
}

#[test]
fn other_versions_are_told_apart_from_damage() {
    let mut octets = SEGMENT.encode();
    octets[8] = 2;
    assert_eq!(SegmentHeader::decode(&octets), Err(SegmentError::Damaged));
    let checksum = crc32fast::hash(&octets[..28]);
    octets[28..].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(
        SegmentHeader::decode(&octets),
        Err(SegmentError::Version(2))
    );
}

#[test]
fn of_two_notes_the_whole_one_with_the_higher_sequence_holds() {
    let note = |sequence| Note {
        sequence,
        settled: Position {
            segment: sequence,
            offset: 44,
        },
    };
    let mut file = vec![0; 4096 + NOTE];
    assert_eq!(Note::latest(&file), None);
    for sequence in 1..=4 {
        let at = usize::try_from(note(sequence).place()).unwrap();
        file[at..at + NOTE].copy_from_slice(&note(sequence).encode());
        assert_eq!(Note::latest(&file), Some(note(sequence)));
    }
    for at in 0..NOTE {
        let mut torn = file.clone();
        torn[at] ^= 0x10;
        assert_eq!(Note::latest(&torn), Some(note(3)), "octet {at}");
    }
    for cut in 0..file.len() {
        let latest = Note::latest(&file[..cut]);
        assert_eq!(latest.is_some(), cut >= NOTE, "cut at {cut}");
    }
}

proptest! {
    /// Whatever octets follow a sound header, reading ends and finds only what is whole.
    #[test]
    fn any_octets_are_read_to_their_end(octets in proptest::collection::vec(any::<u8>(), 0..3_000)) {
        let mut file = SEGMENT.encode().to_vec();
        file.extend(&octets);
        prop_assert!(read(&file).unwrap().is_empty());
    }

    /// Several damages at once: what is found is a part of what was written, in its order.
    #[test]
    fn damage_never_makes_batches(
        sizes in proptest::collection::vec(0usize..400, 1..12),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let batches: Vec<_> = (1u8..)
            .zip(&sizes)
            .map(|(number, size)| batch(u32::from(number), vec![number; *size]))
            .collect();
        let (mut file, _) = segment(&batches);
        for (at, value) in damage {
            let at = SEGMENT_HEADER + at.index(file.len() - SEGMENT_HEADER);
            file[at] = value;
        }
        file.truncate(SEGMENT_HEADER + cut.index(file.len() - SEGMENT_HEADER + 1));
        let written = numbered(&batches);
        let mut rest = written.iter();
        for found in read(&file).unwrap() {
            prop_assert!(rest.any(|batch| *batch == found));
        }
    }
}
