//! The spool's directory: batches are appended at one end and read at the other, in the order of writing, within a
//! size and an age. Blocking; for the spool's own thread alone.
//!
//! Every run begins a segment of its own and never writes to one of an earlier run. What is gone for a limit or
//! can't be read is counted; a file is removed when all its batches are settled.

mod segment;

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use otlp_wire::{EncodedBatch, UnixNanos};

use super::damage::{Lost, lost_in};
use super::directory::{Directory, SetAside, SpoolError};
use super::format::{EntryHeader, Note, Position, SEGMENT_HEADER, SegmentHeader, Walk};
use super::report::SpoolReport;
use super::syncer::Syncer;
use crate::config;
use crate::deliver::counters::{Count, Counters, DropReason};
use crate::health::Part;
use segment::{Segment, look_through, payload, spans, step};

/// A segment is this part of the spool, so that little goes at once when the oldest makes room …
const SEGMENTS: u64 = 16;
/// … but neither smaller …
const LEAST_SEGMENT: u64 = 64 << 10;
/// … nor larger than this.
const LARGEST_SEGMENT: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Store {
    directory: Directory,
    max_octets: u64,
    segment_octets: u64,
    max_age: Duration,
    /// The oldest first; the last is the active one if there is one.
    segments: VecDeque<Segment>,
    /// Files that were set aside when the directory was opened, until they are counted.
    set_aside: Vec<SetAside>,
    active: Option<File>,
    reading: Option<(u64, File)>,
    /// Read, but not settled.
    unsettled: BTreeSet<Position>,
    /// Files that could not be removed, with their octets.
    condemned: Vec<(u64, u64)>,
    note: Note,
    next_number: u64,
    /// Of this run's segments.
    first_number: u64,
    counters: Arc<Counters>,
    syncer: Syncer,
    pub(super) report: SpoolReport,
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
    #[error("the batch is larger than the spool may be (NETFLOW_SPOOL_MAX_SIZE)")]
    TooLarge,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Store {
    /// Takes the directory for this process; what is inside is looked at by [`Store::recover`].
    ///
    /// # Errors
    /// Why it can't be used.
    pub(super) fn open(
        config: &config::Spool,
        counters: Arc<Counters>,
        syncer: Arc<Part>,
    ) -> Result<Self, SpoolError> {
        let (directory, found, set_aside, note) = Directory::open(&config.directory)?;
        let last = found.iter().map(|file| file.header.number).max();
        let last = last.max(set_aside.iter().filter_map(|aside| aside.number).max());
        let next_number = last
            .max(Some(note.settled.segment))
            .map_or(1, |last| last + 1);
        let segments = found
            .into_iter()
            .map(|file| Segment::new(file.header, file.octets))
            .collect();
        Ok(Self {
            directory,
            max_octets: config.max_size,
            segment_octets: (config.max_size / SEGMENTS).clamp(LEAST_SEGMENT, LARGEST_SEGMENT),
            max_age: config.max_age,
            segments,
            set_aside,
            active: None,
            reading: None,
            unsettled: BTreeSet::new(),
            condemned: Vec::new(),
            note,
            next_number,
            first_number: next_number,
            syncer: Syncer::start(&counters, syncer).map_err(SpoolError::Thread)?,
            counters,
            report: SpoolReport::default(),
        })
    }

    /// Counts what an earlier run left and begins where it ended. What is counted as spooled already, for an earlier
    /// thread of this run left it, isn't counted again.
    pub(super) fn recover(&mut self, now: UnixNanos) {
        let (mut batches, mut spans_found, mut damaged) = (0, Count::default(), 0);
        let mut lost = self.lost_aside();
        for segment in &mut self.segments {
            let number = segment.header.number;
            let settled = self.note.settled;
            if number < settled.segment {
                segment.read_to = segment.end;
                continue;
            }
            if number == settled.segment {
                segment.read_to = segment.read_to.max(settled.offset);
            }
            let file = match self.directory.read(number) {
                Ok(file) => file,
                Err(error) => {
                    self.report.unreadable(&error, 1);
                    lost = lost.plus(Lost::ONE);
                    segment.read_to = segment.end;
                    // A later attempt may succeed.
                    self.directory.set_aside(number);
                    continue;
                }
            };
            match look_through(&file, segment) {
                Ok((octets, missing)) => {
                    damaged += octets;
                    lost = lost.plus(missing);
                }
                // What was found before will be read; this may pass.
                Err(error) => {
                    self.report.unreadable(&error, 1);
                    lost = lost.plus(Lost::ONE);
                }
            }
            batches += segment.unread_batches;
            spans_found = spans_found.plus(segment.unread);
        }
        let counters = &self.counters;
        let known = counters.spooled.load();
        let missing = known.minus(spans_found);
        counters.recovered.add(spans_found.minus(known));
        counters.dropped.spool_unreadable.add(missing);
        counters.spooled.subtract(known);
        counters.spooled.add(spans_found);
        let known = counters.spool.batches.swap(batches, Relaxed);
        let new = batches.saturating_sub(known);
        counters.spool.recovered_batches.fetch_add(new, Relaxed);
        counters.recovered.add(lost.spans);
        counters.dropped.spool_unreadable.add(lost.spans);
        counters.spool.read_errors.fetch_add(lost.batches, Relaxed);
        let unreadable = counters.spool.dropped(DropReason::SpoolUnreadable);
        unreadable.fetch_add(lost.batches, Relaxed);
        if batches > 0 || damaged > 0 || lost != Lost::default() {
            SpoolReport::recovered(batches, spans_found, damaged, lost);
        }
        self.directory.bound_damaged(self.max_octets / 4);
        self.tick(now);
        self.make_room(0);
        self.show_size();
    }

    /// What was lost with the files that were set aside when the directory was opened.
    fn lost_aside(&mut self) -> Lost {
        let settled = self.note.settled;
        let mut lost = Lost::default();
        for aside in std::mem::take(&mut self.set_aside) {
            let from = match aside.number {
                Some(number) if number < settled.segment => continue,
                Some(number) if number == settled.segment => settled.offset,
                _ => 0,
            };
            let octets = aside.read(from.max(SEGMENT_HEADER as u64));
            lost = lost.plus(octets.map_or(Lost::ONE, |octets| lost_in(&octets)));
        }
        lost
    }

    /// Whether the directory can be written.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.directory.probe()
    }

    /// Whether batches wait to be read.
    pub(super) fn has_unread(&self) -> bool {
        self.segments.iter().any(|segment| !segment.is_read())
    }

    /// Whether the segment of this batch is still there.
    pub(super) fn holds(&self, position: Position) -> bool {
        let mut segments = self.segments.iter();
        segments.any(|segment| segment.header.number == position.segment)
    }

    /// Writes a batch to the end. The oldest make room for it. Nothing of it is left after an error.
    pub(super) fn append(
        &mut self,
        batch: &EncodedBatch,
        now: UnixNanos,
    ) -> Result<Position, AppendError> {
        let header = EntryHeader::of(batch, now).ok_or(AppendError::TooLarge)?;
        let octets = header.entry_octets();
        if octets + SEGMENT_HEADER as u64 > self.max_octets {
            return Err(AppendError::TooLarge);
        }
        let active = self.segments.back().filter(|_| self.active.is_some());
        if active.is_some_and(|active| active.end + octets > self.segment_octets) {
            self.seal();
        }
        if !self.make_room(octets + SEGMENT_HEADER as u64) {
            return Err(io::Error::from(io::ErrorKind::StorageFull).into());
        }
        if self.active.is_none() {
            self.begin()?;
        }
        let (Some(file), Some(segment)) = (&self.active, self.segments.back_mut()) else {
            return Err(io::Error::from(io::ErrorKind::NotFound).into());
        };
        let offset = segment.end;
        let written = file
            .write_all_at(&header.encode(&segment.header, offset), offset)
            .and_then(|()| {
                file.write_all_at(&batch.octets, offset + super::format::ENTRY_HEADER as u64)
            });
        if let Err(error) = written {
            let cut = file.set_len(offset);
            if offset == SEGMENT_HEADER as u64 {
                self.active = None;
                self.remove_at(self.segments.len() - 1);
            } else if cut.is_err() {
                self.active = None;
            }
            return Err(error.into());
        }
        segment.end = offset + octets;
        segment.add_unread(&header, header.written);
        let counters = &self.counters.spool;
        counters.written_batches.fetch_add(1, Relaxed);
        counters.written_octets.fetch_add(octets, Relaxed);
        counters.batches.fetch_add(1, Relaxed);
        self.show_size();
        Ok(Position {
            segment: segment_number(&self.segments),
            offset,
        })
    }

    /// Notes that the batch just appended goes to a sender from memory, if no other is to be read before it.
    pub(super) fn pass(&mut self, position: Position) -> bool {
        let earlier_unread = {
            let mut earlier = self.segments.iter().rev().skip(1);
            earlier.any(|segment| !segment.is_read())
        };
        let Some(segment) = self.segments.back_mut() else {
            return false;
        };
        let next = segment.header.number == position.segment && segment.read_to == position.offset;
        if earlier_unread || !next || segment.unread_batches != 1 {
            return false;
        }
        segment.read_to = segment.end;
        segment.unread = Count::default();
        segment.unread_batches = 0;
        segment.outstanding += 1;
        self.unsettled.insert(position);
        true
    }

    /// Reads the oldest batch that was not read yet.
    ///
    /// # Errors
    /// What may pass, such as a lack of descriptors. What is unreadable for good is counted and left out.
    pub(super) fn read(&mut self, now: UnixNanos) -> io::Result<Option<(Position, EncodedBatch)>> {
        loop {
            let Some(index) = self.segments.iter().position(|segment| !segment.is_read()) else {
                return Ok(None);
            };
            let number = self.segments[index].header.number;
            let file = match self.reading.take() {
                Some((open, file)) if open == number => file,
                _ => match self.directory.read(number) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        self.lose_rest(index, &error);
                        continue;
                    }
                    Err(error) => return Err(error),
                },
            };
            let segment = &mut self.segments[index];
            let mut walk = Walk::new(segment.header, segment.read_to, segment.end);
            let found = match step(&file, &mut walk) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    self.lose_rest(index, &io::ErrorKind::UnexpectedEof.into());
                    continue;
                }
                Err(error) => {
                    self.lose_rest(index, &error);
                    continue;
                }
            };
            segment.take_unread(&found.header, found.end());
            let too_old = self.is_too_old(self.arrival(number, &found.header), now);
            let read = if too_old {
                Ok(None)
            } else {
                payload(&file, &found)
            };
            self.reading = Some((number, file));
            let octets = match read {
                Ok(Some(octets)) => octets,
                read => {
                    let reason = if too_old {
                        DropReason::SpoolAge
                    } else {
                        let damaged = || io::Error::other("its checksum differs");
                        let error = read.err().unwrap_or_else(damaged);
                        self.counters.spool.read_errors.fetch_add(1, Relaxed);
                        self.report.unreadable(&error, 1);
                        DropReason::SpoolUnreadable
                    };
                    self.lose(spans(&found.header), 1, reason);
                    self.tidy();
                    continue;
                }
            };
            self.segments[index].outstanding += 1;
            let position = Position {
                segment: number,
                offset: found.offset,
            };
            self.unsettled.insert(position);
            let counters = &self.counters.spool;
            counters.replayed_batches.fetch_add(1, Relaxed);
            counters
                .replayed_octets
                .fetch_add(octets.len() as u64, Relaxed);
            let batch = EncodedBatch {
                octets: octets.into(),
                flow_spans: found.header.flow_spans,
                work_spans: found.header.work_spans,
                oldest: found.header.oldest,
                receipt: None,
            };
            return Ok(Some((position, batch)));
        }
    }

    /// These batches are settled: they are not needed any more.
    pub(super) fn settle(&mut self, positions: &[Position]) {
        for position in positions {
            if !self.unsettled.remove(position) {
                continue;
            }
            let mut segments = self.segments.iter_mut();
            if let Some(segment) =
                segments.find(|segment| segment.header.number == position.segment)
            {
                segment.outstanding = segment.outstanding.saturating_sub(1);
            }
        }
        self.tidy();
    }

    /// What time brings: batches that are too old, files that could not be removed.
    pub(super) fn tick(&mut self, now: UnixNanos) {
        let condemned = std::mem::take(&mut self.condemned);
        for (number, octets) in condemned {
            self.remove_file(number, octets);
        }
        for index in (0..self.segments.len()).rev() {
            let segment = &self.segments[index];
            if segment.unread_batches > 0 && self.is_too_old(segment.newest, now) {
                if index + 1 == self.segments.len() {
                    self.active = None;
                }
                self.drop_segment(index, DropReason::SpoolAge);
            }
        }
        self.close_if_settled();
        self.tidy();
        self.close_if_settled();
    }

    /// Brings all to the disk; the end of a run.
    pub(super) fn finish(&mut self) {
        self.close_if_settled();
        self.seal();
        self.tidy();
        self.syncer.finish();
        if let Err(error) = self.directory.sync_note() {
            self.failed_write(&error);
        }
    }

    /// From when the age of an entry counts. What this run wrote is aged by its own clock, for the system's may be stepped
    /// in between; of an earlier run's entries only the system's time of their arrival is known.
    const fn arrival(&self, segment: u64, header: &EntryHeader) -> UnixNanos {
        if segment >= self.first_number {
            header.written
        } else {
            header.oldest
        }
    }

    fn is_too_old(&self, arrived: UnixNanos, now: UnixNanos) -> bool {
        Duration::from_nanos(now.0.saturating_sub(arrived.0)) > self.max_age
    }

    /// Begins a segment.
    fn begin(&mut self) -> io::Result<()> {
        let header = SegmentHeader {
            number: self.next_number,
            salt: rand::random(),
        };
        let file = self.directory.create(&header)?;
        self.next_number += 1;
        self.active = Some(file);
        self.segments
            .push_back(Segment::new(header, SEGMENT_HEADER as u64));
        Ok(())
    }

    /// Ends the active segment and brings it to the disk.
    fn seal(&mut self) {
        if let Some(file) = self.active.take() {
            self.syncer.sync(file);
        }
    }

    /// Drops the oldest segments until so many octets have room; whether they have.
    fn make_room(&mut self, octets: u64) -> bool {
        while self.used() + octets > self.max_octets {
            match self.segments.len() {
                0 => return false,
                1 => self.active = None,
                _ => {}
            }
            self.drop_segment(0, DropReason::SpoolFull);
        }
        true
    }

    fn used(&self) -> u64 {
        let kept = self.segments.iter().map(|segment| segment.end);
        let condemned = self.condemned.iter().map(|(_, octets)| *octets);
        kept.chain(condemned).sum::<u64>() + self.directory.damaged_octets()
    }

    fn drop_segment(&mut self, index: usize, reason: DropReason) {
        let Some(segment) = self.segments.get(index) else {
            return;
        };
        let (unread, batches) = (segment.unread, segment.unread_batches);
        let number = segment.header.number;
        self.remove_at(index);
        self.unsettled.retain(|position| position.segment != number);
        if batches > 0 {
            self.lose(unread, batches, reason);
        }
        self.show_size();
    }

    /// The rest of a segment can't be read.
    fn lose_rest(&mut self, index: usize, error: &io::Error) {
        let segment = &mut self.segments[index];
        segment.read_to = segment.end;
        let unread = std::mem::take(&mut segment.unread);
        let batches = std::mem::take(&mut segment.unread_batches);
        // A torn end has no batch that was ever counted.
        if batches > 0 {
            self.counters.spool.read_errors.fetch_add(1, Relaxed);
            self.report.unreadable(error, batches);
            self.lose(unread, batches, DropReason::SpoolUnreadable);
        }
        self.tidy();
    }

    fn lose(&self, spans: Count, batches: u64, reason: DropReason) {
        self.counters.dropped.by(reason).add(spans);
        self.counters.spooled.subtract(spans);
        let counters = &self.counters.spool;
        counters.batches.fetch_sub(batches, Relaxed);
        counters.dropped(reason).fetch_add(batches, Relaxed);
    }

    /// Removes files that aren't needed any more and notes how far all is settled.
    fn tidy(&mut self) {
        let last = self.segments.len().saturating_sub(1);
        for index in (0..self.segments.len()).rev() {
            let is_active = index == last && self.active.is_some();
            let segment = &self.segments[index];
            if is_active && segment.is_settled() && segment.end > self.segment_octets / 2 {
                self.active = None;
            } else if is_active {
                continue;
            }
            if self.segments[index].is_settled() {
                self.remove_at(index);
            }
        }
        self.show_size();
        let settled = self.settled_to();
        if settled != self.note.settled {
            let note = Note {
                sequence: self.note.sequence + 1,
                settled,
            };
            match self.directory.write_note(&note) {
                Ok(()) => self.note = note,
                Err(error) => self.failed_write(&error),
            }
        }
    }

    /// An active segment whose batches are all settled goes, so that an empty spool takes no room.
    fn close_if_settled(&mut self) {
        if self.segments.back().is_some_and(Segment::is_settled) {
            self.active = None;
        }
        if self.segments.is_empty() {
            self.directory.rest();
        }
    }

    fn settled_to(&self) -> Position {
        let unread = self.segments.iter().find(|segment| !segment.is_read());
        let cursor = match (unread, &self.active, self.segments.back()) {
            (Some(segment), ..) | (None, Some(_), Some(segment)) => Position {
                segment: segment.header.number,
                offset: segment.read_to,
            },
            _ => Position {
                segment: self.next_number,
                offset: 0,
            },
        };
        let unsettled = self.unsettled.first().copied();
        unsettled.map_or(cursor, |unsettled| unsettled.min(cursor))
    }

    fn remove_at(&mut self, index: usize) {
        if let Some(segment) = self.segments.remove(index) {
            self.remove_file(segment.header.number, segment.end);
        }
    }

    fn remove_file(&mut self, number: u64, octets: u64) {
        if self
            .reading
            .as_ref()
            .is_some_and(|(reading, _)| *reading == number)
        {
            self.reading = None;
        }
        match self.directory.remove(number) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                self.failed_write(&error);
                self.condemned.push((number, octets));
            }
        }
    }

    fn failed_write(&mut self, error: &io::Error) {
        self.counters.spool.write_errors.fetch_add(1, Relaxed);
        self.report.trouble(error);
    }

    fn show_size(&self) {
        let counters = &self.counters.spool;
        let show = |gauge: &AtomicU64, value: u64| gauge.store(value, Relaxed);
        show(&counters.octets, self.used());
        show(
            &counters.segments,
            (self.segments.len() + self.condemned.len()) as u64,
        );
    }
}

fn segment_number(segments: &VecDeque<Segment>) -> u64 {
    segments.back().map_or(0, |segment| segment.header.number)
}

#[cfg(test)]
mod tests;
