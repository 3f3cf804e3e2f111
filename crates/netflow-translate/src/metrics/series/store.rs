//! Where the series of a view are kept: each at a place that stays its own, found by a hash of its key; those that were
//! found last are found again without it.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::{Series, SeriesKey, hash, spread, whole_hash};

/// As a power of two: twice as many as a view has series at most, where nothing else is chosen.
const SHORTCUTS_BITS: u32 = 12;
/// Shortcuts of a view: each series has one of them, which it may share with others.
const SHORTCUTS: usize = 1 << SHORTCUTS_BITS;
/// No place.
const NOWHERE: u32 = u32::MAX;

/// Series by their keys.
#[derive(Debug)]
pub(super) struct Store<T> {
    hasher: RandomState,
    places: Vec<Series<T>>,
    /// Places whose series were removed.
    free: Vec<u32>,
    /// Places of all series.
    index: HashTable<u32>,
    /// Places of series that were found last.
    shortcuts: Box<[u32; SHORTCUTS]>,
}

#[inline(always)]
fn shortcut(exporter: u64, key: &SeriesKey) -> usize {
    spread(exporter ^ key.numbers(), SHORTCUTS_BITS)
}

impl<T: Copy> Store<T> {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            places: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            shortcuts: Box::new([NOWHERE; SHORTCUTS]),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Series<T>> {
        let places = self.index.iter();
        places.filter_map(|place| self.places.get(*place as usize))
    }

    /// The series of a key; `exporter` is the hash of the key's exporter.
    #[inline(always)]
    pub(super) fn get_mut(&mut self, exporter: u64, key: SeriesKey) -> Option<&mut Series<T>> {
        let at = self.shortcuts[shortcut(exporter, &key)] as usize;
        let is_meant = self.places.get(at).is_some_and(|found| found.key == key);
        let at = if is_meant {
            at
        } else {
            self.find(exporter, key)?
        };
        self.places.get_mut(at)
    }

    /// The place of a series, which is its shortcut from now on.
    #[inline(never)]
    fn find(&mut self, exporter: u64, key: SeriesKey) -> Option<usize> {
        let key = &key;
        let hash = hash(&self.hasher, exporter, key);
        let is_meant = |place: &u32| is_at(&self.places, *place, key);
        let place = *self.index.find(hash, is_meant)?;
        self.shortcuts[shortcut(exporter, key)] = place;
        Some(place as usize)
    }

    pub(super) fn get(&self, key: &SeriesKey) -> Option<&Series<T>> {
        let hash = whole_hash(&self.hasher, key);
        let is_meant = |place: &u32| is_at(&self.places, *place, key);
        let place = *self.index.find(hash, is_meant)?;
        self.places.get(place as usize)
    }

    /// Adds a series whose key none has yet; `hash` is that of its key.
    pub(super) fn insert(&mut self, hash: u64, series: Series<T>) {
        let place = match self.free.pop() {
            Some(place) => place,
            // No bound of a view is as large.
            None => u32::try_from(self.places.len()).unwrap_or(NOWHERE),
        };
        match self.places.get_mut(place as usize) {
            Some(free) => *free = series,
            None => self.places.push(series),
        }
        let (hasher, places) = (&self.hasher, &self.places);
        self.index.insert_unique(hash, place, |place| {
            let series = places.get(*place as usize);
            series.map_or(0, |series| whole_hash(hasher, &series.key))
        });
    }

    pub(super) fn remove(&mut self, key: &SeriesKey) -> Option<Series<T>> {
        let exporter = super::exporter_hash(&self.hasher, key.exporter);
        let hash = hash(&self.hasher, exporter, key);
        let (hasher, places) = (&self.hasher, &self.places);
        let is_meant = |place: &u32| is_at(places, *place, key);
        let rehash = |place: &u32| {
            let series = places.get(*place as usize);
            series.map_or(0, |series| whole_hash(hasher, &series.key))
        };
        let Entry::Occupied(found) = self.index.entry(hash, is_meant, rehash) else {
            return None;
        };
        let (place, _) = found.remove();
        self.free.push(place);
        // A key has this one shortcut: what is left at the place can't be found any more.
        let shortcut = &mut self.shortcuts[shortcut(exporter, key)];
        if *shortcut == place {
            *shortcut = NOWHERE;
        }
        self.places.get(place as usize).copied()
    }
}

fn is_at<T>(places: &[Series<T>], place: u32, key: &SeriesKey) -> bool {
    let series = places.get(place as usize);
    series.is_some_and(|series| series.key == *key)
}
