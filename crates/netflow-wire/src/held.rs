//! Sets whose Template hasn't come yet: kept, in octets and time bounded, until it does.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::Limits;
use crate::message::Header;
use crate::session::Session;
use crate::template_cache::TemplateKey;

/// A Set of Data Records without its Template, with what its message and its datagram said.
///
/// `C` is what the caller wants back with it, its arrival for example.
#[derive(Clone, Debug)]
pub struct HeldSet<C> {
    /// The Template it waits for.
    pub key: TemplateKey,
    /// Of its message.
    pub header: Header,
    /// Where it began in its datagram.
    pub offset: usize,
    /// Behind the Set header.
    pub body: Box<[u8]>,
    /// The caller's.
    pub context: C,
    since: Instant,
}

/// The Sets of one exporter that wait, oldest first.
#[derive(Debug)]
pub(crate) struct HeldSets<C> {
    sets: VecDeque<HeldSet<C>>,
    octets: usize,
}

impl<C> Default for HeldSets<C> {
    fn default() -> Self {
        Self {
            sets: VecDeque::new(),
            octets: 0,
        }
    }
}

impl<C> HeldSets<C> {
    /// Takes a Set in; the oldest make room for it and are given to `dropped`.
    pub(crate) fn hold(
        &mut self,
        set: HeldSet<C>,
        limits: &Limits,
        mut dropped: impl FnMut(HeldSet<C>),
    ) {
        if set.body.len() > limits.max_held_octets || limits.max_held_sets == 0 {
            dropped(set);
            return;
        }
        self.octets += set.body.len();
        self.sets.push_back(set);
        while self.octets > limits.max_held_octets || self.sets.len() > limits.max_held_sets {
            let Some(oldest) = self.sets.pop_front() else {
                break;
            };
            self.octets -= oldest.body.len();
            dropped(oldest);
        }
    }

    /// Gives those that have waited too long to `dropped`.
    pub(crate) fn expire(
        &mut self,
        now: Instant,
        limits: &Limits,
        mut dropped: impl FnMut(HeldSet<C>),
    ) {
        while let Some(oldest) = self.sets.front() {
            if now.saturating_duration_since(oldest.since) <= limits.max_held_age {
                break;
            }
            if let Some(oldest) = self.sets.pop_front() {
                self.octets -= oldest.body.len();
                dropped(oldest);
            }
        }
    }

    /// Gives those of a session that has ended to `dropped`.
    pub(crate) fn end_session(&mut self, session: Session, mut dropped: impl FnMut(HeldSet<C>)) {
        while let Some(set) = self.take(|set| set.key.session == session) {
            dropped(set);
        }
    }

    /// Takes the first Set out for which `ready` holds.
    pub(crate) fn take(&mut self, ready: impl FnMut(&HeldSet<C>) -> bool) -> Option<HeldSet<C>> {
        let index = self.sets.iter().position(ready)?;
        let set = self.sets.remove(index)?;
        self.octets -= set.body.len();
        Some(set)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &HeldSet<C>> {
        self.sets.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }

    pub(crate) fn octets(&self) -> usize {
        self.octets
    }
}

impl<C> HeldSet<C> {
    pub(crate) fn new(
        key: TemplateKey,
        header: Header,
        offset: usize,
        body: &[u8],
        context: C,
        since: Instant,
    ) -> Self {
        Self {
            key,
            header,
            offset,
            body: body.into(),
            context,
            since,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::Version;

    const LIMITS: Limits = Limits {
        max_fields: 0,
        max_empty_fields: 0,
        max_templates: 0,
        max_template_fields: 0,
        template_lifetime: Duration::ZERO,
        max_held_sets: 3,
        max_held_octets: 10,
        max_held_age: Duration::from_secs(60),
    };

    fn set(id: u16, octets: usize, since: Instant) -> HeldSet<()> {
        let key = TemplateKey {
            session: Session::udp(1),
            version: Version::V9,
            domain: 0,
            id,
        };
        let header = Header {
            version: Version::V9,
            count: 0,
            sys_uptime_ms: None,
            export_time: 0,
            sequence: None,
            observation_domain: 0,
            sampling: None,
        };
        HeldSet::new(key, header, 20, &vec![7; octets], (), since)
    }

    /// Holds Sets of (id, octets); returns the ids of those dropped.
    fn hold(held: &mut HeldSets<()>, sets: &[(u16, usize)]) -> Vec<u16> {
        let mut dropped = Vec::new();
        for (id, octets) in sets {
            held.hold(set(*id, *octets, Instant::now()), &LIMITS, |set| {
                dropped.push(set.key.id);
            });
        }
        dropped
    }

    #[test]
    fn the_oldest_makes_room_by_count() {
        let mut held = HeldSets::default();
        let dropped = hold(&mut held, &[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)]);
        assert_eq!(dropped, [1, 2]);
        assert_eq!((held.len(), held.octets()), (3, 3));
    }

    #[test]
    fn the_oldest_make_room_by_octets() {
        let mut held = HeldSets::default();
        assert_eq!(hold(&mut held, &[(1, 5), (2, 5), (3, 6)]), [1, 2]);
        assert_eq!((held.len(), held.octets()), (1, 6));
    }

    #[test]
    fn a_set_larger_than_all_the_room_costs_no_other() {
        let mut held = HeldSets::default();
        assert_eq!(hold(&mut held, &[(1, 5), (2, 11), (3, 5)]), [2]);
        assert_eq!((held.len(), held.octets()), (2, 10));
    }

    #[test]
    fn without_room_nothing_is_held() {
        let mut held = HeldSets::default();
        let none = Limits {
            max_held_sets: 0,
            ..LIMITS
        };
        let mut dropped = 0;
        held.hold(set(1, 1, Instant::now()), &none, |_| dropped += 1);
        assert_eq!((dropped, held.len()), (1, 0));
    }

    #[test]
    fn what_waited_too_long_is_dropped_oldest_first() {
        let (mut held, start) = (HeldSets::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (id, since) in [(1, 0), (2, 10), (3, 20)] {
            held.hold(set(id, 2, at(since)), &LIMITS, |_| panic!("there is room"));
        }
        let mut dropped = Vec::new();
        held.expire(at(60), &LIMITS, |set| dropped.push(set.key.id));
        assert!(dropped.is_empty());
        held.expire(at(71), &LIMITS, |set| dropped.push(set.key.id));
        assert_eq!(dropped, [1, 2]);
        assert_eq!((held.len(), held.octets()), (1, 2));
    }

    #[test]
    fn sets_that_are_ready_come_in_the_order_they_came() {
        let mut held = HeldSets::default();
        hold(&mut held, &[(1, 2), (2, 3), (1, 4)]);
        let mut next = |id| held.take(|set| set.key.id == id).map(|set| set.body.len());
        assert_eq!([next(1), next(1), next(1)], [Some(2), Some(4), None]);
        assert_eq!((held.len(), held.octets()), (1, 3));
    }
}
