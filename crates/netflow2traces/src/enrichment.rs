//! `NETFLOW_NETWORKS`, `NETFLOW_INTERFACES`, `NETFLOW_GEOIP_COUNTRY` and `NETFLOW_GEOIP_ASN`: the files are read at the start, watched, and swapped whole when they
//! change. While a new version can't be used, the one before stays in use.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::health::{Health, Kind, Part, caught};
use crate::translate::enrich::geo::{Database, DatabaseError, DatabaseKind};
use crate::translate::enrich::interfaces::Interfaces;
use crate::translate::enrich::networks::{FileError, Networks};

/// Time between two looks at a file.
const LOOK: Duration = Duration::from_secs(2);
/// A look that takes longer hangs.
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// Octets of a file of names.
const MAX_TEXT: u64 = 64 << 20;
/// Spreadsheets write it before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// How a compressed file begins.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// Octets of a database. Those of cities are the largest, some 130 MiB.
const MAX_DATABASE: u64 = 512 << 20;

/// A table that is made of a file's content.
pub trait Table: Sized + Send + Sync + 'static {
    /// The variable that names the file.
    const VARIABLE: &'static str;
    /// Of the part that watches the file.
    const INDEX: usize;
    /// Octets of a file at most.
    const MAX_OCTETS: u64;

    /// Makes the table; `before` is the version in use.
    ///
    /// # Errors
    /// What can't be used.
    fn parse(octets: Vec<u8>, before: Option<&Self>) -> Result<Self, TableError>;

    /// Lines of the file that say something; nodes of a database.
    fn rows(&self) -> usize;
}

/// A file of text.
fn text(octets: Vec<u8>) -> Result<String, TableError> {
    let octets = match octets.strip_prefix(BYTE_ORDER_MARK) {
        Some(text) => text.to_vec(),
        None => octets,
    };
    String::from_utf8(octets).map_err(|_| TableError::NotText)
}

impl Table for Networks {
    const VARIABLE: &'static str = "NETFLOW_NETWORKS";
    const INDEX: usize = 0;

    const MAX_OCTETS: u64 = MAX_TEXT;

    fn parse(octets: Vec<u8>, before: Option<&Self>) -> Result<Self, TableError> {
        Ok(Self::parse(&text(octets)?, before)?)
    }

    fn rows(&self) -> usize {
        self.len()
    }
}

impl Table for Interfaces {
    const VARIABLE: &'static str = "NETFLOW_INTERFACES";
    const INDEX: usize = 1;

    const MAX_OCTETS: u64 = MAX_TEXT;

    fn parse(octets: Vec<u8>, _: Option<&Self>) -> Result<Self, TableError> {
        Ok(Self::parse(&text(octets)?)?)
    }

    fn rows(&self) -> usize {
        self.len()
    }
}

/// `NETFLOW_GEOIP_COUNTRY`.
#[derive(Debug)]
pub struct CountryDatabase(pub Arc<Database>);

/// `NETFLOW_GEOIP_ASN`.
#[derive(Debug)]
pub struct AsnDatabase(pub Arc<Database>);

impl Table for CountryDatabase {
    const VARIABLE: &'static str = "NETFLOW_GEOIP_COUNTRY";
    const INDEX: usize = 2;
    const MAX_OCTETS: u64 = MAX_DATABASE;

    fn parse(octets: Vec<u8>, _: Option<&Self>) -> Result<Self, TableError> {
        let database = Database::new(octets, DatabaseKind::Country)?;
        Ok(Self(Arc::new(database)))
    }

    fn rows(&self) -> usize {
        self.0.nodes()
    }
}

impl Table for AsnDatabase {
    const VARIABLE: &'static str = "NETFLOW_GEOIP_ASN";
    const INDEX: usize = 3;
    const MAX_OCTETS: u64 = MAX_DATABASE;

    fn parse(octets: Vec<u8>, _: Option<&Self>) -> Result<Self, TableError> {
        let database = Database::new(octets, DatabaseKind::Asn)?;
        Ok(Self(Arc::new(database)))
    }

    fn rows(&self) -> usize {
        self.0.nodes()
    }
}

/// Why a file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is larger than {} MiB", .0 >> 20)]
    TooLarge(u64),
    #[error("it isn't text in UTF-8: save it with that encoding")]
    NotText,
    #[error("it is compressed with gzip: unpack it")]
    Compressed,
    #[error(transparent)]
    Content(#[from] FileError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// Reads a file.
///
/// # Errors
/// [`TableError`], with the line that can't be used.
pub fn read<T: Table>(path: &Path, before: Option<&T>) -> Result<T, TableError> {
    let mut octets = Vec::new();
    let mut file = File::open(path)?.take(T::MAX_OCTETS + 1);
    file.read_to_end(&mut octets)?;
    if octets.len() as u64 > T::MAX_OCTETS {
        return Err(TableError::TooLarge(T::MAX_OCTETS));
    }
    if octets.starts_with(GZIP) {
        return Err(TableError::Compressed);
    }
    T::parse(octets, before)
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

/// A file as it was last read.
#[derive(Debug)]
pub struct TableFile<T> {
    path: PathBuf,
    mark: Mark,
    /// What is in use.
    pub table: Arc<T>,
}

impl<T> Clone for TableFile<T> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            mark: self.mark,
            table: Arc::clone(&self.table),
        }
    }
}

impl<T: Table> TableFile<T> {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn open(path: PathBuf) -> Result<Self, TableError> {
        // The mark first: what changes after it is read again.
        let mark = mark(&path);
        let table = Arc::new(read(&path, None)?);
        Ok(Self { path, mark, table })
    }

    /// Reads the file again if it has changed, or in any case if it is `asked` for; returns whether there is a new
    /// version.
    fn look(&mut self, asked: bool) -> bool {
        let mark = mark(&self.path);
        if mark == self.mark && !asked {
            return false;
        }
        self.mark = mark;
        let (file, variable) = (self.path.display(), T::VARIABLE);
        match read(&self.path, Some(&*self.table)) {
            Ok(table) => {
                let rows = table.rows();
                if asked {
                    info!(variable, %file, rows, "a file was read again");
                } else {
                    info!(variable, %file, rows, "a file has changed and was read again");
                }
                self.table = Arc::new(table);
                true
            }
            Err(error) => {
                warn!(variable, %file, %error, "a file has changed and can't be used; the previous version stays in use");
                false
            }
        }
    }
}

/// Opens the file that a setting names, if it does.
///
/// # Errors
/// What is wrong with the file, with the variable that names it.
pub fn open_table<T: Table>(path: Option<&PathBuf>) -> anyhow::Result<Option<TableFile<T>>> {
    let file = path.cloned().map(TableFile::open).transpose();
    file.map_err(|error| anyhow::anyhow!("{}: {error}", T::VARIABLE))
}

/// A task that watches a file. Dropped, it ends.
#[derive(Debug)]
pub struct Watching {
    task: JoinHandle<()>,
    asked: Arc<Notify>,
}

impl Watching {
    /// Hands over every new version; where that is not possible, `hand_over` gives `false` and is asked again. Must be
    /// called within a tokio runtime.
    #[must_use]
    pub fn start<T: Table>(
        file: TableFile<T>,
        health: &Health,
        hand_over: impl Fn(&Arc<T>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let part = Part::numbered(Kind::Enrichment, T::INDEX);
        health.add(&part);
        let asked = Arc::<Notify>::default();
        let notified = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut file = file;
            while caught(watch(&mut file, &part, &notified, &hand_over))
                .await
                .is_err()
            {
                part.restart().await;
            }
        });
        Self { task, asked }
    }

    /// Has the file read again now, also if it seems unchanged.
    pub fn reload(&self) {
        self.asked.notify_one();
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch<T: Table>(
    file: &mut TableFile<T>,
    part: &Part,
    asked: &Notify,
    hand_over: &(impl Fn(&Arc<T>) -> bool + Sync),
) {
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        part.works(LONGEST_LOOK);
        let is_asked = tokio::select! {
            () = asked.notified() => true,
            _ = ticks.tick() => false,
        };
        let mut looked = file.clone();
        let look = tokio::task::spawn_blocking(move || (looked.look(is_asked), looked));
        let Ok((is_new, looked)) = look.await else {
            continue;
        };
        *file = looked;
        if is_new && !hand_over(&file.table) {
            // The next look tries again.
            file.mark = None;
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
        let mut file = TableFile::<Networks>::open(path.clone()).unwrap();
        assert!(!file.look(false));
        std::fs::write(&path, "10.0.0.0/8,office\n192.0.2.0/24,lab\n").unwrap();
        assert!(file.look(false));
        assert_eq!(file.table.len(), 2);
        std::fs::write(&path, "10.0.0.0/8\n").unwrap();
        assert!(!file.look(false));
        assert_eq!(file.table.len(), 2);
        assert!(!file.look(false), "it is said once");
        std::fs::remove_file(&path).unwrap();
        assert!(!file.look(false));
        assert_eq!(file.table.len(), 2);
    }

    #[tokio::test]
    async fn a_file_that_seems_unchanged_is_read_again_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("networks.csv");
        std::fs::write(&path, "10.0.0.0/8,one\n").unwrap();
        let file = TableFile::<Networks>::open(path.clone()).unwrap();
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        let (new, mut handed) = tokio::sync::mpsc::unbounded_channel();
        let watching = Watching::start(file, &Health::default(), move |table| {
            new.send(Arc::clone(table)).is_ok()
        });
        std::fs::write(&path, "10.0.0.0/8,two\n").unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(written).unwrap();
        watching.reload();
        let table = handed.recv().await.unwrap();
        let address = "10.1.2.3".parse().unwrap();
        assert_eq!(table.name_of(address), Some("two"));
    }

    #[test]
    fn an_error_names_the_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("networks.csv");
        std::fs::write(&path, "10.0.0.0/8,office\n10.0.0.0,\n").unwrap();
        let error = TableFile::<Networks>::open(path).unwrap_err();
        assert_eq!(error.to_string(), "line 2: the name is empty");
    }

    #[test]
    fn a_file_may_come_from_a_spreadsheet() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("networks.csv");
        std::fs::write(
            &path,
            "\u{feff}cidr,name\r\n10.0.0.0/8,\"K\u{f6}ln, Nord\"\r\n",
        )
        .unwrap();
        let table = TableFile::<Networks>::open(path.clone()).unwrap().table;
        let address = "10.1.2.3".parse().unwrap();
        assert_eq!(table.name_of(address), Some("K\u{f6}ln, Nord"));
        std::fs::write(&path, [0x1f, 0x8b, 8, 0]).unwrap();
        let error = TableFile::<Networks>::open(path).unwrap_err();
        assert!(error.to_string().contains("unpack it"), "{error}");
    }
}
