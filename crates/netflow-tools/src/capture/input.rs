//! Octets of a file in order, unpacked if it is gzipped. Memory grows by what was read, never by what is claimed.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::error::CaptureError;

/// Octets that every format is recognised by.
const HEAD: usize = 16;
const GZIP: [u8; 2] = [0x1f, 0x8b];

type Raw<R> = io::Chain<Cursor<Vec<u8>>, BufReader<R>>;

enum Inner<R> {
    Plain(Raw<R>),
    Gzip(Box<BufReader<MultiGzDecoder<Raw<R>>>>),
}

pub(super) struct Input<R> {
    inner: Inner<R>,
    /// Octets read ahead to recognise the format, and how many of them are taken.
    head: Vec<u8>,
    taken: usize,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R) -> Result<Self, CaptureError> {
        let mut reader = BufReader::with_capacity(64 * 1024, reader);
        let mut magic = Vec::new();
        (&mut reader).take(2).read_to_end(&mut magic)?;
        let is_gzip = magic == GZIP;
        let raw = Cursor::new(magic).chain(reader);
        let mut inner = if is_gzip {
            Inner::Gzip(Box::new(BufReader::new(MultiGzDecoder::new(raw))))
        } else {
            Inner::Plain(raw)
        };
        let mut head = Vec::new();
        inner.reader().take(HEAD as u64).read_to_end(&mut head)?;
        Ok(Self {
            inner,
            head,
            taken: 0,
        })
    }

    /// The first octets, as far as there are any, as long as none is taken.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Appends the next `count` octets; `false` if the file ended before them.
    ///
    /// # Errors
    /// When the file ends among them.
    pub(super) fn take(&mut self, count: usize, into: &mut Vec<u8>) -> Result<bool, CaptureError> {
        let before = into.len();
        let ahead = self.head.get(self.taken..).unwrap_or_default();
        let ahead = ahead.get(..count).unwrap_or(ahead);
        into.extend_from_slice(ahead);
        self.taken += ahead.len();
        let rest = (count - ahead.len()) as u64;
        if rest > 0 {
            self.inner.reader().take(rest).read_to_end(into)?;
        }
        match into.len() - before {
            got if got == count => Ok(true),
            0 => Ok(false),
            _ => Err(CaptureError::CutShort),
        }
    }

    /// Like [`take`](Self::take), where the octets must be there.
    pub(super) fn need(&mut self, count: usize, into: &mut Vec<u8>) -> Result<(), CaptureError> {
        match self.take(count, into)? {
            true => Ok(()),
            false if count == 0 => Ok(()),
            false => Err(CaptureError::CutShort),
        }
    }

    /// Leaves octets out, however many they are said to be.
    pub(super) fn skip(&mut self, count: u64) -> Result<(), CaptureError> {
        let ahead =
            (self.head.len() - self.taken).min(usize::try_from(count).unwrap_or(usize::MAX));
        self.taken += ahead;
        let rest = count - ahead as u64;
        let skipped = io::copy(&mut self.inner.reader().take(rest), &mut io::sink())?;
        if skipped < rest {
            return Err(CaptureError::CutShort);
        }
        Ok(())
    }

    /// Appends the next line with its end, cut after `limit` octets; `false` at the end of the file.
    pub(super) fn line(&mut self, limit: usize, into: &mut Vec<u8>) -> Result<bool, CaptureError> {
        let before = into.len();
        let ahead = self.head.get(self.taken..).unwrap_or_default();
        let ahead = match ahead.iter().position(|octet| *octet == b'\n') {
            Some(end) => &ahead[..=end],
            None => ahead,
        };
        into.extend_from_slice(ahead);
        self.taken += ahead.len();
        if into.last() != Some(&b'\n') || into.len() == before {
            let limit = limit as u64;
            match &mut self.inner {
                Inner::Plain(reader) => reader.take(limit).read_until(b'\n', into)?,
                Inner::Gzip(reader) => reader.take(limit).read_until(b'\n', into)?,
            };
        }
        Ok(into.len() > before)
    }
}

impl<R: Read> Inner<R> {
    fn reader(&mut self) -> &mut dyn Read {
        match self {
            Self::Plain(reader) => reader,
            Self::Gzip(reader) => reader,
        }
    }
}

impl<R> fmt::Debug for Input<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let packing = match self.inner {
            Inner::Plain(_) => "plain",
            Inner::Gzip(_) => "gzip",
        };
        f.debug_struct("Input")
            .field("packing", &packing)
            .finish_non_exhaustive()
    }
}
