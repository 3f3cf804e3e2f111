//! How large a request may be: what the backend stated, and the outcomes of previous requests. Instants are arguments;
//! no clock, no I/O.
//!
//! A device on the way may let small requests through and let large ones die (a reset, a 502, silence). From outside this
//! looks like an outage, so that after two failures the next request is a small one. When small ones pass and larger ones
//! die again, the limit between them is learned; it doubles again after each minute without such a failure. A batch
//! that dies again and again although larger ones pass has something inside that can't pass: it is cut until only that
//! is left.
#![deny(clippy::disallowed_methods)]

use std::time::{Duration, Instant};

/// A limit stated or learned is never lower for new batches: a refusal for another reason must not make every
/// request tiny. Requests that are refused or die get smaller even so.
pub(super) const LEAST_LIMIT: usize = 64 << 10;
/// No request that dies is cut below this for its size.
const LEAST_LEARNED: usize = 4 << 10;
/// After so many failures in a row a request has at most so many octets. A single one may be a hiccup.
const PROBES: [(u32, usize); 3] = [(6, 4 << 10), (4, 16 << 10), (2, 64 << 10)];
/// A learned limit doubles after so long without a failure that confirms it.
const RAISED_EACH: Duration = Duration::from_secs(60);
/// So often a batch fails, while others pass, before its content is suspected and not its size.
const TIMES: u32 = 3;

/// What a batch has gone through; its pieces inherit it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct History {
    /// Failures so far.
    pub(super) failures: u32,
    /// How many requests had passed at the last of them.
    passed: u64,
    /// It fails while others pass: only one such batch is tried at a time.
    pub(super) suspect: bool,
    /// The task that sent it panicked.
    pub(super) panicked: bool,
}

impl History {
    /// Of a batch that goes back because its task panicked.
    pub(super) const fn after_panic(self) -> Self {
        Self {
            panicked: true,
            ..self
        }
    }

    /// Of the halves of a batch that was cut for its content: one of them is likely to fail again.
    pub(super) const fn of_halves(self) -> Self {
        Self {
            failures: TIMES - 1,
            ..self
        }
    }

    /// Of a batch that hasn't failed, but may.
    pub(super) const fn on_trial(self) -> Self {
        Self {
            suspect: true,
            ..self
        }
    }
}

/// What a failure says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Nothing passes, as far as known: the backend may be away.
    Away,
    /// Others pass, this one does not, for its size: the limit that was learned.
    TooLarge(usize),
    /// Others pass, this one does not, whatever its size.
    Content,
}

/// The limits of requests to one backend.
#[derive(Debug)]
pub(super) struct Sizes {
    configured: usize,
    /// The least limit that the backend stated or refused.
    stated: usize,
    /// The largest request that the backend accepted.
    largest: usize,
    /// Learned from requests that died, and when it last changed.
    learned: Option<(usize, Instant)>,
    /// The largest request that passed since one not larger died.
    proven: usize,
    /// Requests that passed.
    passed: u64,
    /// Requests that died since, one after the other.
    deaths: u32,
    last_death: Option<Death>,
}

#[derive(Clone, Copy, Debug)]
struct Death {
    octets: usize,
    /// Requests that had passed by then.
    passed: u64,
    at: Instant,
}

impl Sizes {
    pub(super) const fn new(configured: usize) -> Self {
        Self {
            configured,
            stated: usize::MAX,
            largest: 0,
            learned: None,
            proven: 0,
            passed: 0,
            deaths: 0,
            last_death: None,
        }
    }

    /// Octets of new batches.
    pub(super) fn limit(&self) -> usize {
        let learned = self.learned.map_or(usize::MAX, |(limit, _)| limit);
        learned
            .min(self.stated)
            .max(LEAST_LIMIT)
            .min(self.configured)
    }

    /// Octets of the next request; a larger one is to be cut.
    pub(super) fn allowed(&self) -> usize {
        let probe = PROBES
            .iter()
            .find(|(deaths, _)| self.deaths >= *deaths)
            .map_or(usize::MAX, |(_, octets)| *octets);
        let learned = self.learned.map_or(usize::MAX, |(limit, _)| limit);
        let stated = if self.stated < self.configured {
            self.stated
        } else {
            usize::MAX
        };
        probe.min(learned).min(stated)
    }

    /// Whether a request of this size may die, as larger ones did.
    pub(super) fn is_trial(&self, octets: usize) -> bool {
        self.learned.is_some() && octets > self.proven
    }

    /// What is left of a history when others of the same batch are to go on: one that was suspected for its size is
    /// free when as large a request has passed.
    pub(super) fn relieved(&self, history: History, octets: usize) -> History {
        let is_proven = self.learned.is_some() && octets <= self.proven;
        History {
            suspect: history.suspect && !is_proven,
            ..history
        }
    }

    /// A request was answered, be it with a refusal: no device on the way lets it die.
    pub(super) fn answered(&mut self, octets: usize, now: Instant) {
        self.deaths = 0;
        self.passed += 1;
        self.proven = self.proven.max(octets);
        if let Some((limit, since)) = self.learned
            && now.saturating_duration_since(since) >= RAISED_EACH
        {
            let raised = limit.saturating_mul(2);
            self.learned = (raised < self.configured).then_some((raised, now));
        }
    }

    /// The backend accepted a request.
    pub(super) fn accepted(&mut self, octets: usize) {
        self.largest = self.largest.max(octets);
    }

    /// A request was refused as too large: the next ones are as large as the backend states, else half, but not smaller
    /// than what it accepted before. The new limit, if it is lower.
    pub(super) fn refused(&mut self, octets: usize, stated: Option<usize>) -> Option<usize> {
        let before = self.limit();
        let known = if self.largest < octets {
            self.largest
        } else {
            0
        };
        let limit = stated.unwrap_or(octets / 2).max(known).max(LEAST_LIMIT);
        self.stated = self.stated.min(limit);
        (self.limit() < before).then(|| self.limit())
    }

    /// A request that `started` then died without an answer that says why; `history` is that of its batch, and is
    /// continued.
    pub(super) fn died(
        &mut self,
        octets: usize,
        history: &mut History,
        started: Instant,
        now: Instant,
    ) -> Verdict {
        // Requests that were under way together fail as one.
        if self.deaths == 0 || self.last_death.is_none_or(|last| last.at <= started) {
            self.deaths = self.deaths.saturating_add(1);
        }
        let proven = self.proven;
        self.proven = proven.min(octets.saturating_sub(1));
        let others_passed = history.failures > 0 && self.passed > history.passed;
        let large_died = self
            .last_death
            .is_some_and(|last| last.octets > proven && self.passed > last.passed);
        self.last_death = Some(Death {
            octets,
            passed: self.passed,
            at: now,
        });
        history.failures = history.failures.saturating_add(1);
        history.passed = self.passed;
        if (others_passed || large_died) && octets > proven && octets > LEAST_LEARNED {
            // Others pass: the next request needn't be small.
            self.deaths = 0;
            // Halfway between what passes and what doesn't, as sizes go.
            let passes = proven.max(LEAST_LEARNED);
            let between = (octets as f64 * passes as f64).sqrt() as usize;
            let limit = between.clamp(LEAST_LEARNED, octets - 1);
            let limit = self.learned.map_or(limit, |(known, _)| known.min(limit));
            self.learned = Some((limit, now));
            history.suspect = true;
            return Verdict::TooLarge(limit);
        }
        if !others_passed || history.failures < TIMES {
            return Verdict::Away;
        }
        self.deaths = 0;
        history.suspect = true;
        Verdict::Content
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIGURED: usize = 2 << 20;

    /// The only place where the tests take a clock: an origin for arithmetic.
    fn origin() -> Instant {
        Instant::now()
    }

    #[test]
    fn after_two_failures_the_next_request_is_small_and_after_an_answer_it_is_not() {
        let (mut sizes, now) = (Sizes::new(CONFIGURED), origin());
        assert_eq!(sizes.allowed(), usize::MAX);
        let mut seen = Vec::new();
        for _ in 0..7 {
            let verdict = sizes.died(CONFIGURED, &mut History::default(), now, now);
            assert_eq!(verdict, Verdict::Away);
            seen.push(sizes.allowed().min(CONFIGURED) >> 10);
        }
        assert_eq!(seen, [2048, 64, 64, 16, 16, 4, 4]);
        sizes.answered(4 << 10, now);
        assert_eq!(sizes.allowed(), usize::MAX);
        assert_eq!(sizes.limit(), CONFIGURED);
    }

    #[test]
    fn requests_that_were_under_way_together_fail_as_one() {
        let (mut sizes, start) = (Sizes::new(CONFIGURED), origin());
        let later = start + Duration::from_secs(1);
        for _ in 0..4 {
            sizes.died(CONFIGURED, &mut History::default(), start, later);
        }
        assert_eq!(sizes.allowed(), usize::MAX);
        sizes.died(CONFIGURED, &mut History::default(), later, later);
        assert_eq!(sizes.allowed(), 64 << 10);
    }

    #[test]
    fn the_limit_between_what_passes_and_what_dies_is_learned() {
        let (mut sizes, now) = (Sizes::new(CONFIGURED), origin());
        let true_limit = 200_000;
        let mut history = History::default();
        sizes.died(CONFIGURED, &mut history, now, now);
        sizes.answered(64 << 10, now);
        let mut octets = CONFIGURED;
        let mut failures = 0;
        while octets > true_limit {
            let verdict = sizes.died(octets, &mut history, now, now);
            assert!(matches!(verdict, Verdict::TooLarge(limit) if limit < octets));
            octets = sizes.allowed();
            sizes.answered(1000, now);
            failures += 1;
        }
        assert!(failures <= 3, "{failures}");
        assert!(octets > 64 << 10);
        assert!(sizes.is_trial(octets));
        sizes.answered(octets, now);
        assert!(!sizes.is_trial(octets));
    }

    #[test]
    fn a_learned_limit_doubles_after_each_minute() {
        let (mut sizes, start) = (Sizes::new(CONFIGURED), origin());
        let mut history = History::default();
        sizes.died(CONFIGURED, &mut history, start, start);
        sizes.answered(400_000, start);
        sizes.died(CONFIGURED, &mut history, start, start);
        let learned = sizes.limit();
        assert!(learned < CONFIGURED / 2, "{learned}");
        sizes.answered(1000, start + RAISED_EACH / 2);
        assert_eq!(sizes.limit(), learned);
        sizes.answered(1000, start + RAISED_EACH);
        assert_eq!(sizes.limit(), learned * 2);
        sizes.answered(1000, start + RAISED_EACH * 3 / 2);
        assert_eq!(sizes.limit(), learned * 2);
        sizes.answered(1000, start + RAISED_EACH * 2);
        assert_eq!(sizes.limit(), CONFIGURED);
        assert_eq!(sizes.allowed(), usize::MAX);
    }

    #[test]
    fn a_batch_that_dies_though_larger_ones_pass_is_suspected_for_its_content() {
        let (mut sizes, now) = (Sizes::new(CONFIGURED), origin());
        let mut history = History::default();
        for attempt in 1..=TIMES {
            sizes.answered(CONFIGURED, now);
            let verdict = sizes.died(1000, &mut history, now, now);
            if attempt < TIMES {
                assert_eq!(verdict, Verdict::Away);
            } else {
                assert_eq!(verdict, Verdict::Content);
            }
            assert_eq!(history.suspect, attempt == TIMES);
        }
        assert_eq!(sizes.limit(), CONFIGURED);
    }

    #[test]
    fn an_outage_teaches_no_limit() {
        let (mut sizes, now) = (Sizes::new(CONFIGURED), origin());
        let mut history = History::default();
        for _ in 0..20 {
            assert_eq!(
                sizes.died(CONFIGURED, &mut history, now, now),
                Verdict::Away
            );
        }
        sizes.answered(1000, now);
        sizes.answered(CONFIGURED, now);
        assert_eq!(sizes.limit(), CONFIGURED);
    }

    #[test]
    fn a_refusal_teaches_what_the_backend_states_or_half_and_never_less_than_it_accepts() {
        let mut sizes = Sizes::new(CONFIGURED);
        assert_eq!(sizes.refused(CONFIGURED, None), Some(CONFIGURED / 2));
        assert_eq!(sizes.refused(CONFIGURED / 2, Some(900_000)), Some(900_000));
        sizes.accepted(800_000);
        assert_eq!(sizes.refused(900_000, None), Some(800_000));
        assert_eq!(sizes.refused(700_000, Some(100)), Some(LEAST_LIMIT));
        assert_eq!(sizes.refused(700_000, Some(100)), None);
        assert_eq!(sizes.allowed(), LEAST_LIMIT);
    }

    proptest! {
        /// Whatever passes and dies, limits keep their bounds, and silence about sizes lifts a learned one.
        #[test]
        fn limits_keep_their_bounds(
            steps in proptest::collection::vec((any::<bool>(), 0usize..3 << 20), 1..100),
        ) {
            let (mut sizes, mut now) = (Sizes::new(CONFIGURED), origin());
            let mut history = History::default();
            for (dies, octets) in steps {
                if dies {
                    sizes.died(octets, &mut history, now, now);
                } else {
                    sizes.answered(octets, now);
                    history = History::default();
                }
                prop_assert!((LEAST_LIMIT..=CONFIGURED).contains(&sizes.limit()));
                prop_assert!(sizes.allowed() >= LEAST_LEARNED);
            }
            for _ in 0..20 {
                now += RAISED_EACH;
                sizes.answered(0, now);
            }
            prop_assert_eq!(sizes.limit(), CONFIGURED);
            prop_assert_eq!(sizes.allowed(), usize::MAX);
        }
    }
}
