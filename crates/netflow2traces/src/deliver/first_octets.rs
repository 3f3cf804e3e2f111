//! Remembers the first octets that the backend sent on a connection, below TLS: they show
//! what it really speaks, which the errors of the layers above don't.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};

/// Enough for `HTTP/1.1`, a TLS record header, an HTTP/2 frame header.
const KEPT: usize = 16;

/// The first octets from the backend, empty before there are any.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstOctets(Arc<Mutex<Vec<u8>>>);

/// What a server speaks, by its first octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spoken {
    Nothing,
    Http1,
    Http2,
    Tls,
    Unknown,
}

impl FirstOctets {
    pub(super) fn spoken(&self) -> Spoken {
        spoken(&self.lock())
    }

    /// Adds what came next.
    fn add(&self, octets: &[u8]) {
        self.lock().extend_from_slice(octets);
    }

    /// How many more are of interest.
    fn room(&self) -> usize {
        KEPT.saturating_sub(self.lock().len())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spoken(octets: &[u8]) -> Spoken {
    match octets {
        [] => Spoken::Nothing,
        [b'H', b'T', b'T', b'P', ..] => Spoken::Http1,
        // So far.
        begun if b"HTTP".starts_with(begun) => Spoken::Http1,
        // A TLS record: alert or handshake, version 3.x (RFC 8446 section 5.1).
        [0x15 | 0x16, 0x03, ..] => Spoken::Tls,
        // HTTP/2 servers begin with SETTINGS (4) on stream 0 (RFC 9113 section 3.4); GOAWAY (7) is
        // what some send to another protocol.
        [0, _, _, 4 | 7, _, 0, 0, 0, 0, ..] => Spoken::Http2,
        _ => Spoken::Unknown,
    }
}

/// A connection that notes its first octets.
#[derive(Debug)]
pub(super) struct NotingStream<S> {
    inner: S,
    /// Until all first octets are there.
    first: Option<FirstOctets>,
    /// An error of writing that is held back.
    failed: Option<io::Error>,
}

impl<S: Read + Unpin> NotingStream<S> {
    pub(super) const fn new(inner: S, first: FirstOctets) -> Self {
        Self {
            inner,
            first: Some(first),
            failed: None,
        }
    }

    /// A server that doesn't understand us may answer and close before we have written all: the
    /// write then fails with the answer unread. The error is held back until that is noted; a socket
    /// that can't be written becomes readable at once, if only to say that it is closed.
    fn after_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(Err(error)) = written else {
            return written;
        };
        let Some(first) = &self.first else {
            return Poll::Ready(Err(error));
        };
        let mut octets = [0; KEPT];
        let mut kept = ReadBuf::new(&mut octets);
        match Pin::new(&mut self.inner).poll_read(cx, kept.unfilled()) {
            Poll::Pending => {
                self.failed = Some(error);
                Poll::Pending
            }
            Poll::Ready(_) => {
                first.add(kept.filled());
                self.first = None;
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<S: Read + Unpin> Read for NotingStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(first) = self.first.take().filter(|first| first.room() > 0) else {
            return Pin::new(&mut self.inner).poll_read(cx, cursor);
        };
        let mut octets = [0; KEPT];
        let room = cursor.remaining().min(first.room());
        let mut kept = ReadBuf::new(&mut octets[..room]);
        match Pin::new(&mut self.inner).poll_read(cx, kept.unfilled()) {
            Poll::Ready(read) => read?,
            Poll::Pending => {
                self.first = Some(first);
                return Poll::Pending;
            }
        }
        first.add(kept.filled());
        cursor.put_slice(kept.filled());
        self.first = Some(first);
        Poll::Ready(Ok(()))
    }
}

impl<S: Read + Write + Unpin> Write for NotingStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.inner).poll_write(cx, octets),
        };
        self.after_write(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match self.failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Pin::new(&mut self.inner).poll_write_vectored(cx, slices),
        };
        self.after_write(cx, written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_told_by_their_first_octets() {
        assert_eq!(spoken(b""), Spoken::Nothing);
        assert_eq!(spoken(b"HTTP/1.1 400 Bad"), Spoken::Http1);
        assert_eq!(spoken(b"HT"), Spoken::Http1);
        assert_eq!(spoken(&[0x15, 3, 1, 0, 2, 2, 70]), Spoken::Tls);
        assert_eq!(spoken(&[0, 0, 18, 4, 0, 0, 0, 0, 0]), Spoken::Http2);
        assert_eq!(spoken(b"SSH-2.0-OpenSSH"), Spoken::Unknown);
    }
}
