//! `/api/live`: server-sent events for one page. A page that reads slowly misses looks; one that doesn't read at
//! all is let go; there are only so many.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, RawQuery, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::MAX_PAGES;
use super::look::{self, Look};
use super::record::{Filter, FilterText, Record};
use super::tops::Tops;
use crate::observe::api::Watched;
use crate::observe::parameters::{BadParameter, Parameters};

/// Records that a page gets with one look.
const MAX_RECORDS: usize = 40;
/// Conversations where nobody asks for a number.
const MAX_CONVERSATIONS: usize = 25;
/// Rows of a list at most.
const MAX_ROWS: usize = 1000;
/// Looks after which there is something to show.
const FIRST_LOOKS: usize = 2;
/// A look takes no longer, unless the daemon has too much to do.
const PATIENCE: Duration = Duration::from_secs(3);
/// Events on their way to one page.
const MAX_EVENTS: usize = 8;
/// A page that takes nothing for so long is gone.
const STALLED: Duration = Duration::from_secs(30);

/// Parameters of `/api/live`: those of a filter.
const FILTER: &[&str] = &[
    "address",
    "peer",
    "port",
    "protocol",
    "exporter",
    "interface",
];
/// Parameters of `/api/conversations`.
const CONVERSATIONS: &[&str] = &[
    "address",
    "peer",
    "port",
    "protocol",
    "exporter",
    "interface",
    "limit",
];

/// How long a connection may last: an answer that continues prolongs it, as long as it is read.
#[derive(Clone, Debug)]
pub(in crate::observe) struct Lease(Arc<Term>);

#[derive(Debug)]
struct Term {
    begun: Instant,
    /// Milliseconds from there to the end.
    length: AtomicU64,
}

impl Lease {
    pub(in crate::observe) fn new(length: Duration) -> Self {
        let term = Term {
            begun: Instant::now(),
            length: AtomicU64::new(0),
        };
        let lease = Self(Arc::new(term));
        lease.prolong(length);
        lease
    }

    pub(in crate::observe) fn end(&self) -> Instant {
        self.0.begun + Duration::from_millis(self.0.length.load(Relaxed))
    }

    /// It doesn't end before so much more time has passed.
    fn prolong(&self, by: Duration) {
        let length = (self.0.begun.elapsed() + by).as_millis();
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        self.0.length.fetch_max(length, Relaxed);
    }
}

/// The answer to `/api/live`.
pub(in crate::observe) async fn live(
    State(watched): State<Arc<Watched>>,
    Extension(lease): Extension<Lease>,
    RawQuery(query): RawQuery,
) -> Response {
    let given = match Parameters::read(query.as_deref(), FILTER) {
        Ok(given) => given,
        Err(refused) => return refused.into_response(),
    };
    let Ok(permit) = Arc::clone(&watched.live.pages).try_acquire_owned() else {
        let text = format!("too many pages are open (limit: {MAX_PAGES}): close one\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let (sender, events) = mpsc::channel(MAX_EVENTS);
    let page = Page {
        looks: watched.live.looks.subscribe(),
        filter: Filter::read(&FilterText::of(&given)),
        watched,
        events: sender,
        lease,
        _permit: permit,
    };
    tokio::spawn(page.feed());
    // Buffering by a proxy would hold back what is to be seen at once.
    let unbuffered = [(header::HeaderName::from_static("x-accel-buffering"), "no")];
    (unbuffered, Sse::new(ReceiverStream::new(events))).into_response()
}

type Sent = Result<Event, Infallible>;

/// One open page.
struct Page {
    watched: Arc<Watched>,
    looks: broadcast::Receiver<Arc<Look>>,
    filter: Result<Filter, (&'static str, String)>,
    events: mpsc::Sender<Sent>,
    lease: Lease,
    _permit: OwnedSemaphorePermit,
}

impl Page {
    /// Until the page is closed, or takes nothing any more.
    async fn feed(mut self) {
        let _closed = self.run().await;
    }

    async fn run(&mut self) -> Option<()> {
        self.send("hello", &self.greeting().to_string()).await?;
        if let Ok(filter) = &self.filter {
            let latest = {
                let seen = self.watched.live.seen.lock();
                let seen = seen.unwrap_or_else(PoisonError::into_inner);
                seen.kept.latest(filter, MAX_RECORDS)
            };
            self.send("records", &records(&latest, None).to_string())
                .await?;
        }
        loop {
            let closed = self.events.clone();
            let look = tokio::select! {
                look = self.looks.recv() => match look {
                    Ok(look) => look,
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return None,
                },
                () = closed.closed() => return None,
            };
            self.send("status", &look.status).await?;
            if let Some(exporters) = &look.exporters {
                self.send("exporters", exporters).await?;
            }
            self.send("traffic", &look.traffic).await?;
            match self.filter.clone() {
                Ok(filter) if !filter.is_everything() => {
                    let rows = [MAX_CONVERSATIONS, look::MAX_ROWS];
                    let (conversations, tops) = tops(&self.watched, filter, rows).await?;
                    self.send("conversations", &conversations.to_string())
                        .await?;
                    self.send("tops", &tops.to_string()).await?;
                }
                _ => {
                    self.send("conversations", &look.conversations).await?;
                    self.send("tops", &look.tops).await?;
                }
            }
            if let Ok(filter) = &self.filter {
                let newest_first = look.records.iter().rev();
                let mut matched = 0;
                let mut wanted = Vec::new();
                for record in newest_first.filter(|record| filter.matches(record)) {
                    matched += 1;
                    if wanted.len() < MAX_RECORDS {
                        wanted.push(record.clone());
                    }
                }
                let counts = json!({
                    "flow_spans": look.flow_spans,
                    "passed_over": look.passed_over,
                    "matched": matched,
                });
                self.send("records", &records(&wanted, Some(counts)).to_string())
                    .await?;
            }
        }
    }

    fn greeting(&self) -> Value {
        let problem = self.filter.as_ref().err();
        json!({
            "history": self.watched.live.history(),
            "trace_url": self.watched.live.trace_url,
            "filter_problem": problem.map(|(field, text)| json!({ "field": field, "text": text })),
        })
    }

    async fn send(&self, name: &str, data: &str) -> Option<()> {
        let event = Event::default().event(name).data(data);
        let sent = tokio::time::timeout(STALLED, self.events.send(Ok(event))).await;
        sent.ok()?.ok()?;
        self.lease.prolong(STALLED);
        Some(())
    }
}

/// The conversations that a filter lets through, and the other lists; `None`: the daemon ends.
async fn tops(
    watched: &Arc<Watched>,
    filter: Filter,
    [conversations, rows]: [usize; 2],
) -> Option<(Value, Value)> {
    let looks = {
        let seen = watched.live.lock_seen();
        seen.kept.looks()
    };
    let now = std::time::Instant::now();
    // It goes through thousands of records: not on a thread that delivers.
    let made = tokio::task::spawn_blocking(move || {
        let tops = Tops::of(&looks, &filter, now);
        (tops.conversations(conversations), tops.shown(rows))
    });
    made.await.ok()
}

/// The answer to `/api/conversations`: what was reported in the last minutes, as far as somebody looked. Asking is
/// looking: the first answer takes two seconds.
pub(in crate::observe) async fn conversations(
    State(watched): State<Arc<Watched>>,
    RawQuery(query): RawQuery,
) -> Response {
    let asked = || {
        let given = Parameters::read(query.as_deref(), CONVERSATIONS)?;
        let filter = Filter::read(&FilterText::of(&given));
        let filter = filter.map_err(|(field, sentence)| BadParameter::new(field, &sentence))?;
        Ok::<_, BadParameter>((filter, given.limit()?.unwrap_or(MAX_CONVERSATIONS)))
    };
    let (filter, limit) = match asked() {
        Ok(asked) => asked,
        Err(refused) => return refused.into_response(),
    };
    let Ok(_permit) = Arc::clone(&watched.live.pages).try_acquire_owned() else {
        let text = format!("too many pages are open (limit: {MAX_PAGES}): close one\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let mut looks = watched.live.looks.subscribe();
    if watched.live.lock_seen().kept.looks().len() < FIRST_LOOKS {
        for _ in 0..FIRST_LOOKS {
            let _ = tokio::time::timeout(PATIENCE, looks.recv()).await;
        }
    }
    let rows = limit.clamp(1, MAX_ROWS);
    match tops(&watched, filter, [rows; 2]).await {
        Some((conversations, tops)) => Json(json!({
            "seconds": tops["seconds"],
            "octets": tops["octets"],
            "bits_per_second": tops["bits"],
            "conversations": conversations["conversations"],
            "heaviest": conversations["heaviest"],
            "hosts": tops["hosts"],
            "ports": tops["ports"],
            "systems": tops["systems"],
            "interfaces": tops["interfaces"],
            "exporters": tops["exporters"],
        }))
        .into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending\n").into_response(),
    }
}

/// Newest first.
fn records(records: &[Record], counts: Option<Value>) -> Value {
    json!({
        "counts": counts,
        "records": records.iter().map(Record::shown).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_prolonged_and_never_cut() {
        let lease = Lease::new(Duration::from_secs(60));
        let first = lease.end();
        lease.prolong(STALLED);
        assert_eq!(lease.end(), first);
        lease.prolong(Duration::from_secs(90));
        assert!(lease.end() >= first + Duration::from_secs(30));
    }
}
