//! Which end of a flow is the server, inferred once for everything that asks.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::services;
use crate::metrics::{Endpoints, FlowFacts, address_key};

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
/// Ports below are given to services alone.
const FIRST_REGISTERED: u16 = 1024;
/// Places in which ports that were listened on are remembered; a power of two.
const PLACES: usize = 4096;

/// An end of a flow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    Source,
    Destination,
}

impl End {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// Ports on which servers listen, as earlier flows showed: the last one of each place, by its keyed hash.
#[derive(Debug)]
pub(crate) struct Listeners {
    hasher: RandomState,
    places: Box<[u32; PLACES]>,
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            places: Box::new([0; PLACES]),
        }
    }
}

impl Listeners {
    /// The end that is the server: by what TCP or the exporter shows about which end began, by a port that is known to be
    /// listened on, by a well-known port, by the lower port. Without ports the source is taken for the client.
    pub(crate) fn server(&mut self, flow: &FlowFacts<'_>) -> End {
        if let Some(server) = shown(flow) {
            self.remember(&flow.ends, server);
            return server;
        }
        let ends = &flow.ends;
        let (source, destination) = (ends.source_port, ends.destination_port);
        if source == destination || source == 0 || destination == 0 {
            return End::Destination;
        }
        // What is true of one end alone decides.
        let one_of = |is_source: bool, is_destination: bool| {
            (is_source != is_destination).then_some(match is_source {
                true => End::Source,
                false => End::Destination,
            })
        };
        let known = [End::Source, End::Destination].map(|end| self.knows(ends, end));
        one_of(known[0], known[1])
            .or_else(|| one_of(services::is_known(source), services::is_known(destination)))
            .or_else(|| one_of(source < FIRST_REGISTERED, destination < FIRST_REGISTERED))
            .unwrap_or(match source < destination {
                true => End::Source,
                false => End::Destination,
            })
    }

    /// The port of the end that is the server; 0: none.
    pub(crate) fn server_port(&mut self, flow: &FlowFacts<'_>) -> u16 {
        match flow.server.unwrap_or_else(|| self.server(flow)) {
            End::Source => flow.ends.source_port,
            End::Destination => flow.ends.destination_port,
        }
    }

    /// The place of an end and its mark there, which is never 0.
    #[inline(always)]
    fn place(&self, ends: &Endpoints, end: End) -> Option<(usize, u32)> {
        let (address, port) = match end {
            End::Source => (ends.source?, ends.source_port),
            End::Destination => (ends.destination?, ends.destination_port),
        };
        let [high, low] = address_key(address);
        let service = u64::from(port) << 8 | u64::from(ends.protocol.unwrap_or(0));
        let folded = high ^ low.rotate_left(24) ^ service;
        let hash = self.hasher.hash_one(folded);
        Some((hash as usize % PLACES, (hash >> 32) as u32 | 1))
    }

    #[inline(always)]
    fn knows(&self, ends: &Endpoints, end: End) -> bool {
        let place = self.place(ends, end);
        place.is_some_and(|(place, mark)| self.places[place] == mark)
    }

    fn remember(&mut self, ends: &Endpoints, server: End) {
        if let Some((place, mark)) = self.place(ends, server) {
            self.places[place] = mark;
        }
    }
}

/// Who began, where the flow itself shows it.
fn shown(flow: &FlowFacts<'_>) -> Option<End> {
    if let Some(began) = flow.initiator_is_source {
        return Some(if began { End::Destination } else { End::Source });
    }
    let flags = flow.tcp_flags?;
    let only_asked = flow.ends.protocol == Some(TCP) && flags & (SYN | ACK) == SYN;
    only_asked.then_some(End::Destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source_port: u16, destination_port: u16) -> FlowFacts<'static> {
        FlowFacts {
            ends: Endpoints {
                source: Some([10, 0, 0, 1].into()),
                destination: Some([192, 0, 2, 1].into()),
                source_port,
                destination_port,
                protocol: Some(TCP),
            },
            ..FlowFacts::default()
        }
    }

    #[test]
    fn a_service_is_the_server_then_a_low_port_then_the_lower_one() {
        let mut listeners = Listeners::default();
        for (source, destination, server) in [
            (50_000, 443, End::Destination),
            (443, 50_000, End::Source),
            (5_432, 1_025, End::Source),
            (1_000, 4_000, End::Source),
            (40_000, 50_000, End::Source),
            (50_000, 40_000, End::Destination),
            (123, 123, End::Destination),
            (0, 0, End::Destination),
        ] {
            let found = listeners.server(&flow(source, destination));
            assert_eq!(found, server, "{source} {destination}");
        }
    }

    #[test]
    fn a_port_that_was_listened_on_is_remembered_for_the_way_back() {
        let mut listeners = Listeners::default();
        let asked = FlowFacts {
            tcp_flags: Some(SYN),
            ..flow(30_000, 50_000)
        };
        assert_eq!(listeners.server(&asked), End::Destination);
        let mut back = flow(50_000, 30_000);
        std::mem::swap(&mut back.ends.source, &mut back.ends.destination);
        assert_eq!(listeners.server(&back), End::Source);
        // Another address with the same ports isn't known.
        back.ends.source = Some([192, 0, 2, 2].into());
        assert_eq!(listeners.server(&back), End::Destination);
    }

    #[test]
    fn a_biflow_says_who_began() {
        let mut listeners = Listeners::default();
        let flow = FlowFacts {
            initiator_is_source: Some(false),
            ..flow(50_000, 443)
        };
        assert_eq!(listeners.server(&flow), End::Source);
    }
}
