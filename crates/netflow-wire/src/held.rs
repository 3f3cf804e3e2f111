//! Sets whose Template hasn't come yet: kept, in octets and time bounded, until it does.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::Limits;
use crate::message::Header;
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

    /// Takes the first Set out for which `ready` holds.
    pub(crate) fn take(
        &mut self,
        mut ready: impl FnMut(TemplateKey) -> bool,
    ) -> Option<HeldSet<C>> {
        let index = self.sets.iter().position(|set| ready(set.key))?;
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
