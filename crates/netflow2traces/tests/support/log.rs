//! The log of this thread, as JSON: for tests of what is said, and how often.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once};

use serde_json::Value;
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// What was written since it began; a tokio runtime of one thread writes here too.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes this thread's lines of `level` and above until the guard goes.
    pub(crate) fn begin(level: Level) -> (Self, DefaultGuard) {
        // Whether a line is of interest is remembered for the process, and with one subscriber alone the
        // answer is that of the thread that asks first, which may be a test without one.
        static EVERY_THREAD: Once = Once::new();
        EVERY_THREAD.call_once(|| {
            let listening = tracing_subscriber::fmt()
                .with_max_level(Level::DEBUG)
                .with_writer(io::sink)
                .finish();
            tracing::subscriber::set_global_default(listening).unwrap();
        });
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(level)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// All lines.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let octets = self.0.lock().unwrap().clone();
        let lines = octets.split(|octet| *octet == b'\n');
        lines
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    /// The lines with this message.
    pub(crate) fn saying(&self, message: &str) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["message"] == message);
        lines
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
