//! How far a long file is read, on a terminal.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A file that is read sooner needs no bar.
const PATIENCE: Duration = Duration::from_secs(1);
const BYTES_KNOWN: &str = "{wide_bar} {bytes} of {total_bytes}, {eta} to go";
const BYTES_UNKNOWN: &str = "{spinner} {bytes} read";

/// A reader that shows how much was read of it.
pub(super) struct Watched<R> {
    inner: R,
    bar: ProgressBar,
    /// When the bar appears; `None`: it is there, or never comes.
    due: Option<Instant>,
}

impl<R: Read> Watched<R> {
    /// `total` is the file's length, where it has one. Without `is_shown` nothing is ever drawn.
    pub(super) fn new(inner: R, total: Option<u64>, is_shown: bool) -> Self {
        let hidden = ProgressDrawTarget::hidden();
        let bar = ProgressBar::with_draw_target(total, hidden);
        let template = if total.is_some() {
            BYTES_KNOWN
        } else {
            BYTES_UNKNOWN
        };
        // A template that can't be read would leave the usual one.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            inner,
            bar,
            due: is_shown.then(|| Instant::now() + PATIENCE),
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bar.inc(read as u64);
        if self.due.is_some_and(|due| Instant::now() >= due) {
            self.due = None;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        Ok(read)
    }
}

impl<R> Drop for Watched<R> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_counted_and_not_changed() {
        let octets: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let mut watched = Watched::new(&octets[..], Some(100_000), false);
        let bar = watched.bar.clone();
        let mut read = Vec::new();
        watched.read_to_end(&mut read).unwrap();
        assert_eq!(read, octets);
        assert_eq!(bar.position(), 100_000);
        assert!(bar.is_hidden());
    }
}
