//! Messages that come by way of a relay, in shares of which each belongs to one translator at a time: exporters are
//! remembered with their share, and forgotten with it.

use crate::translator::Translator;

impl Translator {
    /// Connections of exporters end at a relay: what was learnt in a connection is saved, and restored, as what came over
    /// UDP is.
    pub fn put_behind_relay(&mut self) {
        self.is_behind_relay = true;
    }

    /// Messages that come, and exporters that are restored, from here on are of this share.
    pub fn read_from(&mut self, origin: u32) {
        self.origin = origin;
    }

    /// Forgets all exporters of a share: their templates, what options data said, Sets that wait (which count as expired).
    pub fn forget(&mut self, origin: u32) {
        self.exporters.retain(|exporter| exporter.origin != origin);
        self.writing
            .counters
            .exporters
            .set(self.exporters.len() as u64);
        self.settle_waiting();
    }
}
