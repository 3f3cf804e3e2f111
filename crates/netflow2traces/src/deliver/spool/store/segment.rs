//! One file of the spool: how far it is read, and what of it is not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use otlp_wire::UnixNanos;

use crate::deliver::counters::Count;
use crate::deliver::spool::damage::{Lost, MAX_LOOKED_AT, is_torn, lost_in};
use crate::deliver::spool::format::{
    ENTRY_HEADER, EntryHeader, Found, SEGMENT_HEADER, SegmentHeader, Walk,
};

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    /// Everything before has been read.
    pub(super) read_to: u64,
    pub(super) end: u64,
    pub(super) unread: Count,
    pub(super) unread_batches: u64,
    /// Batches that were read and aren't settled.
    pub(super) outstanding: u64,
    /// The youngest arrival inside.
    pub(super) newest: UnixNanos,
}

impl Segment {
    pub(super) const fn new(header: SegmentHeader, end: u64) -> Self {
        Self {
            header,
            read_to: SEGMENT_HEADER as u64,
            end,
            unread: Count { flow: 0, work: 0 },
            unread_batches: 0,
            outstanding: 0,
            newest: UnixNanos(0),
        }
    }

    /// An entry whose age counts from `arrival`.
    pub(super) fn add_unread(&mut self, header: &EntryHeader, arrival: UnixNanos) {
        self.unread = self.unread.plus(spans(header));
        self.unread_batches += 1;
        self.newest = self.newest.max(arrival);
    }

    pub(super) fn take_unread(&mut self, header: &EntryHeader, end: u64) {
        self.unread = self.unread.minus(spans(header));
        self.unread_batches = self.unread_batches.saturating_sub(1);
        self.read_to = end;
    }

    pub(super) const fn is_read(&self) -> bool {
        self.read_to >= self.end
    }

    pub(super) const fn is_settled(&self) -> bool {
        self.is_read() && self.outstanding == 0
    }
}

/// What its batch holds.
pub(super) fn spans(header: &EntryHeader) -> Count {
    Count {
        flow: u64::from(header.flow_spans),
        work: u64::from(header.work_spans),
    }
}

/// The next entry of a segment.
pub(super) fn step(file: &File, walk: &mut Walk) -> io::Result<Option<Found>> {
    let mut octets = Vec::new();
    while let Some((offset, wanted)) = walk.wants() {
        octets.resize(wanted, 0);
        let read = read_at(file, &mut octets, offset)?;
        if let Some(found) = walk.take(&octets[..read]) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The octets of a batch, if they are as they were written.
pub(super) fn payload(file: &File, found: &Found) -> io::Result<Option<Vec<u8>>> {
    let mut octets = vec![0; found.header.length as usize];
    let read = read_at(file, &mut octets, found.payload())?;
    octets.truncate(read);
    Ok(Some(octets).filter(|octets| found.header.fits(octets)))
}

/// Counts what waits in a segment of an earlier run; gives the octets that are no whole entry, and what was lost with them.
pub(super) fn look_through(file: &File, segment: &mut Segment) -> io::Result<(u64, Lost)> {
    let mut lost = Lost::default();
    let (header, end) = (segment.header, segment.end);
    let mut walk = Walk::new(header, segment.read_to, end);
    let mut expected = walk.at();
    while let Some(found) = step(file, &mut walk)? {
        lost = lost.plus(lost_between(file, &header, expected, found.offset, false)?);
        segment.add_unread(&found.header, found.header.oldest);
        expected = found.end();
    }
    lost = lost.plus(lost_between(file, &header, expected, end, true)?);
    Ok((walk.damaged(), lost))
}

/// What was lost between the places of two entries, or of one and the end; nothing where a crash explains it.
fn lost_between(
    file: &File,
    segment: &SegmentHeader,
    from: u64,
    to: u64,
    is_end: bool,
) -> io::Result<Lost> {
    let length = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
    if length == 0 {
        return Ok(Lost::default());
    }
    let mut octets = vec![0; length.min(MAX_LOOKED_AT)];
    let read = read_at(file, &mut octets, from)?;
    octets.truncate(read);
    let begin = octets.get(..ENTRY_HEADER).unwrap_or(&octets);
    let is_whole_header = EntryHeader::decode(begin, segment, from).is_some();
    if is_end && is_torn(begin, is_whole_header) {
        return Ok(Lost::default());
    }
    Ok(lost_in(&octets))
}

/// Reads as many octets as there are, at most as have room.
fn read_at(file: &File, octets: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < octets.len() {
        match file.read_at(&mut octets[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
