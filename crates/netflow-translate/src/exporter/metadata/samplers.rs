//! How an Observation Domain samples, by whatever its options data name: a sampler, an interface, a direction, a
//! template, a part of the device.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{Put, Room, put};
use crate::exporter::saved::{SamplerOf, SavedSampler};

/// Sampling as an options record reports it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Sampler {
    /// One packet in so many.
    pub(crate) interval: u64,
}

/// What an options record says that its sampling holds for; all `None`: everything.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scope {
    /// A sampler's id.
    pub(crate) id: Option<u64>,
    /// An interface; 0 is none.
    pub(crate) interface: Option<u64>,
    /// Flows on their way out, or in.
    pub(crate) egress: Option<bool>,
    pub(crate) template: Option<u64>,
    /// A part of the device that records don't name, such as a line card.
    pub(crate) part: Option<u64>,
}

/// What a record says of where and how it was metered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Metered {
    /// Its sampler's id.
    pub(crate) id: Option<u64>,
    /// Interfaces at which it may have been metered, the likelier one first.
    pub(crate) interfaces: [Option<u64>; 2],
    /// flowDirection (61).
    pub(crate) egress: Option<bool>,
    pub(crate) template: u16,
}

type Table<K> = HashMap<K, Sampler, RandomState>;

/// What is known of one domain's sampling.
#[derive(Debug, Default)]
pub(crate) struct Samplers {
    /// For everything without an entry below.
    all: Option<Sampler>,
    by_id: Table<u64>,
    by_interface: Table<u64>,
    /// By sampler and interface, where a record names both.
    by_both: Table<(u64, u64)>,
    /// By interface (0: any) and whether for flows on their way out.
    by_direction: Table<(u64, bool)>,
    by_template: Table<u64>,
    by_part: Table<u64>,
    /// How many of `by_id`, and of `by_part`, have each interval.
    id_intervals: Intervals,
    part_intervals: Intervals,
    /// How many of `by_both` have each sampler and interval, and how many intervals each sampler has there.
    both_intervals: HashMap<(u64, u64), u32, RandomState>,
    id_varies: HashMap<u64, u32, RandomState>,
}

impl Samplers {
    /// Something was said of sampling.
    pub(super) fn is_known(&self) -> bool {
        self.all.is_some()
            || !self.by_id.is_empty()
            || !self.by_interface.is_empty()
            || !self.by_direction.is_empty()
            || !self.by_template.is_empty()
            || !self.by_part.is_empty()
    }

    /// One of them, for people.
    pub(super) fn any(&self) -> Option<Sampler> {
        let tables = self.by_id.values().chain(self.by_interface.values());
        let rest = self.by_direction.values().chain(self.by_template.values());
        let mut all = tables.chain(rest).chain(self.by_part.values()).copied();
        self.all.or_else(|| all.next())
    }

    /// Takes in how what `scope` names samples.
    pub(super) fn learn(&mut self, scope: Scope, sampler: Sampler, room: &mut Room) {
        let interface = scope.interface.filter(|index| *index != 0);
        if let Some(id) = scope.id {
            self.put(SamplerOf::Id(id), sampler, room);
        }
        if let (Some(id), Some(interface)) = (scope.id, interface) {
            self.put(SamplerOf::IdAndInterface { id, interface }, sampler, room);
        }
        let of = match (interface, scope.egress) {
            (interface, Some(egress)) if scope.id.is_none() || interface.is_some() => {
                let interface = interface.unwrap_or(0);
                SamplerOf::Direction { interface, egress }
            }
            (Some(interface), _) => SamplerOf::Interface(interface),
            (None, _) if scope.id.is_some() => return,
            _ => match (scope.template, scope.part) {
                (Some(template), _) => SamplerOf::Template(template),
                (None, Some(part)) => SamplerOf::Part(part),
                (None, None) => SamplerOf::All,
            },
        };
        self.put(of, sampler, room);
    }

    /// Puts an entry into the table that it belongs to.
    fn put(&mut self, of: SamplerOf, sampler: Sampler, room: &mut Room) {
        match of {
            SamplerOf::All => {
                let before = self.all.replace(sampler);
                room.changes += u64::from(before != self.all);
            }
            SamplerOf::Id(id) => {
                if let Some(Put { before }) = put(&mut self.by_id, id, sampler, room) {
                    self.id_intervals.replace(before, sampler);
                }
            }
            SamplerOf::Interface(interface) => {
                put(&mut self.by_interface, interface, sampler, room);
            }
            SamplerOf::IdAndInterface { id, interface } => {
                self.put_both(id, interface, sampler, room);
            }
            SamplerOf::Direction { interface, egress } => {
                put(&mut self.by_direction, (interface, egress), sampler, room);
            }
            SamplerOf::Template(template) => {
                put(&mut self.by_template, template, sampler, room);
            }
            SamplerOf::Part(part) => {
                if let Some(Put { before }) = put(&mut self.by_part, part, sampler, room) {
                    self.part_intervals.replace(before, sampler);
                }
            }
        }
    }

    /// All entries.
    pub(super) fn save(&self) -> Vec<SavedSampler> {
        fn of<'a, K: Copy>(
            table: &'a Table<K>,
            of: impl Fn(K) -> SamplerOf + 'a,
        ) -> impl Iterator<Item = (SamplerOf, &'a Sampler)> {
            table.iter().map(move |(key, sampler)| (of(*key), sampler))
        }
        let all = self.all.iter().map(|sampler| (SamplerOf::All, sampler));
        let both = |(id, interface)| SamplerOf::IdAndInterface { id, interface };
        let direction = |(interface, egress)| SamplerOf::Direction { interface, egress };
        all.chain(of(&self.by_id, SamplerOf::Id))
            .chain(of(&self.by_interface, SamplerOf::Interface))
            .chain(of(&self.by_both, both))
            .chain(of(&self.by_direction, direction))
            .chain(of(&self.by_template, SamplerOf::Template))
            .chain(of(&self.by_part, SamplerOf::Part))
            .map(|(of, sampler)| SavedSampler {
                of,
                interval: sampler.interval,
            })
            .collect()
    }

    /// Takes back what [`save`](Self::save) gave.
    pub(super) fn restore(&mut self, saved: &[SavedSampler], room: &mut Room) {
        for SavedSampler { of, interval } in saved {
            let interval = (*interval).max(1);
            self.put(*of, Sampler { interval }, room);
        }
    }

    fn put_both(&mut self, id: u64, index: u64, sampler: Sampler, room: &mut Room) {
        let Some(Put { before }) = put(&mut self.by_both, (id, index), sampler, room) else {
            return;
        };
        let count = self
            .both_intervals
            .entry((id, sampler.interval))
            .or_default();
        *count += 1;
        if *count == 1 {
            *self.id_varies.entry(id).or_default() += 1;
        }
        let before = before.map(|before| (id, before.interval));
        if let Some(key) = before
            && let Some(count) = self.both_intervals.get_mut(&key)
        {
            *count -= 1;
            if *count == 0 {
                self.both_intervals.remove(&key);
                if let Some(intervals) = self.id_varies.get_mut(&id) {
                    *intervals -= 1;
                }
            }
        }
    }

    /// The sampler that holds for a record: of its sampler and interface, of its sampler, of its interface, of its
    /// direction, of its template, of all. Where what is known differs and the record doesn't say more, none does.
    pub(super) fn find(&self, record: &Metered) -> Option<Sampler> {
        if let Some(id) = record.id
            && let Some(sampler) = self.find_id(id, record.interfaces)
        {
            return Some(sampler);
        }
        let [likelier, other] = record.interfaces;
        let is_out = record.egress.unwrap_or(false);
        let interfaces = [(likelier, is_out), (other, !is_out)];
        for (index, egress) in interfaces {
            if let Some(index) = index
                && let Some(sampler) = self.find_interface(index, egress, record.egress)
            {
                return Some(sampler);
            }
        }
        self.find_direction(record.egress)
            .or_else(|| self.by_template.get(&u64::from(record.template)).copied())
            .or(self.all)
            .or_else(|| match record.id {
                None => self.id_intervals.shared(),
                Some(_) => None,
            })
            .or_else(|| self.part_intervals.shared())
    }

    fn find_id(&self, id: u64, interfaces: [Option<u64>; 2]) -> Option<Sampler> {
        if !self.by_both.is_empty() {
            let mut interfaces = interfaces.iter().flatten();
            let found = interfaces.find_map(|index| self.by_both.get(&(id, *index)));
            if found.is_some() {
                return found.copied();
            }
            if self.id_varies.get(&id).is_some_and(|varies| *varies > 1) {
                return None;
            }
        }
        self.by_id.get(&id).copied()
    }

    fn find_interface(&self, index: u64, egress: bool, told: Option<bool>) -> Option<Sampler> {
        if !self.by_direction.is_empty()
            && told.is_none_or(|told| told == egress)
            && let Some(sampler) = self.by_direction.get(&(index, egress))
        {
            return Some(*sampler);
        }
        self.by_interface.get(&index).copied()
    }

    /// Of a direction at all interfaces; of a record that doesn't say its own what both have in common.
    fn find_direction(&self, told: Option<bool>) -> Option<Sampler> {
        if self.by_direction.is_empty() {
            return None;
        }
        let of = |egress| self.by_direction.get(&(0, egress)).copied();
        match told {
            Some(egress) => of(egress),
            None => match (of(false), of(true)) {
                (Some(one), Some(other)) => (one == other).then_some(one),
                (one, other) => one.or(other),
            },
        }
    }
}

/// How many samplers have each interval.
#[derive(Debug, Default)]
struct Intervals(HashMap<u64, u32, RandomState>);

impl Intervals {
    fn replace(&mut self, before: Option<Sampler>, sampler: Sampler) {
        *self.0.entry(sampler.interval).or_default() += 1;
        if let Some(before) = before
            && let Some(count) = self.0.get_mut(&before.interval)
        {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&before.interval);
            }
        }
    }

    /// What all have in common.
    fn shared(&self) -> Option<Sampler> {
        let mut intervals = self.0.keys();
        match (intervals.next(), intervals.next()) {
            (Some(interval), None) => Some(Sampler {
                interval: *interval,
            }),
            _ => None,
        }
    }
}
