//! What exporters make the worker keep, and which of them give way when that is too much.

use std::cmp::Reverse;
use std::mem::size_of;
use std::net::IpAddr;
use std::sync::Arc;

use netflow_wire::FieldSpecifier;

use super::{Exporter, ExporterTable};
use crate::memory::{Losses, Share, StateBudget};

/// An exporter's places in tables and rows, its address as text, and what the allocator adds to its parts.
const PLACES: usize = 768;
/// A template besides its fields and its plan, a sequence count, a described element, a Set that waits.
const TEMPLATE: usize = 512;
const SEQUENCE: usize = 224;
const TYPE: usize = 192;
const SET: usize = 320;
/// Of what the worker may keep, this part stays free after exporters had to go, so that they don't go one by one.
const SPARE: usize = 8;
/// Exporters seen in fewer different seconds than each of these stand lower.
const RANKS: [u8; 2] = [2, 8];

impl Exporter {
    /// About how many octets it takes, with everything that it has sent.
    fn weigh(&self) -> usize {
        let templates = self.decoder.templates();
        let (sets, octets) = self.decoder.waiting();
        size_of::<Self>()
            + PLACES
            + self.front.octets().len()
            + templates.len() * TEMPLATE
            + templates.fields() * size_of::<FieldSpecifier>()
            + self.compiled
            + self.sequences.len() * SEQUENCE
            + self.metadata.weigh()
            + self.metadata.types.len() * TYPE
            + sets * SET
            + octets
    }

    /// It was never weighed.
    pub(crate) fn is_new(&self) -> bool {
        self.weight == 0
    }

    /// Counts the plans that were compiled for it alone anew: those of templates that have gone are no more.
    pub(crate) fn count_compiled(&mut self) {
        if self.compiled > 0 {
            let templates = self.decoder.templates().iter();
            let plans = templates.filter_map(|(_, known)| known.compiled());
            self.compiled = plans.map(|compiled| compiled.own_octets()).sum();
        }
    }

    /// Those of a low rank give way first.
    fn rank(&self) -> usize {
        let standing = self.standing();
        let above = RANKS.iter().filter(|rank| standing >= **rank).count();
        usize::from(self.proven) * (1 + above)
    }
}

impl ExporterTable {
    /// From here on the exporters share a budget with those of other workers.
    pub(crate) fn share_budget(&mut self, budget: &Arc<StateBudget>) {
        self.share = Share::new(Arc::clone(budget));
    }

    /// The worker keeps so many octets beside its exporters.
    pub(crate) fn beside(&mut self, octets: usize) {
        self.beside = octets;
    }

    /// What the worker may keep.
    pub(crate) fn most(&self) -> usize {
        self.share.most()
    }

    /// Exporters that were forgotten because all together were too heavy.
    pub(crate) fn evicted_for_memory(&self) -> u64 {
        self.evicted_for_memory
    }

    /// Reports what was lost, so that it is warned of.
    pub(crate) fn report(&self, losses: &mut Losses, so_far: [u64; 3], now: std::time::Instant) {
        let [records_cut, lists_cut, rate_limited] = so_far;
        let so_far = [
            records_cut,
            lists_cut,
            rate_limited,
            self.evicted_for_memory,
        ];
        losses.report(so_far, &self.share, now);
    }

    /// Weighs an exporter that may have grown. While all together are too heavy, those give way that are the
    /// least proven, and of these the heaviest; it may be this one.
    #[cold]
    pub(crate) fn settle(&mut self, address: IpAddr) {
        if let Some(exporter) = self.by_address.get_mut(&address) {
            let weight = exporter.weigh();
            self.weight = self.weight - exporter.weight + weight;
            exporter.weight = weight;
        }
        if !self.share.keep(self.weight + self.beside) {
            self.shed();
        }
    }

    /// Weighs all of them anew.
    pub(crate) fn settle_all(&mut self) {
        let mut all = 0;
        for exporter in self.by_address.values_mut() {
            exporter.count_compiled();
            exporter.weight = exporter.weigh();
            all += exporter.weight;
        }
        self.weight = all;
        if !self.share.keep(self.weight + self.beside) {
            self.shed();
        }
    }

    fn shed(&mut self) {
        let most = self.share.most();
        let target = most - most / SPARE;
        let mut all: Vec<_> = self
            .by_address
            .iter()
            .map(|(address, exporter)| (exporter.rank(), Reverse(exporter.weight), *address))
            .collect();
        all.sort_unstable();
        for (_, _, address) in all {
            if self.weight + self.beside <= target || self.by_address.len() <= 1 {
                break;
            }
            self.evict(address);
            self.evicted_for_memory += 1;
        }
        self.probation
            .retain(|address| self.by_address.contains_key(address));
        self.proven
            .retain(|address| self.by_address.contains_key(address));
        self.share.keep(self.weight + self.beside);
    }
}
