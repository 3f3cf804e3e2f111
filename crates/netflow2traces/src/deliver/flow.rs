//! The way of a batch from the queue to its end: prepared, admitted, sent, settled; or back to the queue after a
//! failure, so that it holds up no other.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::body::Prepared;
use super::counters::{Count, Counters, DropReason};
use super::in_flight::BatchInFlight;
use super::outcome::{Cause, Outcome, stated_limit};
use super::queue::Later;
use super::report::Report;
use super::retry::{Admission, MAX_REQUESTED_DELAY, Ticket};
use super::sender::Sender;
use super::sizes::Verdict;
use super::{Shared, now};

/// A batch that is not in the form to send after this will never be.
const PREPARED: Duration = Duration::from_secs(60);

/// The outcome of an attempt at a piece.
enum Attempted {
    Settled,
    /// It has become too large before it was sent.
    Again(BatchInFlight),
    /// It was refused as too large.
    Cut(BatchInFlight, BatchInFlight),
    /// It failed, and waits in the queue again.
    Postponed,
}

impl Shared {
    /// Settles a batch, in as many pieces as the backend wants, or gives it back to the queue after a failure.
    pub(super) async fn deliver(&self, slot: usize, in_flight: BatchInFlight) {
        if matches!(self.sender, Sender::Discard) {
            in_flight.discard();
            return;
        }
        let mut pieces = vec![in_flight];
        while let Some(mut piece) = pieces.pop() {
            let octets = piece.batch().octets.len();
            if octets > self.sizes().allowed() {
                match piece.split() {
                    Ok((first, second)) => {
                        self.counters.splits.fetch_add(1, Relaxed);
                        pieces.extend([second, first]);
                        continue;
                    }
                    Err(whole) => piece = *whole,
                }
            }
            let history = piece.history();
            if !history.suspect && self.sizes().is_trial(octets) {
                // Only one such request is under way at a time: others must not wait for it.
                piece.postpone(Later::at(now(), history.on_trial()));
                continue;
            }
            match self.try_piece(slot, piece).await {
                Attempted::Settled => {}
                Attempted::Again(piece) => pieces.push(piece),
                Attempted::Cut(first, second) => pieces.extend([second, first]),
                Attempted::Postponed => {
                    // The oldest first.
                    for piece in pieces.drain(..).rev() {
                        let octets = piece.batch().octets.len();
                        let history = self.sizes().relieved(piece.history(), octets);
                        piece.postpone(Later::at(now(), history));
                    }
                }
            }
        }
    }

    /// One attempt.
    async fn try_piece(&self, slot: usize, in_flight: BatchInFlight) -> Attempted {
        let octets = in_flight.batch().octets.clone();
        let spans = Count::of(in_flight.batch());
        let part = &self.parts[slot];
        part.works(PREPARED);
        let body = match self.sender.prepare(octets.clone()).await {
            Ok(body) => body,
            Err(error) => {
                self.counters.record_error(error.to_string());
                self.report().encoding(&error.to_string(), spans, now());
                in_flight.drop_for(DropReason::Encoding);
                return Attempted::Settled;
            }
        };
        let octets = octets.len();
        part.rests();
        let Some(ticket) = self.admit(octets, spans.all() > 1).await else {
            return Attempted::Again(in_flight);
        };
        if let Some(limit) = self.attempt_limit {
            part.works(limit);
        }
        let started = now();
        let again = in_flight.history().failures > 0;
        let cause = match self.attempt(slot, &body, octets, again).await {
            Outcome::Retry { after, cause } => {
                self.failed(ticket, in_flight, after, &cause, started);
                return Attempted::Postponed;
            }
            Outcome::Accepted => {
                self.answered(ticket, octets, true);
                in_flight.accept_but(0);
                return Attempted::Settled;
            }
            Outcome::Partial {
                rejected_spans,
                message,
            } => {
                self.answered(ticket, octets, true);
                if rejected_spans > 0 {
                    self.counters.partial_successes.fetch_add(1, Relaxed);
                    self.counters
                        .record_error(format!("rejected {rejected_spans} spans: {message}"));
                    self.report().partial(rejected_spans, &message, now());
                } else {
                    self.report().remark(&message, now());
                }
                in_flight.accept_but(rejected_spans);
                return Attempted::Settled;
            }
            Outcome::Rejected { cause } => {
                self.answered(ticket, octets, false);
                self.counters.record_error(cause.to_string());
                self.report().refused(&cause, spans, now());
                in_flight.reject();
                return Attempted::Settled;
            }
            Outcome::TooLarge { cause } => cause,
        };
        self.answered(ticket, octets, false);
        self.counters.record_error(cause.to_string());
        match in_flight.split() {
            Ok((first, second)) => {
                self.counters.splits.fetch_add(1, Relaxed);
                self.refused_as_too_large(octets, &cause, body.verbatim);
                Attempted::Cut(first, second)
            }
            Err(in_flight) => {
                self.report().too_large(&cause, octets, now());
                in_flight.drop_for(DropReason::TooLarge);
                Attempted::Settled
            }
        }
    }

    async fn attempt(&self, slot: usize, body: &Prepared, encoded: usize, again: bool) -> Outcome {
        let counters = &self.counters;
        counters.requests.fetch_add(1, Relaxed);
        if again {
            counters.retries.fetch_add(1, Relaxed);
        }
        counters.octets_encoded.fetch_add(encoded as u64, Relaxed);
        counters
            .octets_sent
            .fetch_add(body.octets.len() as u64, Relaxed);
        counters.requests_in_flight.fetch_add(1, Relaxed);
        let _in_flight = InFlight(counters);
        self.sender.send(slot, body).await
    }

    /// Waits until a request of so many octets may start; `None` if it is to be cut first.
    async fn admit(&self, octets: usize, can_be_cut: bool) -> Option<Ticket> {
        let cut = || can_be_cut && octets > self.sizes().allowed();
        self.admit_unless(cut).await
    }

    /// Waits until a request may start.
    pub(super) async fn admit_any(&self) -> Ticket {
        loop {
            if let Some(ticket) = self.admit_unless(|| false).await {
                return ticket;
            }
        }
    }

    async fn admit_unless(&self, not: impl Fn() -> bool) -> Option<Ticket> {
        loop {
            let changed = self.gate_changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if not() {
                return None;
            }
            let until = match self.gate().admit(now()) {
                Admission::Go(ticket) => return Some(ticket),
                Admission::At(at) => Some(at),
                Admission::AfterProbe => None,
            };
            match until {
                Some(until) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until.into()) => {}
                        () = changed => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// No connection could be made before there was anything to send.
    pub(super) fn not_reached(&self, ticket: Ticket, attempts: u32, cause: &Cause) {
        let now = now();
        let failures = {
            let mut gate = self.gate();
            gate.failed(ticket, attempts, None, now, rand::random());
            gate.failures()
        };
        self.gate_changed.notify_waiters();
        self.counters.failures.fetch_add(1, Relaxed);
        self.counters.record_error(cause.to_string());
        self.counters.backend_away.store(true, Relaxed);
        self.report().away(cause, failures, now);
    }

    /// The backend is there.
    pub(super) fn reached(&self, ticket: Ticket) {
        self.gate().answered(ticket);
        self.gate_changed.notify_waiters();
        if self.counters.backend_away.swap(false, Relaxed) {
            let waiting = self
                .counters
                .queued
                .load()
                .plus(self.counters.in_flight.load());
            self.report().back(waiting, now());
        }
    }

    /// The request failed in a way that is worth another attempt: its batch goes back to the queue.
    fn failed(
        &self,
        ticket: Ticket,
        in_flight: BatchInFlight,
        asked: Option<Duration>,
        cause: &Cause,
        started: Instant,
    ) {
        let now = now();
        let spans = Count::of(in_flight.batch());
        let octets = in_flight.batch().octets.len();
        let mut history = in_flight.history();
        let verdict = match asked {
            None => self.sizes().died(octets, &mut history, started, now),
            // The backend answered: nothing on the way let the request die.
            Some(_) => {
                history.failures = history.failures.saturating_add(1);
                Verdict::Away
            }
        };
        let attempts = history.failures;
        let (from, failures) = {
            let mut gate = self.gate();
            let from = if verdict == Verdict::Away {
                gate.failed(ticket, attempts, asked, now, rand::random())
            } else {
                gate.failed_alone(ticket, attempts, now, rand::random())
            };
            (from, gate.failures())
        };
        self.counters.failures.fetch_add(1, Relaxed);
        self.counters.record_error(cause.to_string());
        if verdict == Verdict::Away || failures > 0 {
            self.counters.backend_away.store(true, Relaxed);
            self.report().away(cause, failures, now);
        }
        if let Some(asked) = asked {
            self.report()
                .paused(asked.min(MAX_REQUESTED_DELAY), cause, now);
        }
        let later = Later {
            from,
            history,
            // Of a single connection such a batch may use half the time.
            pause: match self.slots {
                1 => now.saturating_duration_since(started),
                _ => Duration::ZERO,
            },
        };
        match verdict {
            Verdict::Away => in_flight.postpone(later),
            Verdict::TooLarge(limit) => {
                self.publish_limit();
                self.report().dies(limit, octets, cause, now);
                in_flight.postpone(Later { from: now, ..later });
            }
            Verdict::Content => {
                self.report().fails_alone(spans, attempts, cause, now);
                match in_flight.split() {
                    Ok((first, second)) => {
                        self.counters.splits.fetch_add(1, Relaxed);
                        let history = history.of_halves();
                        first.postpone(Later { history, ..later });
                        second.postpone(Later { history, ..later });
                    }
                    Err(in_flight) => in_flight.postpone(later),
                }
            }
        }
        self.gate_changed.notify_waiters();
    }

    fn answered(&self, ticket: Ticket, octets: usize, accepted: bool) {
        let changed = {
            let mut sizes = self.sizes();
            let before = sizes.limit();
            sizes.answered(octets, now());
            if accepted {
                sizes.accepted(octets);
            }
            sizes.limit() != before
        };
        if changed {
            self.publish_limit();
        }
        self.reached(ticket);
    }

    fn refused_as_too_large(&self, octets: usize, cause: &Cause, verbatim: bool) {
        let stated = if verbatim {
            stated_limit(&cause.text, octets)
        } else {
            None
        };
        let learned = self.sizes().refused(octets, stated);
        if let Some(limit) = learned {
            self.publish_limit();
            Report::learnt(limit, cause);
        }
    }

    /// New batches heed it.
    fn publish_limit(&self) {
        let limit = self.sizes().limit();
        self.limit.store(limit, Relaxed);
    }
}

struct InFlight<'a>(&'a Counters);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.requests_in_flight.fetch_sub(1, Relaxed);
    }
}
