//! The ends of connections: of sessions that exporters end, and of exporters that are forgotten here.

use std::net::IpAddr;

use netflow_wire::{Event, Session};

use crate::translator::Translator;

impl Translator {
    /// A connection has ended: its templates, sequence numbers and waiting Sets go.
    pub fn end_session(&mut self, exporter: IpAddr, session: Session) {
        let counters = &self.writing.counters;
        let Some(exporter) = self.exporters.find(exporter) else {
            return;
        };
        let before = exporter.decoder.waiting();
        let templates = exporter.end_session(session, |event| {
            if matches!(event, Event::Expired { .. }) {
                counters.sets_expired.add(1);
            }
        });
        counters.templates_ended.add(templates as u64);
        self.late.changed(before, exporter.decoder.waiting());
        counters.sets_waiting.set(self.late.sets as u64);
    }

    /// Exporters that have sent over connections and were forgotten since this was last called. Their connections are
    /// of no more use: templates are sent once in each.
    pub fn take_disconnected(&mut self) -> Vec<IpAddr> {
        self.exporters.take_disconnected()
    }
}
