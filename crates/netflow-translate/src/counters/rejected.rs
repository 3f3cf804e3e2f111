//! The last datagrams that could not be used, or not whole, as they came: a bug report's raw material.

use std::collections::VecDeque;
use std::net::SocketAddr;

use netflow_wire::foreign;
use netflow_wire::sflow::{DatagramError, SampleError};
use netflow_wire::{MessageError, SetError};
use otlp_wire::UnixNanos;

use crate::Datagram;

/// Datagrams kept by each worker.
pub const MAX_REJECTED: usize = 32;
/// Octets kept of each: a jumbo frame.
const MAX_OCTETS: usize = 9_216;

/// Why a datagram is here.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(transparent)]
    Sflow(#[from] DatagramError),
    /// The other Sets of the datagram were used.
    #[error(transparent)]
    Set(#[from] SetError),
    /// The other samples of the datagram were used.
    #[error(transparent)]
    Sample(#[from] SampleError),
}

impl Problem {
    fn reason(&self) -> &'static str {
        match self {
            Self::Message(error) => error.reason(),
            Self::Sflow(error) => error.reason(),
            Self::Set(error) => error.reason(),
            Self::Sample(error) => error.reason(),
        }
    }
}

#[derive(Clone, Debug)]
struct Kept {
    octets: Vec<u8>,
    length: usize,
    source: SocketAddr,
    received_at: UnixNanos,
    problem: Problem,
}

/// A datagram that could not be used whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RejectedDatagram {
    /// When it came.
    pub received_at: UnixNanos,
    /// Who sent it.
    pub source: SocketAddr,
    /// A stable word.
    pub reason: &'static str,
    /// A sentence, with the place in the datagram.
    pub problem: String,
    /// Nothing of it was used; else all but a Set or a sample.
    pub whole: bool,
    /// Octets of its payload.
    pub length: usize,
    /// The payload, at most 9,216 octets of it.
    pub octets: Vec<u8>,
}

/// The last [`MAX_REJECTED`] of them. Once it is full it allocates no more.
#[derive(Clone, Debug, Default)]
pub(crate) struct RejectedDatagrams {
    kept: VecDeque<Kept>,
}

impl RejectedDatagrams {
    #[cold]
    pub(crate) fn keep(&mut self, datagram: &Datagram<'_>, problem: Problem) {
        let mut octets = match self.kept.len() {
            MAX_REJECTED => self.kept.pop_front().map(|oldest| oldest.octets),
            _ => None,
        }
        .unwrap_or_default();
        octets.clear();
        let shown = datagram.octets.len().min(MAX_OCTETS);
        octets.extend_from_slice(datagram.octets.get(..shown).unwrap_or_default());
        self.kept.push_back(Kept {
            octets,
            length: datagram.octets.len(),
            source: datagram.source,
            received_at: datagram.received_at,
            problem,
        });
    }

    /// Oldest first.
    pub(crate) fn list(&self) -> Vec<RejectedDatagram> {
        let shown = self.kept.iter().map(|kept| RejectedDatagram {
            received_at: kept.received_at,
            source: kept.source,
            reason: kept.problem.reason(),
            problem: sentence(kept),
            whole: !matches!(kept.problem, Problem::Set(_) | Problem::Sample(_)),
            length: kept.length,
            octets: kept.octets.clone(),
        });
        shown.collect()
    }
}

/// What is wrong, and what else it may be.
fn sentence(kept: &Kept) -> String {
    let problem = &kept.problem;
    let whole = matches!(problem, Problem::Message(_) | Problem::Sflow(_));
    match foreign::guess(&kept.octets, &[kept.source.port()]).filter(|_| whole) {
        Some(foreign) => format!("{problem}; it looks like {}", foreign.name()),
        None => problem.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_large_ones_cut() {
        let mut rejected = RejectedDatagrams::default();
        let large = vec![7; 20_000];
        for port in 0..40 {
            let datagram = Datagram {
                octets: &large,
                source: SocketAddr::from(([192, 0, 2, 1], port)),
                received_at: UnixNanos(u64::from(port)),
            };
            let error = MessageError::UnknownVersion { version: 7777 };
            rejected.keep(&datagram, error.into());
        }
        let list = rejected.list();
        assert_eq!(list.len(), MAX_REJECTED);
        assert_eq!((list[0].source.port(), list[31].source.port()), (8, 39));
        assert_eq!((list[0].length, list[0].octets.len()), (20_000, MAX_OCTETS));
        assert_eq!((list[0].reason, list[0].whole), ("unknown_version", true));
    }
}
