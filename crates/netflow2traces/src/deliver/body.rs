//! Request bodies: the octets of a batch as one frame behind an optional short prefix, handed to
//! hyper without a copy.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// What is sent: the batch in the form that the protocol wants, ready to be sent any number of
/// times.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) octets: Bytes,
    /// Whether `octets` are the protobuf request itself, neither transcoded nor compressed.
    pub(super) verbatim: bool,
    /// Whether `octets` went through the configured compression.
    pub(super) compressed: bool,
}

impl Prepared {
    /// The request as it is.
    pub(super) fn verbatim(octets: Bytes) -> Self {
        Self {
            octets,
            verbatim: true,
            compressed: false,
        }
    }
}

/// A body of at most two frames.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    prefix: Option<Bytes>,
    octets: Option<Bytes>,
}

impl Frames {
    pub(super) fn plain(octets: Bytes) -> Self {
        Self {
            prefix: None,
            octets: Some(octets),
        }
    }

    pub(super) fn prefixed(prefix: Bytes, octets: Bytes) -> Self {
        Self {
            prefix: Some(prefix),
            octets: Some(octets),
        }
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.prefix.take().or_else(|| self.octets.take());
        Poll::Ready(next.map(|octets| Ok(Frame::data(octets))))
    }

    fn is_end_stream(&self) -> bool {
        self.prefix.is_none() && self.octets.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let octets = [&self.prefix, &self.octets]
            .into_iter()
            .flatten()
            .map(Bytes::len);
        SizeHint::with_exact(octets.sum::<usize>() as u64)
    }
}
