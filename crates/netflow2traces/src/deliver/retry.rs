//! When to try again: exponential back-off with jitter, and one gate for all requests to a backend.
//! Instants and jitter are arguments; no clock, no I/O.
//!
//! The gate keeps many requests from hammering a backend that is away: after a failure all wait,
//! then one goes alone, and its success lets the others follow.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// Longest delay that a backend may ask for by RetryInfo or Retry-After; more is cut to it.
pub const MAX_REQUESTED_DELAY: Duration = Duration::from_secs(3600);

/// A batch that failed before lets others go first by this much for each failure …
const YIELD_STEP: Duration = Duration::from_millis(50);
/// … up to this many, so that one batch that always fails can't be the only one ever tried.
const MAX_YIELD_STEPS: u32 = 20;

/// Exponential back-off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub initial: Duration,
    /// No delay is longer.
    pub max: Duration,
}

impl Default for Backoff {
    /// A quarter of a second, doubling up to ten seconds: soon enough after a restart of the
    /// backend, and one small probe in ten seconds does no harm.
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(250),
            max: Duration::from_secs(10),
        }
    }
}

impl Backoff {
    /// For a batch that fails while others pass: nothing waits for it.
    pub const ALONE: Self = Self {
        initial: Duration::from_millis(250),
        max: Duration::from_secs(60),
    };

    /// The delay after so many failures in a row, at least 1: between half and the whole of
    /// `initial · 2^(failures − 1)`, which is cut to `max`. `jitter` is in 0..=1.
    #[must_use]
    pub fn delay(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let whole = self.initial.saturating_mul(1 << doublings).min(self.max);
        whole.mul_f64(0.5 + 0.5 * unit(jitter))
    }
}

fn unit(jitter: f64) -> f64 {
    if jitter.is_nan() {
        0.0
    } else {
        jitter.clamp(0.0, 1.0)
    }
}

/// The leave to start one request; goes back to the gate with its outcome.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    epoch: u64,
}

/// The gate's answer to a request that wants to start.
#[derive(Debug)]
pub enum Admission {
    /// Start now.
    Go(Ticket),
    /// Ask again then.
    At(Instant),
    /// Another request tries the backend; ask again when it has returned.
    AfterProbe,
}

/// Decides for all requests to one backend when they may start.
#[derive(Debug)]
pub struct Gate {
    backoff: Backoff,
    /// Failures in a row since the last answer.
    failures: u32,
    /// Changes with every failure that counted and with every answer: what was started earlier says
    /// nothing about the state after.
    epoch: u64,
    /// Nothing starts before, while `failures` is not zero.
    closed_until: Option<Instant>,
    /// Nothing starts before, for the backend asked for it.
    throttled_until: Option<Instant>,
    probing: bool,
}

impl Gate {
    #[must_use]
    pub const fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
            epoch: 0,
            closed_until: None,
            throttled_until: None,
            probing: false,
        }
    }

    /// Asks whether a request may start. Every ticket must come back by [`Gate::answered`] or
    /// [`Gate::failed`].
    pub fn admit(&mut self, now: Instant) -> Admission {
        if let Some(until) = self.throttled_until.max(self.closed_until)
            && now < until
        {
            return Admission::At(until);
        }
        if self.failures > 0 {
            if self.probing {
                return Admission::AfterProbe;
            }
            self.probing = true;
        }
        Admission::Go(Ticket { epoch: self.epoch })
    }

    /// The backend answered, be it with a refusal: it is there.
    pub fn answered(&mut self, _ticket: Ticket) {
        self.failures = 0;
        self.closed_until = None;
        self.probing = false;
        self.epoch += 1;
    }

    /// A request has ended without its ticket coming back: another one may try the backend.
    pub const fn forget_probe(&mut self) {
        self.probing = false;
    }

    /// The request failed in a way that is worth another attempt; `attempts` is how often this one
    /// was tried. Returns when it may be tried again at the earliest.
    ///
    /// A delay that the backend asked for takes the place of the back-off; a tenth is added to it
    /// at most, so that many clients don't come back at once.
    pub fn failed(
        &mut self,
        ticket: Ticket,
        attempts: u32,
        asked: Option<Duration>,
        now: Instant,
        jitter: f64,
    ) -> Instant {
        let asked = asked.map(|asked| {
            let asked = asked.min(MAX_REQUESTED_DELAY);
            asked + asked.mul_f64(0.1 * unit(jitter))
        });
        if ticket.epoch == self.epoch {
            self.failures = self.failures.saturating_add(1);
            self.epoch += 1;
            self.probing = false;
            let delay = asked.unwrap_or_else(|| self.backoff.delay(self.failures, jitter));
            self.closed_until = Some(now + delay);
        }
        if let Some(asked) = asked {
            self.throttled_until = self.throttled_until.max(Some(now + asked));
        }
        // After a stale failure the gate may be open: the batch then waits for its own sake.
        let own = now + asked.unwrap_or_else(|| self.backoff.delay(1, jitter));
        let earliest = self
            .throttled_until
            .max(self.closed_until)
            .unwrap_or(own)
            .max(own);
        earliest + YIELD_STEP * attempts.saturating_sub(1).min(MAX_YIELD_STEPS)
    }

    /// The request failed for a reason of its own, while others pass: they don't wait for it. Returns when it may be
    /// tried again at the earliest. While the gate is closed this is a failure as any other.
    pub fn failed_alone(
        &mut self,
        ticket: Ticket,
        attempts: u32,
        now: Instant,
        jitter: f64,
    ) -> Instant {
        if self.failures > 0 {
            return self.failed(ticket, attempts, None, now, jitter);
        }
        now + Backoff::ALONE.delay(attempts, jitter)
    }

    /// Ends the back-off, for there is little time left. A pause that the backend asked for ends too, but then one
    /// request goes alone: if it is refused, the new pause holds.
    pub fn hurry(&mut self) {
        self.closed_until = None;
        if self.throttled_until.take().is_some() {
            self.failures = self.failures.max(1);
        }
    }

    /// Until when the backend asked for a pause, if it did.
    #[must_use]
    pub const fn throttled_until(&self) -> Option<Instant> {
        self.throttled_until
    }

    /// Failures in a row; requests that were in flight together fail as one.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BACKOFF: Backoff = Backoff {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(1),
    };

    /// The only place where the tests take a clock: an origin for arithmetic.
    fn origin() -> Instant {
        Instant::now()
    }

    fn go(gate: &mut Gate, now: Instant) -> Ticket {
        match gate.admit(now) {
            Admission::Go(ticket) => ticket,
            other => panic!("not admitted: {other:?}"),
        }
    }

    #[test]
    fn delays_double_up_to_the_maximum() {
        let delays: Vec<u128> = (1..=6).map(|n| BACKOFF.delay(n, 1.0).as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(BACKOFF.delay(1, 0.0).as_millis(), 50);
    }

    #[test]
    fn requests_in_flight_together_fail_as_one() {
        let (mut gate, start) = (Gate::new(BACKOFF), origin());
        let tickets: Vec<Ticket> = (0..4).map(|_| go(&mut gate, start)).collect();
        for ticket in tickets {
            let _ = gate.failed(ticket, 1, None, start, 1.0);
        }
        assert_eq!(gate.failures(), 1);
        assert!(
            matches!(gate.admit(start), Admission::At(at) if at == start + BACKOFF.delay(1, 1.0))
        );
    }

    #[test]
    fn after_the_back_off_one_goes_alone() {
        let (mut gate, start) = (Gate::new(BACKOFF), origin());
        let ticket = go(&mut gate, start);
        let again = gate.failed(ticket, 1, None, start, 1.0);
        let probe = go(&mut gate, again);
        assert!(matches!(gate.admit(again), Admission::AfterProbe));
        gate.answered(probe);
        let _ = go(&mut gate, again);
        let _ = go(&mut gate, again);
    }

    #[test]
    fn a_failed_probe_doubles_the_wait() {
        let (mut gate, start) = (Gate::new(BACKOFF), origin());
        let ticket = go(&mut gate, start);
        let again = gate.failed(ticket, 1, None, start, 1.0);
        let probe = go(&mut gate, again);
        let _ = gate.failed(probe, 1, None, again, 1.0);
        assert!(
            matches!(gate.admit(again), Admission::At(at) if at == again + Duration::from_millis(200))
        );
    }

    #[test]
    fn a_pause_that_the_backend_asked_for_is_cut_short_in_a_hurry_for_one_attempt() {
        let (mut gate, start) = (Gate::new(BACKOFF), origin());
        let (first, second) = (go(&mut gate, start), go(&mut gate, start));
        let asked = Duration::from_secs(7);
        assert!(gate.failed(first, 1, Some(asked), start, 0.0) >= start + asked);
        gate.answered(second);
        assert!(matches!(gate.admit(start), Admission::At(at) if at >= start + asked));
        gate.hurry();
        let probe = go(&mut gate, start);
        assert!(matches!(gate.admit(start), Admission::AfterProbe));
        let again = gate.failed(probe, 2, Some(asked), start, 0.0);
        assert!(again >= start + asked);
        assert!(matches!(gate.admit(start), Admission::At(at) if at >= start + asked));
    }

    #[test]
    fn a_batch_that_fails_alone_closes_the_gate_for_nobody() {
        let (mut gate, start) = (Gate::new(BACKOFF), origin());
        let ticket = go(&mut gate, start);
        let again = gate.failed_alone(ticket, 3, start, 1.0);
        assert_eq!(again, start + Backoff::ALONE.delay(3, 1.0));
        let _ = go(&mut gate, start);
        let _ = go(&mut gate, start);
    }

    #[test]
    fn a_hurry_ends_the_back_off() {
        let (mut gate, start) = (Gate::new(BACKOFF), origin());
        let ticket = go(&mut gate, start);
        let _ = gate.failed(ticket, 1, None, start, 1.0);
        gate.hurry();
        let _ = go(&mut gate, start);
    }

    #[test]
    fn a_batch_that_keeps_failing_lets_others_go_first() {
        let (mut gate, start) = (Gate::new(BACKOFF), origin());
        let ticket = go(&mut gate, start);
        let again = gate.failed(ticket, 5, None, start, 1.0);
        assert_eq!(again, start + BACKOFF.delay(1, 1.0) + YIELD_STEP * 4);
        let _ = go(&mut gate, start + BACKOFF.delay(1, 1.0));
    }

    proptest! {
        #[test]
        fn delays_keep_their_bounds(failures in 0u32.., jitter in -1.0f64..2.0) {
            let delay = BACKOFF.delay(failures, jitter);
            prop_assert!(delay >= BACKOFF.initial / 2);
            prop_assert!(delay <= BACKOFF.max);
        }

        /// Whatever happens, the gate opens in bounded time and lets exactly one go first.
        #[test]
        fn the_gate_always_opens_again(
            steps in proptest::collection::vec((any::<bool>(), proptest::option::of(0u64..10_000)), 1..50),
        ) {
            let (mut gate, mut now) = (Gate::new(BACKOFF), origin());
            for (fails, asked) in steps {
                let ticket = match gate.admit(now) {
                    Admission::Go(ticket) => ticket,
                    Admission::At(at) => {
                        prop_assert!(at <= now + MAX_REQUESTED_DELAY.mul_f64(1.1));
                        now = at;
                        go(&mut gate, now)
                    }
                    Admission::AfterProbe => return Err(TestCaseError::fail("no probe is out")),
                };
                if fails {
                    let asked = asked.map(Duration::from_millis);
                    let again = gate.failed(ticket, 1, asked, now, 0.5);
                    prop_assert!(again >= now + asked.unwrap_or_default());
                    prop_assert!(gate.failures() > 0);
                } else {
                    gate.answered(ticket);
                    prop_assert_eq!(gate.failures(), 0);
                }
            }
        }
    }
}
