//! How much work and output one datagram may cause: octets of spans, lists among them, Templates compiled.
//!
//! Nothing here looks at a clock: work is bounded by what is written and by the fields that are compiled.

use crate::plan::elements::ListRoom;

/// A datagram of any size may cause as many octets of flow spans …
const LEAST_OCTETS: usize = 4 << 20;
/// … and a Set that has waited as many: it is a part of a datagram, and hundreds may wait.
const LEAST_OCTETS_OF_SET: usize = 64 << 10;
/// A larger one may cause so many for each octet received: several times what the smallest records of real
/// exporters need.
const OCTETS_FOR_ONE: usize = 128;
/// Octets of late Sets read in one round: those of a large datagram.
const READ_OCTETS: usize = 64 << 10;
/// Fields of Templates compiled for one datagram, with [`COMPILATION`] for each Template. Data of more wait as if
/// their Template hadn't come.
const COMPILED_FIELDS: usize = 64 << 10;
/// What a compilation costs besides its fields, in fields.
pub(crate) const COMPILATION: usize = 48;

/// Octets of flow spans that a datagram of so many octets may cause.
pub(crate) fn of_datagram(octets: usize) -> usize {
    LEAST_OCTETS.max(octets.saturating_mul(OCTETS_FOR_ONE))
}

/// Octets of flow spans that a Set of so many octets may cause once its Template has come.
pub(crate) fn of_late_set(octets: usize) -> usize {
    LEAST_OCTETS_OF_SET.max(octets.saturating_mul(OCTETS_FOR_ONE))
}

/// Lists may cause half of these octets, so that their elements are cut before records are.
pub(crate) fn of_lists(octets: usize) -> ListRoom {
    ListRoom::new(octets / 2, COMPILED_FIELDS)
}

/// What late Sets have cost in one round. The rest of them is read in the next one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Round {
    read: usize,
    written: usize,
    fields: usize,
}

impl Round {
    /// A Set of so many octets was read; its flow spans took so many octets.
    pub(crate) fn add(&mut self, read: usize, written: usize, lists: &ListRoom) {
        self.read += read;
        self.written += written;
        self.fields += COMPILED_FIELDS - lists.fields_left();
    }

    pub(crate) fn is_over(self) -> bool {
        self.read >= READ_OCTETS || self.written >= LEAST_OCTETS || self.fields >= COMPILED_FIELDS
    }
}
