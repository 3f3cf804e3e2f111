//! `NETFLOW_NETWORKS`: the file is read at the start, watched, and swapped whole when it changes. While a new version
//! can't be used, the one before stays in use.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::health::{Health, Kind, Part, caught};
use crate::translate::enrich::networks::{FileError, Networks};
use crate::worker::Mailboxes;

/// Time between two looks at the file.
const LOOK: Duration = Duration::from_secs(2);
/// A look that takes longer hangs.
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// Octets of the file.
const MAX_OCTETS: u64 = 64 << 20;

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworksError {
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is larger than {} MiB", MAX_OCTETS >> 20)]
    TooLarge,
    #[error(transparent)]
    Content(#[from] FileError),
}

/// Reads the file; names keep the numbers that `before` gave them.
///
/// # Errors
/// [`NetworksError`], with the line that can't be used.
pub fn read(path: &Path, before: Option<&Networks>) -> Result<Networks, NetworksError> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(MAX_OCTETS + 1);
    file.read_to_string(&mut text)?;
    if text.len() as u64 > MAX_OCTETS {
        return Err(NetworksError::TooLarge);
    }
    Ok(Networks::parse(&text, before)?)
}

/// What changes when the file is written or another takes its place.
type Mark = Option<(u64, u64, u64, i64, i64)>;

fn mark(path: &Path) -> Mark {
    let found = std::fs::metadata(path).ok()?;
    Some((
        found.dev(),
        found.ino(),
        found.size(),
        found.mtime(),
        found.mtime_nsec(),
    ))
}

/// The file as it was last read.
#[derive(Clone, Debug)]
pub struct NetworksFile {
    path: PathBuf,
    mark: Mark,
    /// What is in use.
    pub networks: Arc<Networks>,
}

impl NetworksFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// [`NetworksError`].
    pub fn open(path: PathBuf) -> Result<Self, NetworksError> {
        // The mark first: what changes after it is read again.
        let mark = mark(&path);
        let networks = Arc::new(read(&path, None)?);
        Ok(Self {
            path,
            mark,
            networks,
        })
    }

    /// Reads the file again if it has changed; whether there is a new version.
    fn look(&mut self) -> bool {
        let mark = mark(&self.path);
        if mark == self.mark {
            return false;
        }
        self.mark = mark;
        let file = self.path.display();
        match read(&self.path, Some(&self.networks)) {
            Ok(networks) => {
                info!(%file, networks = networks.len(), "networks of NETFLOW_NETWORKS read again");
                self.networks = Arc::new(networks);
                true
            }
            Err(error) => {
                warn!(%file, %error, "NETFLOW_NETWORKS has changed and can't be used; the version before stays in use");
                false
            }
        }
    }
}

/// The task that watches the file. Dropped, it ends.
#[derive(Debug)]
pub struct Watching(JoinHandle<()>);

impl Watching {
    /// Gives the workers every new version. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(file: NetworksFile, health: &Health, mailboxes: Mailboxes) -> Self {
        let part = health.part(Kind::Networks);
        Self(tokio::spawn(async move {
            let mut file = file;
            while caught(watch(&mut file, &part, &mailboxes)).await.is_err() {
                part.restart().await;
            }
        }))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn watch(file: &mut NetworksFile, part: &Part, mailboxes: &Mailboxes) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        part.works(LONGEST_LOOK);
        ticks.tick().await;
        let mut looked = file.clone();
        let look = tokio::task::spawn_blocking(move || (looked.look(), looked));
        let Ok((is_new, looked)) = look.await else {
            continue;
        };
        *file = looked;
        if !is_new {
            continue;
        }
        for worker in 0..mailboxes.workers() {
            let networks = Arc::clone(&file.networks);
            let put = mailboxes.put(worker, move |machine, _| {
                machine.name_networks(Some(networks));
            });
            if let Err(error) = put {
                warn!(worker, %error, "a worker goes on with the networks that it has");
                // The next look tries again.
                file.mark = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_version_is_taken_and_a_bad_one_isn_t() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("networks.csv");
        std::fs::write(&path, "10.0.0.0/8,office\n").unwrap();
        let mut file = NetworksFile::open(path.clone()).unwrap();
        assert!(!file.look());
        std::fs::write(&path, "10.0.0.0/8,office\n192.0.2.0/24,lab\n").unwrap();
        assert!(file.look());
        assert_eq!(file.networks.len(), 2);
        std::fs::write(&path, "10.0.0.0/8\n").unwrap();
        assert!(!file.look());
        assert_eq!(file.networks.len(), 2);
        assert!(!file.look(), "it is said once");
        std::fs::remove_file(&path).unwrap();
        assert!(!file.look());
        assert_eq!(file.networks.len(), 2);
    }

    #[test]
    fn an_error_names_the_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("networks.csv");
        std::fs::write(&path, "10.0.0.0/8,office\n10.0.0.0,\n").unwrap();
        let error = NetworksFile::open(path).unwrap_err();
        assert_eq!(error.to_string(), "line 2: the name is empty");
    }
}
