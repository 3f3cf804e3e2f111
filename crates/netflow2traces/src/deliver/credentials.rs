//! The daemon's credentials and trusted authorities: headers and TLS files. Files are looked at before requests, at
//! most once a second, and read again when they changed. While what they hold can't be used (a certificate is renewed
//! before its key, say), the previous version stays in use, and the files are tried again.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use tracing::{info, warn};

use super::report::Limiter;
use super::sender::{DeliverError, user_headers};
use super::tls::Client;
use super::transport::Versions;
use crate::config::{Headers, Otlp, Tls, header_file};

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// Headers and TLS of one backend.
#[derive(Debug)]
pub(super) struct Credentials {
    /// `None` for an endpoint without TLS.
    tls: Option<Tls>,
    versions: Versions,
    given: Headers,
    headers_file: Option<PathBuf>,
    /// What the protocol itself needs; it wins over all others.
    fixed: HeaderMap,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    current: Current,
    /// Of the files that `current` was made of.
    tls_marks: Vec<Mark>,
    headers_mark: Mark,
    looked: Instant,
    unusable: Limiter,
}

/// What a request is sent with.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) tls: Client,
    /// All headers of a request.
    pub(super) headers: Arc<HeaderMap>,
    /// Changes with the TLS files: connections that were made before are to be replaced.
    pub(super) generation: u64,
}

/// What changes when a file is written or another takes its place, also through a symbolic link. `None`: there is none.
type Mark = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

fn mark(path: &Path) -> Mark {
    let found = std::fs::metadata(path).ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.size(),
        (found.mtime(), found.mtime_nsec()),
        (found.ctime(), found.ctime_nsec()),
    ))
}

impl Credentials {
    /// Reads all files. `fixed` are the protocol's own headers.
    ///
    /// # Errors
    /// [`DeliverError`], if a file can't be used.
    pub(super) fn new(
        otlp: &Otlp,
        https: bool,
        versions: Versions,
        fixed: HeaderMap,
    ) -> Result<Self, DeliverError> {
        let tls = https.then(|| otlp.tls.clone());
        let headers_file = otlp.headers_file.clone();
        // Marks first: what changes after them is read again.
        let (tls_marks, headers_mark) =
            (marks(tls.as_ref()), headers_file.as_deref().and_then(mark));
        let from_file = read_headers(headers_file.as_deref())?;
        let current = Current {
            tls: match &tls {
                Some(tls) => Client::new(tls, versions)?,
                None => Client::plain()?,
            },
            headers: Arc::new(user_headers(&otlp.headers, &from_file, &fixed)),
            generation: 0,
        };
        Ok(Self {
            tls,
            versions,
            given: otlp.headers.clone(),
            headers_file,
            fixed,
            state: Mutex::new(State {
                current,
                tls_marks,
                headers_mark,
                looked: now(),
                unusable: Limiter::default(),
            }),
        })
    }

    /// What the files hold, as far as it can be used.
    pub(super) fn current(&self) -> Current {
        let mut state = self.lock();
        if now().saturating_duration_since(state.looked) >= LOOK {
            self.look(&mut state, false);
        }
        state.current.clone()
    }

    /// Whether the headers that the files hold now are other ones: a request that was refused for those is worth another
    /// attempt.
    pub(super) fn have_changed_since(&self, headers: &Arc<HeaderMap>) -> bool {
        let mut state = self.lock();
        self.look(&mut state, false);
        !Arc::ptr_eq(&state.current.headers, headers)
    }

    /// Reads all files again, the system's roots too, whether they changed or not.
    pub(super) fn reload(&self) {
        let mut state = self.lock();
        self.look(&mut state, true);
    }

    fn look(&self, state: &mut State, all: bool) {
        state.looked = now();
        if let Some(tls) = &self.tls {
            let marks = marks(Some(tls));
            if all || marks != state.tls_marks {
                match Client::new(tls, self.versions) {
                    Ok(client) => {
                        for reason in &client.ignored {
                            warn!(
                                reason,
                                "a certificate of OTEL_EXPORTER_OTLP_CERTIFICATE is ignored"
                            );
                        }
                        state.current.tls = client;
                        state.current.generation += 1;
                        state.tls_marks = marks;
                        info!("TLS files of the backend read again; connections are renewed");
                    }
                    Err(error) => state.say(&error.into()),
                }
            }
        }
        if let Some(path) = self.headers_file.as_deref() {
            let mark = mark(path);
            if all || mark != state.headers_mark {
                match read_headers(Some(path)) {
                    Ok(from_file) => {
                        let headers = user_headers(&self.given, &from_file, &self.fixed);
                        state.current.headers = Arc::new(headers);
                        state.headers_mark = mark;
                        info!("NETFLOW_OTLP_HEADERS_FILE read again");
                    }
                    Err(error) => state.say(&error),
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn say(&mut self, error: &DeliverError) {
        if self.unusable.pass(now()).is_some() {
            warn!(%error, "a file that has changed can't be used; the previous version stays in use");
        }
    }
}

fn marks(tls: Option<&Tls>) -> Vec<Mark> {
    let files = tls
        .into_iter()
        .flat_map(|tls| [&tls.certificate, &tls.client_certificate, &tls.client_key]);
    files.flatten().map(|path| mark(path)).collect()
}

fn read_headers(path: Option<&Path>) -> Result<Headers, DeliverError> {
    let Some(path) = path else {
        return Ok(Headers::new());
    };
    header_file(path).map_err(|reason| DeliverError::HeadersFile {
        path: path.to_path_buf(),
        reason,
    })
}

/// tokio's clock, which tests may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
