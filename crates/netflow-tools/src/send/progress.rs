//! What is shown on stderr meanwhile: a bar on a terminal, else a line a second.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::totals::grouped;

/// How often a bar is drawn anew.
const BAR: Duration = Duration::from_millis(100);
const LINE: Duration = Duration::from_secs(1);

/// How far it is to the end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    Units(u64),
    Time(Duration),
    Endless,
}

pub(super) struct Progress {
    shown: Shown,
    goal: Goal,
    /// What is counted.
    unit: &'static str,
    started: Instant,
    /// When and at which count it was shown last.
    last: (Instant, u64),
    has_warned: bool,
}

enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    pub(super) fn new(goal: Goal, unit: &'static str, is_quiet: bool, now: Instant) -> Self {
        let shown = if is_quiet {
            Shown::Nothing
        } else if io::stderr().is_terminal() {
            Shown::Bar(bar(goal))
        } else {
            Shown::Lines
        };
        Self {
            shown,
            goal,
            unit,
            started: now,
            last: (now, 0),
            has_warned: false,
        }
    }

    /// Shows the count if it is time to.
    pub(super) fn show(&mut self, count: u64, now: Instant) {
        let every = match self.shown {
            Shown::Bar(_) => BAR,
            Shown::Lines => LINE,
            Shown::Nothing => return,
        };
        let since = now.saturating_duration_since(self.last.0);
        if since < every {
            return;
        }
        let rate = (count - self.last.1) as f64 / since.as_secs_f64();
        self.last = (now, count);
        let elapsed = now.saturating_duration_since(self.started);
        let (unit, rate) = (self.unit, grouped(rate as u64));
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_position(match self.goal {
                    Goal::Time(_) => elapsed.as_millis() as u64,
                    _ => count,
                });
                bar.set_message(format!("{} {unit}, {rate}/s", grouped(count)));
            }
            // If stderr is closed, there is nowhere to report this.
            _ => {
                let line = format!(
                    "{:.0} s: {} {unit}, {rate}/s\n",
                    elapsed.as_secs_f64(),
                    grouped(count)
                );
                let _ = io::stderr().lock().write_all(line.as_bytes());
            }
        }
    }

    /// Says at once, and once, that what is sent is for nothing.
    pub(super) fn nobody_listens(&mut self, target: SocketAddr) {
        if self.has_warned {
            return;
        }
        self.has_warned = true;
        let line = format!("warning: nothing listens at {target}; continuing anyway");
        match &self.shown {
            Shown::Bar(bar) => bar.println(line),
            Shown::Lines => {
                let _ = writeln!(io::stderr().lock(), "{line}");
            }
            Shown::Nothing => {}
        }
    }

    /// How long a wait may be without the count being shown.
    pub(super) fn patience(&self) -> Duration {
        match self.shown {
            Shown::Bar(_) => BAR,
            _ => LINE,
        }
    }

    /// Takes the bar away.
    pub(super) fn end(self) {
        if let Shown::Bar(bar) = self.shown {
            bar.finish_and_clear();
        }
    }
}

fn bar(goal: Goal) -> ProgressBar {
    let (bar, template) = match goal {
        Goal::Units(units) => (
            ProgressBar::new(units),
            "[{bar:40}] {percent:>3} % {msg}, {eta} to go",
        ),
        Goal::Time(time) => (
            ProgressBar::new(time.as_millis() as u64),
            "[{bar:40}] {percent:>3} % {msg}",
        ),
        Goal::Endless => (
            ProgressBar::new_spinner(),
            "{spinner} {msg}; Ctrl-C ends it",
        ),
    };
    // A template that can't be read would leave the usual one.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}
