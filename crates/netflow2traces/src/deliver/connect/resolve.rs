//! Looks a name up on a thread of its own: the system's resolver can't be interrupted, and a pool that waits for it
//! would hold the whole process at its end. One look-up runs at a time, for all connections.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use tokio::sync::watch;
use tokio::time::Instant;

/// Connections that are made together share a look-up this fresh.
const FRESH: Duration = Duration::from_secs(1);
/// With traffic, the name is looked up again when the last look-up is this old.
const STALE: Duration = Duration::from_secs(30);
/// A look-up that takes longer is given up: another may start beside it …
const HANGS: Duration = Duration::from_secs(30);
/// … unless so many hang already.
const MAX_HANGING: u32 = 4;

/// Asks the system; tests ask something else.
pub(in super::super) type LookUp =
    Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Resolves one host and port.
pub(super) struct Resolver {
    host: String,
    port: u16,
    look_up: LookUp,
    /// An address needs no look-up.
    address: Option<SocketAddr>,
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the running look-up began.
    running: Option<Instant>,
    /// Number of the latest look-up: an older one that comes late changes nothing.
    number: u64,
    hanging: u32,
    /// When the last one ended.
    ended: Option<Instant>,
    failure: Option<Unresolved>,
    /// Of the last look-up that found any: better than nothing while the name server is away.
    known: Vec<SocketAddr>,
}

/// Why there are no addresses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in super::super) enum Unresolved {
    /// The resolver said no.
    Failed(String),
    /// The resolver said nothing for so long.
    Silent(Duration),
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(reason) => {
                // The standard library says so before the system's own words.
                let known = "failed to lookup address information: ";
                f.write_str(reason.strip_prefix(known).unwrap_or(reason))
            }
            Self::Silent(limit) => write!(f, "no answer within {limit:?}"),
        }
    }
}

impl Resolver {
    /// `host` is a name, or an address that may have a zone (`fe80::1%eth0`).
    pub(super) fn new(host: &str, port: u16) -> Self {
        let system = |host: &str, port: u16| Ok((host, port).to_socket_addrs()?.collect());
        Self::with(host, port, Arc::new(system))
    }

    pub(super) fn with(host: &str, port: u16, look_up: LookUp) -> Self {
        let address = host.parse::<IpAddr>().ok();
        Self {
            host: host.to_owned(),
            port,
            look_up,
            address: address.map(|address| SocketAddr::new(address, port)),
            state: watch::Sender::default(),
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The addresses by a look-up that is not older than a second, or by an earlier one if that fails: then also why.
    ///
    /// # Errors
    /// [`Unresolved`], if no look-up has found any address.
    pub(super) async fn addresses(
        &self,
        limit: Duration,
    ) -> Result<(Vec<SocketAddr>, Option<Unresolved>), Unresolved> {
        if let Some(address) = self.address {
            return Ok((vec![address], None));
        }
        self.start(FRESH);
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| state.running.is_none());
        let failure = match tokio::time::timeout(limit, ended).await {
            // The sender lives in `self`, so waiting can't fail.
            Ok(_) => self.state.borrow().failure.clone(),
            Err(_) => Some(Unresolved::Silent(limit)),
        };
        match (failure, self.known()) {
            (Some(failure), known) if known.is_empty() => Err(failure),
            (failure, known) => Ok((known, failure)),
        }
    }

    /// What is known without waiting.
    pub(super) fn known(&self) -> Vec<SocketAddr> {
        match self.address {
            Some(address) => vec![address],
            None => self.state.borrow().known.clone(),
        }
    }

    /// Looks the name up again if the last look-up is old, and waits for nothing.
    pub(super) fn refresh(&self) {
        if self.address.is_none() {
            self.start(STALE);
        }
    }

    /// Starts a look-up, unless one runs or the last one is younger than `age`.
    fn start(&self, age: Duration) {
        let now = Instant::now();
        let mut number = 0;
        let starts = self.state.send_if_modified(|state| {
            let starts = match (state.running, state.ended) {
                (Some(since), _) if now.duration_since(since) < HANGS => false,
                (Some(_), _) if state.hanging >= MAX_HANGING => false,
                (Some(_), _) => {
                    state.hanging += 1;
                    true
                }
                (None, Some(ended)) => now.duration_since(ended) >= age,
                (None, None) => true,
            };
            if starts {
                state.number += 1;
                state.running = Some(now);
                number = state.number;
            }
            starts
        });
        if !starts {
            return;
        }
        let (host, port, state) = (self.host.clone(), self.port, self.state.clone());
        let look_up = Arc::clone(&self.look_up);
        let thread = std::thread::Builder::new().name("resolve".into());
        let started = thread.spawn(move || {
            let found = look_up(&host, port);
            finish(&state, number, found.map_err(|error| error.to_string()));
        });
        if let Err(error) = started {
            let failure = format!("no thread can be started for the look-up: {error}");
            finish(&self.state, number, Err(failure));
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

fn finish(state: &watch::Sender<State>, number: u64, found: Result<Vec<SocketAddr>, String>) {
    state.send_modify(|state| {
        if state.number != number {
            state.hanging = state.hanging.saturating_sub(1);
            return;
        }
        state.running = None;
        state.ended = Some(Instant::now());
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                state.known = addresses;
                state.failure = None;
            }
            Ok(_) => state.failure = Some(Unresolved::Failed("the name has no address".into())),
            Err(reason) => state.failure = Some(Unresolved::Failed(reason)),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::mpsc;

    const LIMIT: Duration = Duration::from_secs(30);

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 4317))
    }

    #[tokio::test]
    async fn an_address_needs_no_look_up() {
        let resolver = Resolver::with("192.0.2.1", 4317, Arc::new(|_, _| panic!("a look-up")));
        assert_eq!(
            resolver.addresses(LIMIT).await,
            Ok((vec![address(1)], None))
        );
        assert_eq!(resolver.known(), [address(1)]);
    }

    /// The first interface is the loopback one, whatever its name.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_link_local_address_is_of_its_zone() {
        let resolver = Resolver::new("fe80::1%lo", 4317);
        let found = resolver.addresses(LIMIT).await;
        let Ok((addresses, None)) = found else {
            panic!("{found:?}")
        };
        assert!(matches!(addresses[..], [SocketAddr::V6(address)] if address.scope_id() == 1));
        let unknown = Resolver::new("fe80::1%nowhere", 4317);
        assert!(unknown.addresses(LIMIT).await.is_err());
    }

    #[tokio::test]
    async fn connections_that_are_made_together_share_a_look_up() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let look_up = move |_: &str, _| {
            counted.fetch_add(1, Relaxed);
            Ok(vec![address(1), address(2)])
        };
        let resolver = Resolver::with("backend.test", 4317, Arc::new(look_up));
        for _ in 0..2 {
            let (one, two) = tokio::join!(resolver.addresses(LIMIT), resolver.addresses(LIMIT));
            assert_eq!(one, Ok((vec![address(1), address(2)], None)));
            assert_eq!(one, two);
        }
        assert_eq!(calls.load(Relaxed), 1);
    }

    /// The name server answers what the test sends.
    fn scripted() -> (mpsc::Sender<io::Result<Vec<SocketAddr>>>, Resolver) {
        let (answers, script) = mpsc::channel();
        let script = Mutex::new(script);
        let look_up = move |_: &str, _| {
            let script = script.lock().expect("no panic");
            script
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("the test is over")))
        };
        (
            answers,
            Resolver::with("backend.test", 4317, Arc::new(look_up)),
        )
    }

    #[tokio::test]
    async fn a_look_up_that_never_ends_is_not_waited_for_and_its_answer_is_used_when_it_comes() {
        let (answers, resolver) = scripted();
        let limit = Duration::from_millis(10);
        let silent = Err(Unresolved::Silent(limit));
        assert_eq!(resolver.addresses(limit).await, silent);
        assert_eq!(resolver.addresses(limit).await, silent);
        answers.send(Ok(vec![address(1)])).expect("it waits");
        assert_eq!(
            resolver.addresses(LIMIT).await,
            Ok((vec![address(1)], None))
        );
    }

    #[tokio::test]
    async fn addresses_that_were_known_outlive_the_name_server() {
        let (answers, resolver) = scripted();
        answers.send(Ok(vec![address(1)])).expect("it waits");
        assert_eq!(
            resolver.addresses(LIMIT).await,
            Ok((vec![address(1)], None))
        );
        resolver.state.send_modify(|state| state.ended = None);
        answers
            .send(Err(io::Error::other("SERVFAIL")))
            .expect("it waits");
        assert_eq!(
            resolver.addresses(LIMIT).await,
            Ok((
                vec![address(1)],
                Some(Unresolved::Failed("SERVFAIL".into()))
            ))
        );
    }

    #[tokio::test]
    async fn a_name_without_addresses_says_why() {
        let (answers, resolver) = scripted();
        answers
            .send(Err(io::Error::other("NXDOMAIN")))
            .expect("it waits");
        let failed = Err(Unresolved::Failed("NXDOMAIN".into()));
        assert_eq!(resolver.addresses(LIMIT).await, failed);
        resolver.state.send_modify(|state| state.ended = None);
        answers.send(Ok(Vec::new())).expect("it waits");
        assert!(matches!(
            resolver.addresses(LIMIT).await,
            Err(Unresolved::Failed(_))
        ));
    }
}
