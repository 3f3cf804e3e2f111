//! Holds what the file has, asks the workers for what changed, and writes.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use otlp_wire::UnixNanos;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::file::{self, LoadError};
use super::format;
use crate::health::{Kind, Part, caught};
use crate::observe::stages::Stages;
use crate::receive::wall_clock;
use crate::translate::{Saved, SavedExporter};
use crate::worker::Mailboxes;

/// How often it is looked whether something changed.
const LOOK: Duration = Duration::from_secs(1);
/// Between two writes passes at least so many times what the last one took.
const REST: u32 = 10;
/// A worker that hasn't answered by then answers for a later write.
const PATIENCE: Duration = Duration::from_secs(2);
/// A disk that takes longer to write the file hangs.
const LONGEST_WRITE: Duration = Duration::from_secs(60);
/// Octets of all exporters.
const MAX_OCTETS: usize = 256 << 20;

/// What the store counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Exporters in the file.
    pub exporters: AtomicU64,
    /// Octets of the file.
    pub octets: AtomicU64,
    pub writes: AtomicU64,
    pub failures: AtomicU64,
    /// Exporters that found no room.
    pub refused: AtomicU64,
}

/// What the file has, or will have once it is written.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    lifetime: Duration,
    exporters: HashMap<IpAddr, Kept>,
    octets: usize,
    max_octets: usize,
    counters: Arc<Counters>,
    failing: bool,
    /// What was written last.
    written: Option<file::Version>,
    /// Another process writes the file, too.
    is_shared: bool,
}

/// One exporter as it is written.
#[derive(Debug)]
struct Kept {
    octets: Box<[u8]>,
    seen: UnixNanos,
}

impl Keeper {
    /// Reads the file. Gives what it holds, too; a file that can't be used is said and set aside, and then there
    /// is nothing.
    ///
    /// # Errors
    /// When there is a file that can't be read.
    pub fn open(
        path: PathBuf,
        lifetime: Duration,
        counters: Arc<Counters>,
    ) -> io::Result<(Self, Vec<SavedExporter>)> {
        let loaded = match file::load(&path) {
            Ok(loaded) => loaded,
            Err(LoadError::Read(error)) => return Err(error),
            Err(error @ LoadError::SetAside { .. }) => {
                warn!(
                    file = %path.display(),
                    %error,
                    "the template store is damaged: exporters are unknown until they send their templates again"
                );
                Vec::new()
            }
        };
        let mut keeper = Self {
            path,
            lifetime,
            exporters: HashMap::new(),
            octets: 0,
            max_octets: MAX_OCTETS,
            counters,
            failing: false,
            written: None,
            is_shared: false,
        };
        keeper.take(&loaded);
        Ok((keeper, loaded))
    }

    /// Takes in what changed.
    pub fn take(&mut self, changed: &[SavedExporter]) {
        for saved in changed {
            if let Some(before) = self.exporters.remove(&saved.address) {
                self.octets -= before.octets.len();
            }
            let octets: Box<[u8]> = format::exporter(saved).into();
            if self.octets + octets.len() > self.max_octets {
                self.counters.refused.fetch_add(1, Relaxed);
                continue;
            }
            self.octets += octets.len();
            let seen = saved.seen;
            self.exporters.insert(saved.address, Kept { octets, seen });
        }
    }

    /// Forgets exporters that are too old, and writes the file.
    ///
    /// # Errors
    /// When that fails; the old file is still there.
    pub fn write(&mut self) -> io::Result<()> {
        let oldest = u128::from(wall_clock().0).saturating_sub(self.lifetime.as_nanos());
        let octets = &mut self.octets;
        self.exporters.retain(|_, kept| {
            let keep = u128::from(kept.seen.0) >= oldest;
            if !keep {
                *octets -= kept.octets.len();
            }
            keep
        });
        let parts = self.exporters.values().map(|kept| &*kept.octets);
        let written = file::replace(&self.path, parts);
        let counters = &self.counters;
        match &written {
            Ok(octets) => {
                counters.writes.fetch_add(1, Relaxed);
                counters.octets.store(*octets, Relaxed);
                let exporters = self.exporters.len() as u64;
                counters.exporters.store(exporters, Relaxed);
                self.written = file::version(&self.path);
            }
            Err(_) => _ = counters.failures.fetch_add(1, Relaxed),
        }
        written.map(|_| ())
    }

    /// Writes, and says when that begins to fail and when it succeeds again. What could not be written is kept for
    /// the next time.
    pub fn write_or_say(&mut self) {
        let found = file::version(&self.path);
        let is_foreign = self.written.is_some() && found.is_some() && found != self.written;
        if is_foreign && !self.is_shared {
            self.is_shared = true;
            warn!(
                file = %self.path.display(),
                "another process writes the template store too, and each overwrites what the other wrote: give each \
                 daemon a NETFLOW_TEMPLATE_STORE of its own"
            );
        }
        let written = self.write();
        let failed = written.is_err();
        match written {
            Ok(()) if self.failing => {
                info!(file = %self.path.display(), "the template store is written again");
            }
            Err(error) if !self.failing => warn!(
                file = %self.path.display(),
                %error,
                "the template store can't be written: a restart would lose the latest changes"
            ),
            _ => {}
        }
        self.failing = failed;
    }
}

/// The task that keeps the file as the workers are.
#[derive(Debug)]
pub struct Keeping {
    task: JoinHandle<Option<Keeper>>,
    stop: oneshot::Sender<()>,
}

impl Keeping {
    /// Looks after the file from here on. The workers must be keeping their changes by then.
    #[must_use]
    pub fn start(keeper: Keeper, stages: Arc<Stages>, mailboxes: Mailboxes) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let part = stages.health.part(Kind::TemplateStore);
        let mut rounds = Rounds::new(keeper, stages, mailboxes);
        let task = tokio::spawn(async move {
            while caught(rounds.run(&mut stopped, &part)).await.is_err() {
                part.restart().await;
            }
            rounds.end()
        });
        Self { task, stop }
    }

    /// Ends the task and gives back what it holds; `None` if it is in use still.
    pub async fn stop(self) -> Option<Keeper> {
        // If the task has ended, nothing needs the message.
        let _ = self.stop.send(());
        self.task.await.ok().flatten()
    }
}

/// An answer, and whose.
type Answer = (usize, Saved);

struct Rounds {
    /// Shared with the thread that writes.
    keeper: Arc<Mutex<Keeper>>,
    stages: Arc<Stages>,
    mailboxes: Mailboxes,
    /// What each worker had counted when it was asked.
    seen: Vec<u64>,
    /// Who has not answered yet, since when.
    asked: Vec<Option<Instant>>,
    /// Workers answer into it, and nothing that they gave away is lost if they answer late.
    answers: (
        mpsc::UnboundedSender<Answer>,
        mpsc::UnboundedReceiver<Answer>,
    ),
    unwritten: bool,
    rest_until: Instant,
}

impl Rounds {
    fn new(keeper: Keeper, stages: Arc<Stages>, mailboxes: Mailboxes) -> Self {
        let workers = mailboxes.workers();
        Self {
            keeper: Arc::new(Mutex::new(keeper)),
            stages,
            mailboxes,
            seen: vec![0; workers],
            asked: vec![None; workers],
            answers: mpsc::unbounded_channel(),
            unwritten: false,
            rest_until: Instant::now(),
        }
    }

    async fn run(&mut self, stopped: &mut oneshot::Receiver<()>, part: &Part) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            part.works(LOOK * 10);
            tokio::select! {
                _ = &mut *stopped => return,
                _ = look.tick() => self.look(),
                Some(answer) = self.answers.1.recv() => self.take(answer),
            }
            let now = Instant::now();
            let awaited = self.asked.iter().flatten();
            let is_whole = awaited
                .clone()
                .all(|asked| now.saturating_duration_since(*asked) > PATIENCE);
            if self.unwritten && is_whole && now >= self.rest_until {
                part.works(LONGEST_WRITE);
                self.write().await;
            }
        }
    }

    /// With the answers that came until now.
    fn end(mut self) -> Option<Keeper> {
        while let Ok(answer) = self.answers.1.try_recv() {
            self.take(answer);
        }
        let keeper = Arc::into_inner(self.keeper)?;
        Some(keeper.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks each worker that has counted changes since it was last asked.
    fn look(&mut self) {
        if Instant::now() < self.rest_until {
            return;
        }
        for worker in 0..self.asked.len() {
            let counted = self.stages.translated.get(worker);
            let counted = counted.map_or(0, |all| all.state_changes.value());
            if self.seen[worker] != counted && self.asked[worker].is_none() && self.ask(worker) {
                self.seen[worker] = counted;
            }
        }
    }

    fn ask(&mut self, worker: usize) -> bool {
        let answers = self.answers.0.clone();
        let asked = self.mailboxes.put(worker, move |machine, now| {
            // Fails only when the daemon is about to end, and then the worker is asked once more.
            let _ = answers.send((worker, machine.take_changes(now)));
        });
        self.asked[worker] = asked.is_ok().then(Instant::now);
        asked.is_ok()
    }

    fn take(&mut self, (worker, saved): Answer) {
        self.asked[worker] = None;
        lock(&self.keeper).take(&saved.exporters);
        self.unwritten |= !saved.exporters.is_empty();
        if saved.more {
            self.ask(worker);
        }
    }

    async fn write(&mut self) {
        let began = Instant::now();
        let keeper = Arc::clone(&self.keeper);
        let written = tokio::task::spawn_blocking(move || {
            let mut keeper = lock(&keeper);
            keeper.write_or_say();
            keeper.failing
        });
        // A panic while it writes is a failure.
        self.unwritten = written.await.unwrap_or(true);
        self.rest_until = Instant::now() + began.elapsed() * REST;
    }
}

fn lock(keeper: &Mutex<Keeper>) -> MutexGuard<'_, Keeper> {
    keeper.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::SavedDomain;

    fn saved(last: u8, names: usize) -> SavedExporter {
        let interfaces = (0..names as u64).map(|index| (index, Box::from("name")));
        SavedExporter {
            address: [192, 0, 2, last].into(),
            seen: wall_clock(),
            templates: Vec::new(),
            domains: vec![SavedDomain {
                interfaces: interfaces.collect(),
                ..SavedDomain::default()
            }],
            agents: Vec::new(),
            types: Vec::new(),
        }
    }

    fn open(directory: &tempfile::TempDir) -> (Keeper, Vec<SavedExporter>) {
        let path = directory.path().join("templates");
        let lifetime = Duration::from_secs(3600);
        Keeper::open(path, lifetime, Arc::default()).unwrap()
    }

    #[test]
    fn what_changed_replaces_what_was_and_the_rest_stays() {
        let directory = tempfile::tempdir().unwrap();
        let (mut keeper, loaded) = open(&directory);
        assert!(loaded.is_empty());
        keeper.take(&[saved(1, 1), saved(2, 1)]);
        keeper.write().unwrap();
        keeper.take(&[saved(2, 5)]);
        keeper.write().unwrap();
        assert_eq!(keeper.counters.exporters.load(Relaxed), 2);
        let (_, mut loaded) = open(&directory);
        loaded.sort_by_key(|saved| saved.address);
        let names = loaded.iter().map(|saved| saved.domains[0].interfaces.len());
        assert_eq!(names.collect::<Vec<_>>(), [1, 5]);
    }

    #[test]
    fn another_process_that_writes_the_file_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let [(mut one, _), (mut other, _)] = [open(&directory), open(&directory)];
        one.take(&[saved(1, 1)]);
        other.take(&[saved(2, 1)]);
        one.write_or_say();
        one.write_or_say();
        assert!(!one.is_shared);
        other.write_or_say();
        one.write_or_say();
        assert!(one.is_shared);
    }

    #[test]
    fn who_is_too_old_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let (mut keeper, _) = open(&directory);
        let mut old = saved(1, 1);
        old.seen.0 -= 3_601_000_000_000;
        keeper.take(&[old, saved(2, 1)]);
        keeper.write().unwrap();
        assert_eq!(open(&directory).1.len(), 1);
    }

    #[test]
    fn the_store_is_bounded_and_what_finds_no_room_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let (mut keeper, _) = open(&directory);
        keeper.max_octets = 1000;
        for exporter in 0..50 {
            keeper.take(&[saved(exporter, 3)]);
            assert!(keeper.octets <= 1000);
        }
        let kept = keeper.exporters.len() as u64;
        assert!(kept > 1);
        assert_eq!(keeper.counters.refused.load(Relaxed), 50 - kept);
        let octets = keeper.exporters.values().map(|kept| kept.octets.len());
        assert_eq!(keeper.octets, octets.sum::<usize>());
    }
}
