//! The UDP payloads of a capture, replayed: as they are, at the capture's pace, at a rate, or at once.
//!
//! Exporters stay apart: each source of the capture gets a socket of its own, and where the target is loopback
//! each of its addresses an address of loopback, both in the order they come.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use otlp_wire::UnixNanos;

use super::connections::Transport;
use super::outlet::Outlet;
use super::pace::Pace;
use super::progress::{Goal, Progress};
use super::stop::Stop;
use super::totals::{Sent, Totals};
use super::{Options, ReplayOptions, ReplayPace, address_of, has_addresses};
use crate::capture::{Capture, UdpPayload};

/// Sources with sockets of their own; those that come after share the last one. Most systems allow a process 1,024
/// open files.
const MAX_SOCKETS: usize = 512;

/// # Errors
/// When the file can't be read at all, or there is no way to the target.
pub(super) fn run(
    options: &Options,
    replay: &ReplayOptions,
    stop: &Stop,
) -> anyhow::Result<Totals> {
    let file = &replay.file;
    let name = || format!("{} can't be read", file.display());
    let reader: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).with_context(name)?)
    };
    let mut capture = Capture::open(reader).with_context(name)?;
    let started = Instant::now();
    let end = options.duration.map(|duration| started + duration);
    let goal = options.duration.map_or(Goal::Endless, Goal::Time);
    let mut progress = Progress::new(goal, options.transport.units(), options.quiet, started);
    let mut schedule = Schedule::new(replay.pace, started);
    let mut sources = Sources::new(options);
    let mut totals = Totals {
        transport: options.transport.clone(),
        ..Totals::default()
    };
    let mut sent = 0;
    'file: loop {
        let payload = match capture.next_payload() {
            Ok(Some(payload)) => payload,
            Ok(None) => break,
            Err(error) => {
                totals.failure = Some(format!("{} can't be read further: {error}", file.display()));
                break;
            }
        };
        let is_chosen = replay.ports.is_empty()
            || payload
                .addresses
                .is_none_or(|(_, to)| replay.ports.contains(&to.port()));
        if !is_chosen {
            continue;
        }
        if payload.is_cut {
            totals.cut += 1;
            continue;
        }
        if options.transport != Transport::Udp && !is_ipfix(payload.octets) {
            totals.not_ipfix += 1;
            continue;
        }
        loop {
            let now = Instant::now();
            progress.show(sent, now);
            if stop.is_asked() || end.is_some_and(|end| now >= end) {
                break 'file;
            }
            let Some(wait) = schedule.wait(payload.at, sent, now) else {
                break;
            };
            let left = end.map_or(wait, |end| end.saturating_duration_since(now));
            if stop.wait(wait.min(left).min(progress.patience())) {
                break 'file;
            }
        }
        match sources.send(&payload) {
            Ok(true) => progress.nobody_listens(options.target),
            Ok(false) => {}
            Err(error) => {
                totals.failure = Some(format!("{} could not be sent to: {error}", options.target));
                break;
            }
        }
        sent += 1;
    }
    progress.end();
    totals.elapsed = started.elapsed();
    totals.missed = schedule.missed();
    (totals.by_exporter, totals.refused) = sources.end();
    Ok(totals)
}

/// Only IPFIX says how long a message is, as a connection needs it.
fn is_ipfix(octets: &[u8]) -> bool {
    let says_length = |octets: &[u8]| {
        let length = octets.get(2..4)?.first_chunk()?;
        Some(usize::from(u16::from_be_bytes(*length)) == octets.len())
    };
    octets.starts_with(&[0, 10]) && says_length(octets) == Some(true)
}

/// When a payload is due.
struct Schedule {
    pace: ReplayPace,
    even: Pace,
    /// What the capture's first time is here.
    origin: Option<(UnixNanos, Instant)>,
}

impl Schedule {
    fn new(pace: ReplayPace, now: Instant) -> Self {
        let rate = match pace {
            ReplayPace::Rate(rate) => Some(rate),
            ReplayPace::Original | ReplayPace::AtOnce => None,
        };
        Self {
            pace,
            even: Pace::new(rate, now),
            origin: None,
        }
    }

    /// How long to wait with a payload that was captured then, after so many others.
    fn wait(&mut self, at: Option<UnixNanos>, sent: u64, now: Instant) -> Option<Duration> {
        if self.pace != ReplayPace::Original {
            return self.even.wait(sent, now);
        }
        // What has no time follows at once, and so does what was captured earlier than the first.
        let at = at?;
        let (first, origin) = *self.origin.get_or_insert((at, now));
        let due = origin + Duration::from_nanos(at.0.saturating_sub(first.0));
        (due > now).then(|| due - now)
    }

    fn missed(&self) -> Duration {
        self.even.missed()
    }
}

/// A socket for each source of the capture.
struct Sources<'a> {
    options: &'a Options,
    outlets: Vec<(Option<SocketAddr>, Outlet)>,
    /// In the order that they came.
    addresses: Vec<IpAddr>,
    sent: Vec<Sent>,
}

impl<'a> Sources<'a> {
    fn new(options: &'a Options) -> Self {
        Self {
            options,
            outlets: Vec::new(),
            addresses: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Whether nobody listens is the answer to what its source sent before.
    fn send(&mut self, payload: &UdpPayload<'_>) -> io::Result<bool> {
        let source = payload.addresses.map(|(source, _)| source);
        let number = self.number(source)?;
        let (Some((_, socket)), Some(sent)) =
            (self.outlets.get_mut(number), self.sent.get_mut(number))
        else {
            return Ok(false);
        };
        socket.send(payload.octets, payload.octets.len(), None)?;
        sent.datagrams += 1;
        sent.octets += payload.octets.len() as u64;
        Ok(socket.has_refused())
    }

    /// The number of the source's socket, which is made if it has none yet.
    fn number(&mut self, source: Option<SocketAddr>) -> io::Result<usize> {
        let known = self.outlets.iter().position(|(of, _)| *of == source);
        if let Some(number) = known {
            return Ok(number);
        }
        if self.outlets.len() == MAX_SOCKETS {
            return Ok(MAX_SOCKETS - 1);
        }
        let own = match source {
            Some(source) if has_addresses(self.options.target) => {
                let known = self.addresses.iter().position(|ip| *ip == source.ip());
                let number = known.unwrap_or_else(|| {
                    self.addresses.push(source.ip());
                    self.addresses.len() - 1
                });
                Some(address_of(number as u32))
            }
            _ => None,
        };
        let socket = Outlet::open(self.options, own).map_err(io::Error::other)?;
        let name = match (source, socket.local_address()) {
            (Some(source), Ok(local)) => format!("{source} from {local}"),
            (Some(source), Err(_)) => source.to_string(),
            (None, _) => "the file".to_owned(),
        };
        self.outlets.push((source, socket));
        self.sent.push(Sent {
            name,
            ..Sent::default()
        });
        Ok(self.outlets.len() - 1)
    }

    fn end(mut self) -> (Vec<Sent>, u64) {
        let refused = self.outlets.iter_mut().map(|(_, socket)| socket.refused());
        let refused = refused.sum();
        (self.sent, refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_capture_keeps_its_own_pace() {
        let start = Instant::now();
        let mut schedule = Schedule::new(ReplayPace::Original, start);
        let at = |seconds: u64| {
            Some(UnixNanos(
                1_700_000_000_000_000_000 + seconds * 1_000_000_000,
            ))
        };
        assert_eq!(schedule.wait(at(10), 0, start), None);
        assert_eq!(schedule.wait(at(13), 1, start + SECOND), Some(2 * SECOND));
        assert_eq!(schedule.wait(at(13), 1, start + 3 * SECOND), None);
        assert_eq!(schedule.wait(at(12), 2, start + 3 * SECOND), None);
        assert_eq!(schedule.wait(None, 3, start), None);
    }

    #[test]
    fn at_once_and_at_a_rate_the_captures_times_do_not_matter() {
        let start = Instant::now();
        let late = Some(UnixNanos(u64::MAX));
        let mut at_once = Schedule::new(ReplayPace::AtOnce, start);
        assert_eq!(at_once.wait(late, 9, start), None);
        let mut even = Schedule::new(ReplayPace::Rate(2.0), start);
        assert_eq!(even.wait(late, 4, start), Some(2 * SECOND));
    }
}
