//! What the page shows while it is open: a look per second at counters and finished batches, passed to every
//! open page. While no page is open, all that remains is a sample of the counters per second.

mod conversations;
mod history;
mod kept;
mod look;
pub(super) mod record;
mod stream;
mod tap;
mod tops;
mod traffic;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use netflow_wire::foreign::Foreign;
use serde_json::Value;
use tokio::sync::{Semaphore, broadcast};

use self::conversations::Conversations;
use super::api::Watched;
use crate::health::Part;
use kept::Kept;
use traffic::Traffic;

pub(super) use history::{History, Sample};
pub(super) use stream::{Lease, conversations, live};
pub use tap::Tap;

/// Pages open at once.
const MAX_PAGES: usize = 8;
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Looks that a slow page may be behind; it misses older ones.
const MAX_BEHIND: usize = 4;
/// How long what was seen stays when the last page is closed: a reload begins where it was.
const LINGER: Duration = Duration::from_secs(15);

/// What is seen, and the open pages.
#[derive(Debug)]
pub struct Live {
    pub(super) tap: Arc<Tap>,
    /// Where a trace is shown, with `{trace_id}` in it.
    pub(super) trace_url: Option<String>,
    history: Mutex<History>,
    seen: Mutex<Seen>,
    pages: Arc<Semaphore>,
    looks: broadcast::Sender<Arc<look::Look>>,
}

/// What is only there while a page is open.
#[derive(Debug, Default)]
struct Seen {
    kept: Kept,
    conversations: Conversations,
    traffic: Traffic,
    exporters: HashMap<Box<str>, look::Before>,
    /// Senders of something else, with what that seems to be.
    strangers: Vec<(Box<str>, Foreign)>,
}

impl Live {
    pub(super) fn new(tap: Arc<Tap>, trace_url: Option<String>) -> Self {
        Self {
            tap,
            trace_url,
            history: Mutex::default(),
            seen: Mutex::default(),
            pages: Arc::new(Semaphore::new(MAX_PAGES)),
            looks: broadcast::Sender::new(MAX_BEHIND),
        }
    }

    /// The rates of the last quarter of an hour.
    pub(super) fn history(&self) -> Value {
        self.lock_history().columns()
    }

    /// The spans of a trace as an encoded request, as long as its batches are kept.
    pub(super) fn trace(&self, trace_id: [u8; 16]) -> Option<Vec<u8>> {
        let batches = self.lock_seen().kept.batches();
        kept::trace(&batches, trace_id)
    }

    fn lock_history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks once a second, for as long as it is not dropped.
pub(super) async fn keep_looking(watched: &Arc<Watched>, part: &Part) {
    let live = &watched.live;
    let mut clock = tokio::time::interval(LOOK);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tapped_until: Option<Instant> = None;
    let mut round = 0_u64;
    loop {
        let now = clock.tick().await.into_std();
        part.works(LOOK * 10);
        live.lock_history().push(Sample::read(&watched.stages));
        if live.looks.receiver_count() > 0 {
            if tapped_until.replace(now + LINGER).is_none() {
                live.tap.want(true);
                round = 0;
            }
        } else if tapped_until.is_none_or(|until| until <= now) {
            if tapped_until.take().is_some() {
                live.tap.want(false);
                *live.lock_seen() = Seen::default();
            }
            continue;
        }
        let look = look::take(watched, round, now).await;
        round += 1;
        // Nobody may be left to get it.
        let _ = live.looks.send(Arc::new(look));
    }
}
