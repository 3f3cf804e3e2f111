//! The octets of the spool's files: segments of batches, and the note of what is settled. No I/O and no clock: who
//! reads gives the octets that are asked for. The format is described in docs/spool.md.
//!
//! Whatever is cut off or changed, reading ends, allocates nothing by what a length says, and finds every batch whose
//! own octets are whole and whose segment's header is.
#![deny(clippy::disallowed_methods)]

use otlp_wire::{EncodedBatch, UnixNanos};

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// Octets before the first entry of a segment.
pub const SEGMENT_HEADER: usize = 32;
/// Octets before the batch in an entry.
pub const ENTRY_HEADER: usize = 44;
/// Octets of a note.
pub const NOTE: usize = 40;
/// Where the two notes are: far enough apart that no torn write touches both.
pub const NOTE_PLACES: [u64; 2] = [0, 4096];

const SEGMENT_MAGIC: [u8; 8] = *b"N2TSPOOL";
const NOTE_MAGIC: [u8; 8] = *b"N2TSETTL";
/// What every entry begins with.
pub const MARKER: [u8; 4] = *b"BTCH";
/// Octets looked at in one step when an entry's header is damaged and the next one is searched.
const SEARCH: usize = 64 * 1024;

/// A place in the spool. The order is the order of writing.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Octets from its start.
    pub offset: u64,
}

/// The first octets of a segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SegmentHeader {
    pub number: u64,
    /// Random; part of every checksum of an entry's header, so that no sender of flows can make octets that
    /// look like one.
    pub salt: u64,
}

/// Why a file is no segment that can be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SegmentError {
    /// Cut off before the first entry: it never held a batch.
    #[error("it ends within its header")]
    Short,
    #[error("it is written in version {0} of the format; this program reads version {VERSION}")]
    Version(u32),
    #[error("its header is damaged")]
    Damaged,
}

/// What stands before a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EntryHeader {
    /// Octets of the batch.
    pub length: u32,
    pub flow_spans: u32,
    pub work_spans: u32,
    /// Arrival of the oldest datagram inside.
    pub oldest: UnixNanos,
    pub written: UnixNanos,
    /// Of the batch's octets.
    pub checksum: u32,
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk().copied()
}

fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    array(octets, at).map(u32::from_le_bytes)
}

fn u64_at(octets: &[u8], at: usize) -> Option<u64> {
    array(octets, at).map(u64::from_le_bytes)
}

/// Fields one after the other, least significant octet first, into a fixed room.
struct Writer<const N: usize> {
    octets: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    const fn new() -> Self {
        Self {
            octets: [0; N],
            at: 0,
        }
    }

    fn put(&mut self, field: &[u8]) -> &mut Self {
        let end = self.at + field.len();
        self.octets[self.at..end].copy_from_slice(field);
        self.at = end;
        self
    }

    fn written(&self) -> &[u8] {
        &self.octets[..self.at]
    }
}

impl SegmentHeader {
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut writer = Writer::new();
        writer
            .put(&SEGMENT_MAGIC)
            .put(&VERSION.to_le_bytes())
            .put(&self.number.to_le_bytes())
            .put(&self.salt.to_le_bytes());
        let checksum = crc32fast::hash(writer.written());
        writer.put(&checksum.to_le_bytes());
        writer.octets
    }

    /// Reads the first octets of a file.
    ///
    /// # Errors
    /// Why it is no segment.
    pub fn decode(octets: &[u8]) -> Result<Self, SegmentError> {
        let octets: [u8; SEGMENT_HEADER] = array(octets, 0).ok_or(SegmentError::Short)?;
        let field = |at| u64_at(&octets, at).ok_or(SegmentError::Short);
        if octets[..8] != SEGMENT_MAGIC {
            return Err(SegmentError::Damaged);
        }
        let version = u32_at(&octets, 8).ok_or(SegmentError::Short)?;
        let checksum = u32_at(&octets, 28);
        // The checksum stands in the same place in every version.
        if checksum != Some(crc32fast::hash(&octets[..28])) {
            return Err(SegmentError::Damaged);
        }
        if version != VERSION {
            return Err(SegmentError::Version(version));
        }
        Ok(Self {
            number: field(12)?,
            salt: field(20)?,
        })
    }
}

impl EntryHeader {
    /// Of a batch; `None` if it is longer than an entry may be (4 GiB).
    #[must_use]
    pub fn of(batch: &EncodedBatch, written: UnixNanos) -> Option<Self> {
        Some(Self {
            length: u32::try_from(batch.octets.len()).ok()?,
            flow_spans: batch.flow_spans,
            work_spans: batch.work_spans,
            oldest: batch.oldest,
            written,
            checksum: crc32fast::hash(&batch.octets),
        })
    }

    /// The octets at this place of this segment; at another they are not valid.
    #[must_use]
    pub fn encode(&self, segment: &SegmentHeader, offset: u64) -> [u8; ENTRY_HEADER] {
        let mut writer = Writer::new();
        writer
            .put(&MARKER)
            .put(&self.length.to_le_bytes())
            .put(&self.flow_spans.to_le_bytes())
            .put(&self.work_spans.to_le_bytes())
            .put(&self.oldest.0.to_le_bytes())
            .put(&self.written.0.to_le_bytes())
            .put(&self.checksum.to_le_bytes())
            // Reserved.
            .put(&[0; 4]);
        let checksum = placed_checksum(writer.written(), segment, offset);
        writer.put(&checksum.to_le_bytes());
        writer.octets
    }

    /// The header that begins with these octets, if it is whole and belongs to this place.
    #[must_use]
    pub fn decode(octets: &[u8], segment: &SegmentHeader, offset: u64) -> Option<Self> {
        let octets: [u8; ENTRY_HEADER] = array(octets, 0)?;
        let (fields, checksum) = octets.split_last_chunk::<4>()?;
        if octets[..4] != MARKER
            || u32::from_le_bytes(*checksum) != placed_checksum(fields, segment, offset)
        {
            return None;
        }
        Self::decode_unplaced(&octets)
    }

    /// The header that begins with these octets, whatever place it belongs to: only to be believed if the batch fits.
    #[must_use]
    pub fn decode_unplaced(octets: &[u8]) -> Option<Self> {
        if octets.get(..4)? != MARKER {
            return None;
        }
        Some(Self {
            length: u32_at(octets, 4)?,
            flow_spans: u32_at(octets, 8)?,
            work_spans: u32_at(octets, 12)?,
            oldest: UnixNanos(u64_at(octets, 16)?),
            written: UnixNanos(u64_at(octets, 24)?),
            checksum: u32_at(octets, 32)?,
        })
    }

    /// Whether these are the batch's octets as they were written.
    #[must_use]
    pub fn fits(&self, octets: &[u8]) -> bool {
        octets.len() as u64 == u64::from(self.length) && crc32fast::hash(octets) == self.checksum
    }

    /// Octets of the whole entry.
    #[must_use]
    pub const fn entry_octets(&self) -> u64 {
        ENTRY_HEADER as u64 + self.length as u64
    }
}

fn placed_checksum(fields: &[u8], segment: &SegmentHeader, offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.salt.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(fields);
    hasher.finalize()
}

/// Goes from entry to entry through a segment without reading the batches. It says which octets it wants to see
/// ([`Walk::wants`]) and takes them ([`Walk::take`]).
#[derive(Clone, Debug)]
pub struct Walk {
    segment: SegmentHeader,
    at: u64,
    end: u64,
    searching: bool,
    damaged: u64,
}

/// An entry: its place, and what its header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Found {
    pub offset: u64,
    pub header: EntryHeader,
}

impl Found {
    /// Where the batch begins.
    #[must_use]
    pub const fn payload(&self) -> u64 {
        self.offset + ENTRY_HEADER as u64
    }

    /// Where the next entry begins.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.offset + self.header.entry_octets()
    }
}

impl Walk {
    /// From an entry's place, or the segment's start, to its end.
    #[must_use]
    pub fn new(segment: SegmentHeader, from: u64, end: u64) -> Self {
        Self {
            segment,
            at: from.max(SEGMENT_HEADER as u64),
            end,
            searching: false,
            damaged: 0,
        }
    }

    /// The octets that it needs next, by their place and number; `None` at the end.
    #[must_use]
    pub fn wants(&self) -> Option<(u64, usize)> {
        let left = self.end.saturating_sub(self.at);
        if left < ENTRY_HEADER as u64 {
            return None;
        }
        let octets = if self.searching { SEARCH } else { ENTRY_HEADER };
        Some((
            self.at,
            usize::try_from(left).unwrap_or(usize::MAX).min(octets),
        ))
    }

    /// Takes what [`Walk::wants`] asked for. Fewer octets mean that the segment ends there.
    pub fn take(&mut self, octets: &[u8]) -> Option<Found> {
        let (_, wanted) = self.wants()?;
        let octets = octets.get(..wanted).unwrap_or_else(|| {
            self.end = self.at + octets.len() as u64;
            octets
        });
        for (skipped, window) in octets.windows(ENTRY_HEADER).enumerate() {
            let offset = self.at + skipped as u64;
            let header = (window[..4] == MARKER)
                .then(|| EntryHeader::decode(window, &self.segment, offset))
                .flatten();
            let found = header.map(|header| Found { offset, header });
            // One that goes beyond the end is the last, torn one.
            if let Some(found) = found.filter(|found| found.end() <= self.end) {
                self.damaged += skipped as u64;
                self.at = found.end();
                self.searching = false;
                return Some(found);
            }
        }
        let seen = (octets.len() + 1).saturating_sub(ENTRY_HEADER) as u64;
        self.damaged += seen;
        self.at += seen;
        self.searching = true;
        None
    }

    /// Octets so far that belong to no whole entry.
    #[must_use]
    pub fn damaged(&self) -> u64 {
        let rest = match self.wants() {
            Some(_) => 0,
            None => self.end.saturating_sub(self.at),
        };
        self.damaged + rest
    }

    /// Where the next entry is expected.
    #[must_use]
    pub const fn at(&self) -> u64 {
        self.at
    }
}

/// Up to which place all batches are settled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Note {
    /// Grows with every note; the higher of two holds.
    pub sequence: u64,
    pub settled: Position,
}

impl Note {
    #[must_use]
    pub fn encode(&self) -> [u8; NOTE] {
        let mut writer = Writer::new();
        writer
            .put(&NOTE_MAGIC)
            .put(&VERSION.to_le_bytes())
            .put(&self.sequence.to_le_bytes())
            .put(&self.settled.segment.to_le_bytes())
            .put(&self.settled.offset.to_le_bytes());
        let checksum = crc32fast::hash(writer.written());
        writer.put(&checksum.to_le_bytes());
        writer.octets
    }

    /// `None` if it is not whole.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let octets: [u8; NOTE] = array(octets, 0)?;
        let (fields, checksum) = octets.split_last_chunk::<4>()?;
        let sound = octets[..8] == NOTE_MAGIC
            && u32_at(&octets, 8)? == VERSION
            && u32::from_le_bytes(*checksum) == crc32fast::hash(fields);
        sound.then_some(Self {
            sequence: u64_at(&octets, 12)?,
            settled: Position {
                segment: u64_at(&octets, 20)?,
                offset: u64_at(&octets, 28)?,
            },
        })
    }

    /// The one that holds, of a file's octets.
    #[must_use]
    pub fn latest(file: &[u8]) -> Option<Self> {
        NOTE_PLACES
            .iter()
            .filter_map(|place| Self::decode(file.get(usize::try_from(*place).ok()?..)?))
            .max_by_key(|note| note.sequence)
    }

    /// Where it is written: the other place than the note before.
    #[must_use]
    pub const fn place(&self) -> u64 {
        NOTE_PLACES[(self.sequence % 2) as usize]
    }
}

#[cfg(test)]
mod tests;
