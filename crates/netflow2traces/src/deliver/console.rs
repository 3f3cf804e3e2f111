//! `OTEL_TRACES_EXPORTER=console`: one JSON line a span.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use super::body::Prepared;
use super::outcome::{Cause, Outcome};

/// Writes lines to stdout, or to what a test gives in its place.
#[derive(Clone)]
pub(super) struct Console {
    out: Arc<Mutex<dyn Write + Send>>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl Console {
    pub(super) fn new(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Arc::new(Mutex::new(out)),
        }
    }

    /// Lines of one batch stay together. A reader that has gone away refuses them for good.
    pub(super) async fn send(&self, lines: &Prepared) -> Outcome {
        let out = Arc::clone(&self.out);
        let octets = lines.octets.clone();
        let written = tokio::task::spawn_blocking(move || {
            let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(&octets).and_then(|()| out.flush())
        });
        match written.await {
            Ok(Ok(())) => Outcome::Accepted,
            Ok(Err(error)) => Outcome::Rejected {
                cause: Cause::new(format!("stdout can't be written: {error}")),
            },
            Err(error) => Outcome::Rejected {
                cause: Cause::new(error.to_string()),
            },
        }
    }
}
