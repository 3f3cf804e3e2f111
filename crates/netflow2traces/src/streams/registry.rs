//! Which connections are open, and which of them has to go when there are too many or they keep too much.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netflow_wire::{Session, Transport};
use tokio::sync::Notify;

use super::Bounds;
use super::counters::{Reason, StreamCounters};

/// How much of its rate an exporter may send at once after a pause.
const BURST: Duration = Duration::from_secs(1);

/// All connections.
#[derive(Debug)]
pub struct Registry {
    bounds: Bounds,
    counters: Arc<StreamCounters>,
    state: Mutex<State>,
    /// A place has become free.
    released: Notify,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<Key, Open>,
    addresses: HashMap<IpAddr, Address>,
    /// Octets of incomplete messages.
    held: usize,
}

/// A session of an exporter.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    address: IpAddr,
    session: Session,
}

#[derive(Debug)]
struct Open {
    /// Since its last whole message.
    quiet_since: Instant,
    /// It has the beginning of a message since then, of so many octets.
    incomplete_since: Option<Instant>,
    held: usize,
    /// It is to close.
    asked: Option<Reason>,
    close: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Address {
    open: usize,
    /// When its next message keeps to the rate.
    next: Option<Instant>,
}

/// Why a connection isn't let in now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refused {
    /// For good.
    For(Reason),
    /// Another one makes room: to be tried again when a place has become free.
    NotYet,
}

/// The place of a connection. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Place {
    key: Key,
    registry: Arc<Registry>,
    close: Arc<Notify>,
}

impl Registry {
    pub(super) fn new(bounds: Bounds, counters: Arc<StreamCounters>) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            counters,
            state: Mutex::default(),
            released: Notify::new(),
        })
    }

    /// Gives a connection its place, waiting for another one to leave it if that is how it can be had.
    pub(super) async fn enter(
        self: &Arc<Self>,
        peer: SocketAddr,
        transport: Transport,
    ) -> Result<Place, Reason> {
        let until = tokio::time::Instant::now() + self.bounds.patience;
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            match self.try_enter(peer, transport, Instant::now()) {
                Ok(place) => return Ok(place),
                Err(Refused::For(reason)) => return Err(reason),
                Err(Refused::NotYet) => {
                    if tokio::time::timeout_at(until, released).await.is_err() {
                        return Err(Reason::TooMany);
                    }
                }
            }
        }
    }

    fn try_enter(
        self: &Arc<Self>,
        peer: SocketAddr,
        transport: Transport,
        now: Instant,
    ) -> Result<Place, Refused> {
        let key = Key {
            address: peer.ip(),
            session: Session {
                transport,
                port: peer.port(),
            },
        };
        let mut state = self.lock();
        if let Some(open) = state.open.get_mut(&key) {
            // The exporter has begun anew: what came before must be dealt with first.
            open.ask(Reason::Replaced);
            return Err(Refused::NotYet);
        }
        let of_address = state
            .addresses
            .get(&key.address)
            .map_or(0, |known| known.open);
        if of_address >= self.bounds.connections_of_address {
            return Err(self.displace(&mut state, Some(key.address), now));
        }
        if state.open.len() >= self.bounds.connections {
            return Err(self.displace(&mut state, None, now));
        }
        let close = Arc::new(Notify::new());
        state.addresses.entry(key.address).or_default().open += 1;
        state.open.insert(
            key,
            Open {
                quiet_since: now,
                incomplete_since: None,
                held: 0,
                asked: None,
                close: Arc::clone(&close),
            },
        );
        self.counters.of(transport).open.add(1);
        Ok(Place {
            key,
            registry: Arc::clone(self),
            close,
        })
    }

    /// Asks the connection that has been quiet for longest to leave, if it has been for long: of an address, or of the one
    /// that has the most.
    fn displace(&self, state: &mut State, of: Option<IpAddr>, now: Instant) -> Refused {
        let addresses = state.addresses.iter();
        let most = || {
            addresses
                .max_by_key(|(_, known)| known.open)
                .map(|(of, _)| *of)
        };
        let Some(address) = of.or_else(most) else {
            return Refused::For(Reason::TooMany);
        };
        let others = state
            .open
            .iter_mut()
            .filter(|(key, _)| key.address == address);
        let mut others = others.map(|(_, open)| open);
        if others.any(|open| open.asked.is_some()) {
            return Refused::NotYet;
        }
        let others = state
            .open
            .iter_mut()
            .filter(|(key, _)| key.address == address);
        let quietest = others.min_by_key(|(_, open)| open.quiet_since);
        match quietest {
            Some((_, open))
                if now.saturating_duration_since(open.quiet_since) >= self.bounds.quiet =>
            {
                open.ask(Reason::Displaced);
                Refused::NotYet
            }
            _ => Refused::For(match of {
                Some(_) => Reason::TooManyOfAddress,
                None => Reason::TooMany,
            }),
        }
    }

    /// Frees a descriptor.
    pub(super) fn close_quietest(&self) {
        let mut state = self.lock();
        let open = state.open.values_mut().filter(|open| open.asked.is_none());
        if let Some(open) = open.min_by_key(|open| open.quiet_since) {
            open.ask(Reason::Displaced);
        }
    }

    /// The exporter's state was forgotten: its connections are closed, so that it sends its templates again.
    pub(super) fn forgotten(&self, address: IpAddr) {
        let mut state = self.lock();
        for (_, open) in state
            .open
            .iter_mut()
            .filter(|(key, _)| key.address == address)
        {
            open.ask(Reason::Forgotten);
        }
    }

    /// How long an exporter has to wait that has sent so many messages, to keep to its rate.
    pub(super) fn pause_for_rate(
        &self,
        address: IpAddr,
        messages: usize,
        now: Instant,
    ) -> Duration {
        let Some(rate) = self.bounds.messages_per_second else {
            return Duration::ZERO;
        };
        let mut state = self.lock();
        let Some(known) = state.addresses.get_mut(&address) else {
            return Duration::ZERO;
        };
        let each = Duration::from_secs(1) / rate.max(1);
        let messages = u32::try_from(messages).unwrap_or(u32::MAX);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let next = known.next.unwrap_or(earliest).max(earliest) + each.saturating_mul(messages);
        known.next = Some(next);
        next.saturating_duration_since(now)
    }

    /// Waits until no connection is open any more.
    pub(super) async fn all_closed(&self) {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            if self.lock().open.is_empty() {
                return;
            }
            released.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn ask(&mut self, reason: Reason) {
        if self.asked.is_none() {
            self.asked = Some(reason);
            self.close.notify_one();
        }
    }
}

impl Place {
    pub(super) fn address(&self) -> IpAddr {
        self.key.address
    }

    pub(super) fn session(&self) -> Session {
        self.key.session
    }

    /// Waits until it is to close for the sake of others.
    pub(super) async fn asked_to_close(&self) -> Reason {
        loop {
            self.close.notified().await;
            let state = self.registry.lock();
            if let Some(reason) = state.open.get(&self.key).and_then(|open| open.asked) {
                return reason;
            }
        }
    }

    /// Whole messages have come; so many octets of the next one are kept. When all keep too much, the connection that has
    /// had the beginning of a message for longest has to close.
    pub(super) fn keeps(&self, octets: usize, has_message: bool, now: Instant) {
        let mut state = self.registry.lock();
        let Some(open) = state.open.get_mut(&self.key) else {
            return;
        };
        if has_message {
            open.quiet_since = now;
            open.incomplete_since = None;
        }
        if octets == 0 {
            open.incomplete_since = None;
        } else {
            open.incomplete_since.get_or_insert(now);
        }
        let before = std::mem::replace(&mut open.held, octets);
        state.held = state.held + octets - before;
        self.registry.counters.octets_incomplete.add(octets as u64);
        self.registry
            .counters
            .octets_incomplete
            .subtract(before as u64);
        let leaving = state.open.values().filter(|open| open.asked.is_some());
        let leaving: usize = match state.held > self.registry.bounds.octets_incomplete {
            true => leaving.map(|open| open.held).sum(),
            false => return,
        };
        if state.held - leaving > self.registry.bounds.octets_incomplete {
            let others = state.open.values_mut();
            let incomplete = others.filter(|open| open.asked.is_none());
            let incomplete = incomplete.filter_map(|open| Some((open.incomplete_since?, open)));
            if let Some((_, open)) = incomplete.min_by_key(|(since, _)| *since) {
                open.ask(Reason::Memory);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let registry = &self.registry;
        let mut state = registry.lock();
        if let Some(open) = state.open.remove(&self.key) {
            state.held -= open.held;
            registry
                .counters
                .octets_incomplete
                .subtract(open.held as u64);
        }
        if let Some(known) = state.addresses.get_mut(&self.key.address) {
            known.open -= 1;
            if known.open == 0 {
                state.addresses.remove(&self.key.address);
            }
        }
        drop(state);
        registry
            .counters
            .of(self.key.session.transport)
            .open
            .subtract(1);
        registry.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(change: impl FnOnce(&mut Bounds)) -> Arc<Registry> {
        let mut bounds = Bounds::for_memory(64 << 20, None);
        change(&mut bounds);
        Registry::new(bounds, Arc::default())
    }

    fn peer(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], port))
    }

    fn enter(registry: &Arc<Registry>, peer: SocketAddr, now: Instant) -> Result<Place, Refused> {
        registry.try_enter(peer, Transport::Tcp, now)
    }

    fn asked(registry: &Registry) -> Vec<(SocketAddr, Reason)> {
        let state = registry.lock();
        let open = state.open.iter();
        let asked = open.filter_map(|(key, open)| {
            Some((SocketAddr::new(key.address, key.session.port), open.asked?))
        });
        asked.collect()
    }

    #[test]
    fn an_address_has_so_many_places_and_only_one_quiet_for_long_gives_way() {
        let registry = registry(|bounds| bounds.connections_of_address = 2);
        let start = Instant::now();
        let first = enter(&registry, peer(1, 1), start).unwrap();
        let second = enter(&registry, peer(1, 2), start).unwrap();
        let of_another = enter(&registry, peer(2, 1), start).unwrap();
        let refused = enter(&registry, peer(1, 3), start).unwrap_err();
        assert_eq!(refused, Refused::For(Reason::TooManyOfAddress));
        let later = start + registry.bounds.quiet;
        first.keeps(0, true, later);
        assert_eq!(
            enter(&registry, peer(1, 3), later).unwrap_err(),
            Refused::NotYet
        );
        assert_eq!(asked(&registry), [(peer(1, 2), Reason::Displaced)]);
        // One at a time.
        assert_eq!(
            enter(&registry, peer(1, 3), later).unwrap_err(),
            Refused::NotYet
        );
        assert_eq!(asked(&registry).len(), 1);
        drop(second);
        let third = enter(&registry, peer(1, 3), later).unwrap();
        drop((first, third, of_another));
        assert!(registry.lock().addresses.is_empty());
    }

    #[test]
    fn of_all_places_the_address_with_the_most_gives_one_away() {
        let registry = registry(|bounds| bounds.connections = 4);
        let start = Instant::now();
        let many: Vec<_> = (1..=3)
            .map(|port| enter(&registry, peer(1, port), start).unwrap())
            .collect();
        let before = start.checked_sub(registry.bounds.quiet).unwrap();
        let quieter = enter(&registry, peer(2, 1), before).unwrap();
        let refused = enter(&registry, peer(3, 1), start).unwrap_err();
        assert_eq!(refused, Refused::For(Reason::TooMany));
        let later = start + registry.bounds.quiet;
        assert_eq!(
            enter(&registry, peer(3, 1), later).unwrap_err(),
            Refused::NotYet
        );
        let [(gone, Reason::Displaced)] = asked(&registry)[..] else {
            panic!("one is asked");
        };
        assert_eq!(gone.ip(), peer(1, 1).ip());
        drop((many, quieter));
    }

    #[test]
    fn a_connection_from_the_same_port_waits_for_the_end_of_the_one_before() {
        let registry = registry(|_| {});
        let now = Instant::now();
        let before = enter(&registry, peer(1, 1), now).unwrap();
        assert_eq!(
            enter(&registry, peer(1, 1), now).unwrap_err(),
            Refused::NotYet
        );
        assert_eq!(asked(&registry), [(peer(1, 1), Reason::Replaced)]);
        // Over TLS it is another session.
        let tls = registry.try_enter(peer(1, 1), Transport::Tls, now).unwrap();
        drop(before);
        assert!(enter(&registry, peer(1, 1), now).is_ok());
        drop(tls);
    }

    #[test]
    fn who_keeps_the_beginning_of_a_message_for_longest_gives_way_when_all_keep_too_much() {
        let registry = registry(|bounds| bounds.octets_incomplete = 1_000);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let places: Vec<_> = (1..=3)
            .map(|port| enter(&registry, peer(1, port), start).unwrap())
            .collect();
        places[1].keeps(400, false, at(1));
        places[0].keeps(400, false, at(2));
        // A whole message has come since: the rest is a new beginning.
        places[1].keeps(100, true, at(3));
        places[2].keeps(400, false, at(4));
        assert_eq!(asked(&registry), []);
        places[1].keeps(300, false, at(5));
        assert_eq!(asked(&registry), [(peer(1, 1), Reason::Memory)]);
        // It is leaving, so that the others needn't.
        places[1].keeps(310, false, at(6));
        assert_eq!(asked(&registry).len(), 1);
        assert_eq!(registry.counters.octets_incomplete.value(), 1_110);
        drop(places);
        assert_eq!(registry.counters.octets_incomplete.value(), 0);
        assert_eq!(registry.lock().held, 0);
    }

    #[test]
    fn an_exporter_waits_for_its_rate_after_a_seconds_worth() {
        let registry = registry(|bounds| bounds.messages_per_second = Some(100));
        let now = Instant::now();
        let address = peer(1, 1).ip();
        let place = enter(&registry, peer(1, 1), now).unwrap();
        assert_eq!(registry.pause_for_rate(address, 100, now), Duration::ZERO);
        assert_eq!(
            registry.pause_for_rate(address, 50, now),
            Duration::from_millis(500)
        );
        let later = now + Duration::from_secs(10);
        assert_eq!(registry.pause_for_rate(address, 10, later), Duration::ZERO);
        drop(place);
    }
}
