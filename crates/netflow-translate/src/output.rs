//! Finished batches on their way out of the machine.

use std::time::Instant;

use otlp_wire::EncodedBatch;

use crate::translator::Translator;

impl Translator {
    /// Gives every batch to `sink` as soon as it is finished, on the thread that calls this machine. Otherwise
    /// batches pile up until [`poll_batch`](Self::poll_batch) asks for them; with a sink it still has to be called
    /// when [`next_deadline`](Self::next_deadline) has come, and gives none.
    pub fn hand_over_to(&mut self, sink: impl FnMut(EncodedBatch) + Send + 'static) {
        self.writing.batches.hand_over_to(Box::new(sink));
    }

    /// The next batch that is ready at `now`; to be asked until there is none.
    pub fn poll_batch(&mut self, now: Instant) -> Option<EncodedBatch> {
        loop {
            let batch = self.writing.batches.poll(now);
            // With a sink `on_deadline` reads late Sets, a round at a time.
            if batch.is_some() || self.writing.batches.has_sink() {
                return batch;
            }
            if !self.read_next_round(now) {
                if !std::mem::take(&mut self.is_flushing) {
                    return None;
                }
                self.writing.batches.finish();
            }
        }
    }

    /// Whether spans wait in a batch that is not finished.
    #[must_use]
    pub fn has_open_batch(&self) -> bool {
        !self.writing.batches.is_empty()
    }

    /// Lowers or raises the octets of a request, at most to the configured size: the backend's limit is learnt
    /// by what it refuses.
    pub fn limit_requests(&mut self, octets: usize) {
        let octets = octets.min(self.writing.config.batch_max_octets);
        self.writing.batches.limit(octets);
    }

    /// Ends the batch that is being filled, so that [`poll_batch`](Self::poll_batch) gives it, and
    /// brings the counters up to date.
    pub fn flush(&mut self) {
        if self.writing.batches.has_sink() {
            while let Some(due) = self.late.due {
                self.read_next_round(due);
            }
        } else {
            self.is_flushing = true;
        }
        self.writing.batches.finish();
        self.settle_waiting();
    }
}
