//! Which address of a backend the next connection goes to: the least used one that works. Instants are arguments;
//! no clock, no I/O.
#![deny(clippy::disallowed_methods)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Addresses of one name that are kept; a name rarely has more, and each costs an attempt when all are dead.
const MAX_ADDRESSES: usize = 64;
/// An address that failed is tried after all others for this long, doubling each time it fails again after that …
const AVOID: Duration = Duration::from_secs(15);
/// … up to this, so that a replica that comes back has its share within a minute.
const MAX_AVOID: Duration = Duration::from_secs(45);

/// The addresses of one name.
#[derive(Debug)]
pub(super) struct Book {
    entries: Vec<Entry>,
    /// Where the next search begins among equals.
    turn: usize,
    /// Whether a connection is being moved to another address: one at a time keeps the balance from swinging.
    moving: bool,
}

#[derive(Debug)]
struct Entry {
    address: SocketAddr,
    /// Whether the latest look-up named it.
    listed: bool,
    connections: usize,
    failures: u32,
    avoid_until: Option<Instant>,
}

impl Entry {
    fn is_avoided(&self, now: Instant) -> bool {
        self.avoid_until.is_some_and(|until| now < until)
    }
}

impl Book {
    /// `turn` is a random number: many daemons that begin together don't all begin with the same address.
    pub(super) const fn new(turn: usize) -> Self {
        Self {
            entries: Vec::new(),
            turn,
            moving: false,
        }
    }

    /// Replaces the addresses; what is known of those that stay is kept.
    pub(super) fn learn(&mut self, addresses: &[SocketAddr]) {
        let addresses = &addresses[..addresses.len().min(MAX_ADDRESSES)];
        for entry in &mut self.entries {
            entry.listed = addresses.contains(&entry.address);
        }
        self.entries
            .retain(|entry| entry.listed || entry.connections > 0);
        for &address in addresses {
            if self.find(address).is_none() {
                self.entries.push(Entry {
                    address,
                    listed: true,
                    connections: 0,
                    failures: 0,
                    avoid_until: None,
                });
            }
        }
    }

    /// All listed addresses in the order in which to try them: those that work before those that failed lately, and
    /// those with few connections before others.
    pub(super) fn order(&mut self, now: Instant) -> Vec<SocketAddr> {
        let mut order: Vec<&Entry> = self.entries.iter().filter(|entry| entry.listed).collect();
        if !order.is_empty() {
            let first = self.turn % order.len();
            order.rotate_left(first);
        }
        self.turn = self.turn.wrapping_add(1);
        order.sort_by_key(|entry| {
            let avoided = entry.avoid_until.filter(|until| now < *until);
            (avoided, entry.connections)
        });
        order.into_iter().map(|entry| entry.address).collect()
    }

    /// A connection to this address could not be made or used. What fails while it is avoided is part of the same
    /// failure: when a replica stops, all connections to it end together.
    pub(super) fn failed(&mut self, address: SocketAddr, now: Instant) {
        if let Some(entry) = self.find(address) {
            if !entry.is_avoided(now) {
                entry.failures = entry.failures.saturating_add(1);
            }
            let doublings = entry.failures.saturating_sub(1).min(8);
            let time = AVOID.saturating_mul(1 << doublings);
            entry.avoid_until = Some(now + time.min(MAX_AVOID));
        }
    }

    /// The backend at this address answered a request.
    pub(super) fn answered(&mut self, address: SocketAddr) {
        if let Some(entry) = self.find(address) {
            entry.failures = 0;
            entry.avoid_until = None;
        }
    }

    pub(super) fn opened(&mut self, address: SocketAddr) {
        if let Some(entry) = self.find(address) {
            entry.connections += 1;
        }
    }

    pub(super) fn closed(&mut self, address: SocketAddr) {
        if let Some(entry) = self.find(address) {
            entry.connections = entry.connections.saturating_sub(1);
        }
    }

    /// The address that a connection to `from` should move to for the sake of balance, if there is one: it works as far
    /// as is known, and has at least two connections fewer. [`Book::moved`] must follow.
    pub(super) fn begin_move(&mut self, from: SocketAddr, now: Instant) -> Option<SocketAddr> {
        if self.moving {
            return None;
        }
        let here = self.find(from)?.connections;
        let listed = self.entries.iter().filter(|entry| entry.listed);
        let target = listed
            .filter(|entry| !entry.is_avoided(now))
            .min_by_key(|entry| entry.connections)?;
        if target.connections + 2 > here {
            return None;
        }
        self.moving = true;
        Some(target.address)
    }

    pub(super) const fn moved(&mut self) {
        self.moving = false;
    }

    fn find(&mut self, address: SocketAddr) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find(|entry| entry.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 4317))
    }

    fn book(addresses: &[SocketAddr]) -> Book {
        let mut book = Book::new(0);
        book.learn(addresses);
        book
    }

    /// Opens a connection to the first choice.
    fn open(book: &mut Book, now: Instant) -> SocketAddr {
        let chosen = book.order(now)[0];
        book.opened(chosen);
        chosen
    }

    #[test]
    fn connections_spread_over_all_addresses() {
        let (a, b) = (address(1), address(2));
        let (mut book, now) = (book(&[a, b]), Instant::now());
        let chosen: Vec<_> = (0..4).map(|_| open(&mut book, now)).collect();
        assert_eq!(chosen.iter().filter(|to| **to == a).count(), 2);
        assert_eq!(chosen.iter().filter(|to| **to == b).count(), 2);
    }

    #[test]
    fn daemons_begin_with_different_addresses() {
        let now = Instant::now();
        for turn in 0..3 {
            let mut book = Book::new(turn);
            book.learn(&[address(0), address(1), address(2)]);
            assert_eq!(book.order(now)[0], address(u8::try_from(turn).unwrap()));
        }
    }

    #[test]
    fn an_address_that_failed_comes_last_and_is_tried_again_later() {
        let (a, b) = (address(1), address(2));
        let (mut book, now) = (book(&[a, b]), Instant::now());
        book.failed(a, now);
        for _ in 0..4 {
            assert_eq!(book.order(now), [b, a]);
        }
        book.opened(b);
        assert_eq!(book.order(now + AVOID)[0], a);
    }

    #[test]
    fn repeated_failures_are_avoided_longer_but_not_for_ever() {
        let (a, b) = (address(1), address(2));
        let (mut book, mut now) = (book(&[a, b]), Instant::now());
        for _ in 0..20 {
            book.failed(a, now);
            now += MAX_AVOID;
        }
        book.failed(a, now);
        book.opened(b);
        assert_eq!(book.order(now + MAX_AVOID / 2)[0], b);
        assert_eq!(book.order(now + MAX_AVOID)[0], a);
        book.answered(a);
        assert_eq!(book.order(now)[0], a);
    }

    #[test]
    fn connections_that_end_together_are_one_failure() {
        let (a, b) = (address(1), address(2));
        let (mut book, now) = (book(&[a, b]), Instant::now());
        for _ in 0..16 {
            book.failed(a, now);
        }
        book.opened(b);
        assert_eq!(book.order(now + AVOID / 2)[0], b);
        assert_eq!(book.order(now + AVOID)[0], a);
    }

    #[test]
    fn of_two_that_fail_the_one_that_failed_earlier_is_tried_first() {
        let (a, b) = (address(1), address(2));
        let (mut book, mut now) = (book(&[a, b]), Instant::now());
        let mut tried = Vec::new();
        for _ in 0..4 {
            let first = book.order(now)[0];
            tried.push(first);
            now += Duration::from_secs(1);
            book.failed(first, now);
        }
        assert_eq!(tried, [a, b, a, b]);
    }

    #[test]
    fn a_replica_that_is_back_gets_connections_one_at_a_time() {
        let (a, b) = (address(1), address(2));
        let (mut book, now) = (book(&[a, b]), Instant::now());
        book.failed(a, now);
        for _ in 0..4 {
            assert_eq!(open(&mut book, now), b);
        }
        assert_eq!(book.begin_move(b, now), None, "it failed a moment ago");
        let later = now + AVOID;
        assert_eq!(book.begin_move(b, later), Some(a));
        assert_eq!(book.begin_move(b, later), None, "one moves already");
        book.closed(b);
        book.opened(a);
        book.moved();
        assert_eq!(book.begin_move(b, later), Some(a));
        book.closed(b);
        book.opened(a);
        book.moved();
        assert_eq!(book.begin_move(b, later), None, "two and two");
        assert_eq!(book.begin_move(a, later), None);
    }

    #[test]
    fn an_address_that_the_name_lost_gets_no_new_connection() {
        let (a, b) = (address(1), address(2));
        let (mut book, now) = (book(&[a]), Instant::now());
        book.opened(a);
        book.learn(&[b]);
        assert_eq!(book.order(now), [b]);
        book.closed(a);
        book.learn(&[b]);
        assert_eq!(book.entries.len(), 1);
    }

    proptest! {
        /// Whatever happens, every listed address is offered, each once.
        #[test]
        fn every_address_is_offered(
            count in 1u8..10,
            steps in proptest::collection::vec((0u8..10, 0u8..4), 0..60),
        ) {
            let addresses: Vec<_> = (0..count).map(address).collect();
            let (mut book, mut now) = (book(&addresses), Instant::now());
            for (which, what) in steps {
                let it = address(which % count);
                match what {
                    0 => book.failed(it, now),
                    1 => book.opened(it),
                    2 => book.closed(it),
                    _ => now += Duration::from_secs(7),
                }
                let mut order = book.order(now);
                order.sort();
                prop_assert_eq!(&order, &addresses);
            }
        }
    }
}
