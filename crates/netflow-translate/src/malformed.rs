//! Datagrams that can't be used: counted, kept for the page, and shown as a span now and then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use netflow_wire::MessageError;
use netflow_wire::sflow::DatagramError;

use crate::Datagram;
use crate::batch::Membership;
use crate::counters::Counter;
use crate::counters::rejected::Problem;
use crate::counters::translate::TranslateCounters;
use crate::debug_log;
use crate::exporter::{Arrival, NewExporter};
use crate::flow::trace::Trace;
use crate::translator::Translator;

/// A malformed datagram is shown as a span at most once in this time and exporter; all are counted.
const ERROR_SPAN_INTERVAL: Duration = Duration::from_secs(1);

/// The counter of datagrams refused for this.
fn refusals(problem: Problem, counters: &TranslateCounters) -> &Counter {
    match problem {
        Problem::Message(MessageError::UnknownVersion { .. })
        | Problem::Sflow(DatagramError::UnknownVersion { .. }) => {
            &counters.datagrams_unknown_version
        }
        Problem::Message(MessageError::BadLength { .. }) => &counters.datagrams_bad_length,
        Problem::Sflow(DatagramError::UnknownAddressType { .. }) => &counters.datagrams_bad_agent,
        _ => &counters.datagrams_truncated,
    }
}

impl Translator {
    /// Counts a datagram that can't be used, and shows it as a span, but not too often.
    #[cold]
    pub(crate) fn malformed(
        &mut self,
        datagram: &Datagram<'_>,
        arrival: Arrival,
        error: Problem,
        now: Instant,
    ) {
        let address = datagram.source.ip();
        let counters = &self.writing.counters;
        refusals(error, counters).add(1);
        counters.traffic.refused(arrival.octets);
        self.rejected.keep(datagram, error);
        self.strangers.refused(
            datagram.source,
            datagram.octets,
            arrival.received_at,
            &mut self.lines,
        );
        if debug_log::is_on() {
            let log = &mut self.writing.debug_log;
            log.rejected(address, &arrival, &error, now);
        }
        // Garbage must not make state: all sources not known share one limit.
        let mut known = self.exporters.find(address);
        let shown = match &mut known {
            Some(exporter) => {
                exporter.activity.rejected += 1;
                &mut exporter.error_shown
            }
            None => &mut self.stranger_shown,
        };
        if shown.is_some_and(|shown| now.saturating_duration_since(shown) < ERROR_SPAN_INTERVAL) {
            return;
        }
        *shown = Some(now);
        let writing = &mut self.writing;
        let trace = Trace::new(&mut writing.ids, &writing.odds);
        if !trace.kept || !writing.shape.is_packet() {
            return;
        }
        let text = address.to_string();
        let (mut passing, strange);
        let (member, front) = match known {
            Some(exporter) => (&mut exporter.member, &exporter.front),
            None => {
                passing = Membership::default();
                strange = Arc::new(writing.front(address, None));
                (&mut passing, &strange)
            }
        };
        let done = writing.clock.now();
        let problem = error.to_string();
        writing
            .batches
            .append(member, front, now, arrival.received_at, 1, |writer| {
                self.work_spans
                    .write_malformed(&trace, &text, &arrival, done, &problem, writer)
            });
    }
}
