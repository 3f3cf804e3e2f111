//! Which connections may stay. Reading a request's head is the only way to learn whether it is a probe, so connections
//! are accepted nearly without end, and those that ask nothing make room: the one that has been quiet for longest is
//! closed first. A probe, whose request comes with its connection, is answered however many others are open.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Connections at once; some kilobytes each.
pub(super) const MAX_CONNECTIONS: usize = 512;
/// So many places are kept free by closing quiet connections. More than all clients, so that answers that are still
/// on their way to slow clients never keep a probe waiting.
const SPARE: usize = 2 * MAX_CLIENTS;
/// Connections at once that have asked for more than a probe: their answers may be megabytes.
pub(super) const MAX_CLIENTS: usize = 64;
/// How long a client waits for another one to make room.
const PATIENCE: Duration = Duration::from_secs(3);

/// All connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    places: Arc<Semaphore>,
    clients: Arc<Semaphore>,
    /// Counts connections and answers.
    clock: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
}

#[derive(Debug)]
struct Open {
    /// No request is being answered; the smaller the number the longer.
    quiet_since: Option<u64>,
    is_client: bool,
    /// It was asked to close.
    is_leaving: bool,
    close: Arc<Notify>,
}

/// One connection. Dropping it makes room.
#[derive(Debug)]
pub(super) struct Connection {
    number: u64,
    all: Arc<Connections>,
    close: Arc<Notify>,
    client: Mutex<Option<OwnedSemaphorePermit>>,
    _place: OwnedSemaphorePermit,
}

/// A request is being answered, until this is dropped.
#[derive(Debug)]
pub(super) struct Answering(Arc<Connection>);

/// All clients' places are taken by clients that are being answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Busy;

impl Connections {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            clients: Arc::new(Semaphore::new(MAX_CLIENTS)),
            clock: AtomicU64::new(0),
            open: Mutex::default(),
        })
    }

    /// Waits for a place, which there is but in a flood of connections that all ask at once.
    pub(super) async fn place(self: &Arc<Self>) -> Option<OwnedSemaphorePermit> {
        if self.places.available_permits() <= SPARE {
            self.close_quietest(|_| true);
        }
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// A connection that was just accepted.
    pub(super) fn enter(self: &Arc<Self>, place: OwnedSemaphorePermit) -> Arc<Connection> {
        let number = self.clock.fetch_add(1, Relaxed);
        let close = Arc::new(Notify::new());
        let open = Open {
            quiet_since: Some(number),
            is_client: false,
            is_leaving: false,
            close: Arc::clone(&close),
        };
        self.lock().insert(number, open);
        Arc::new(Connection {
            number,
            all: Arc::clone(self),
            close,
            client: Mutex::default(),
            _place: place,
        })
    }

    /// Asks the connection that has been quiet for longest to close; whether there is one.
    pub(super) fn close_quietest(&self, may_close: impl Fn(bool) -> bool) -> bool {
        let mut open = self.lock();
        let quiet = open.values_mut().filter_map(|open| {
            let closable = !open.is_leaving && may_close(open.is_client);
            let since = open.quiet_since.filter(|_| closable)?;
            Some((since, open))
        });
        match quiet.min_by_key(|(since, _)| *since) {
            Some((_, quietest)) => {
                quietest.is_leaving = true;
                quietest.close.notify_one();
                true
            }
            None => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Waits until it is to close for the sake of others.
    pub(super) async fn asked_to_close(&self) {
        self.close.notified().await;
    }

    /// A request's head was read; the answer is under way until the result is dropped.
    pub(super) fn answering(self: &Arc<Self>) -> Answering {
        self.set(|open| open.quiet_since = None);
        Answering(Arc::clone(self))
    }

    /// It asks for more than a probe, and needs a client's place from now on.
    ///
    /// # Errors
    /// All are taken, and none became free in time.
    pub(super) async fn become_client(&self) -> Result<(), Busy> {
        if self.client().is_some() {
            return Ok(());
        }
        let clients = Arc::clone(&self.all.clients);
        let permit = match Arc::clone(&clients).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) if !self.all.close_quietest(|is_client| is_client) => return Err(Busy),
            Err(_) => tokio::time::timeout(PATIENCE, clients.acquire_owned())
                .await
                .map_err(|_| Busy)?
                .map_err(|_| Busy)?,
        };
        *self.client() = Some(permit);
        self.set(|open| open.is_client = true);
        Ok(())
    }

    fn client(&self) -> MutexGuard<'_, Option<OwnedSemaphorePermit>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, change: impl FnOnce(&mut Open)) {
        if let Some(open) = self.all.lock().get_mut(&self.number) {
            change(open);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.lock().remove(&self.number);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let now = self.0.all.clock.fetch_add(1, Relaxed);
        self.0.set(|open| open.quiet_since = Some(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn entered(all: &Arc<Connections>) -> Arc<Connection> {
        let place = all.place().await.expect("a place");
        all.enter(place)
    }

    async fn is_asked_to_close(connection: &Connection) -> bool {
        let asked = connection.asked_to_close();
        tokio::time::timeout(Duration::ZERO, asked).await.is_ok()
    }

    #[tokio::test]
    async fn the_quietest_makes_room_and_one_that_is_answered_does_not() {
        let all = Connections::new();
        let answered = entered(&all).await;
        let answering = answered.answering();
        let mut quiet = Vec::new();
        for _ in 1..MAX_CONNECTIONS - SPARE {
            quiet.push(entered(&all).await);
        }
        for connection in &quiet {
            assert!(!is_asked_to_close(connection).await);
        }
        let _newcomers = [entered(&all).await, entered(&all).await];
        assert!(!is_asked_to_close(&answered).await);
        assert!(is_asked_to_close(&quiet[0]).await);
        assert!(is_asked_to_close(&quiet[1]).await);
        assert!(!is_asked_to_close(&quiet[2]).await);
        // It has just been answered, so all others have been quiet for longer.
        drop(answering);
        assert!(all.close_quietest(|_| true));
        assert!(is_asked_to_close(&quiet[2]).await);
        assert!(!is_asked_to_close(&answered).await);
    }

    #[tokio::test]
    async fn a_client_takes_the_place_of_a_quiet_one() {
        let all = Connections::new();
        let mut clients = Vec::new();
        for _ in 0..MAX_CLIENTS {
            let client = entered(&all).await;
            assert!(client.become_client().await.is_ok());
            clients.push((client.answering(), client));
        }
        let next = entered(&all).await;
        assert!(next.become_client().await.is_err(), "all are answered");
        let (answering, quiet) = clients.pop().expect("a client");
        drop(answering);
        let taking = next.become_client();
        tokio::pin!(taking);
        assert!(
            tokio::time::timeout(Duration::ZERO, &mut taking)
                .await
                .is_err()
        );
        assert!(is_asked_to_close(&quiet).await);
        drop(quiet);
        assert!(taking.await.is_ok());
    }
}
