//! Networks of the ends of flows, found for some flows at a time: in a loop of its own, what one look-up waits for doesn't
//! hold up the next.

use super::{Flow, Flows};
use crate::enrich::networks::{Enriched, EntryId, Networks};

/// Flows that are looked up at a time: as many as most datagrams have.
const ROWS: usize = 32;

/// The networks of the flows that come next, in their order.
#[derive(Debug)]
pub(super) struct Names<'a> {
    networks: &'a Networks,
    rows: [[EntryId; 2]; ROWS],
    /// The row of the current flow; behind the last one: it isn't looked up yet.
    at: usize,
}

impl<'a> Names<'a> {
    pub(super) fn new(networks: &'a Networks) -> Self {
        Self {
            networks,
            rows: [[EntryId::default(); 2]; ROWS],
            at: ROWS,
        }
    }

    /// The networks of the current flow, and of no flow behind the last one; the next call is of the next flow.
    #[inline(always)]
    pub(super) fn next<S: Flows>(&mut self, flows: &mut S) -> Enriched<'a> {
        if self.at == ROWS {
            self.look_up(flows);
            self.at = 0;
        }
        let [source, destination] = self.rows[self.at % ROWS];
        self.at += 1;
        Enriched {
            source: self.networks.known(source),
            destination: self.networks.known(destination),
            ..Enriched::default()
        }
    }

    #[inline(never)]
    fn look_up<S: Flows>(&mut self, flows: &mut S) {
        let first = flows.mark();
        for row in &mut self.rows {
            let Some(flow) = flows.current() else { break };
            *row = self.networks.entries(flow.ends());
            flows.advance();
        }
        flows.go_back(first);
    }
}
