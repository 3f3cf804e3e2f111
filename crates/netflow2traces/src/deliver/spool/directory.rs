//! The files of a spool: who may use the directory, which segments it holds, the note of what is settled.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tracing::warn;

use super::format::{Note, SEGMENT_HEADER, SegmentError, SegmentHeader};

/// Held locked by the process that uses the directory.
const LOCK: &str = "lock";
const NOTE_FILE: &str = "settled";
const PROBE: &str = "probe";
/// As many as a small batch has: a full disk takes a few.
const PROBE_OCTETS: usize = 64 << 10;
const SEGMENT: &str = "segment";
/// What a file is renamed to when its header can't be read; the next such file takes its place.
const DAMAGED: &str = "damaged";

/// Why a spool's directory can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    #[error(
        "NETFLOW_SPOOL_DIR={}: {what}: {source}; the directory must exist or be creatable, and this user must be \
         allowed to write there",
        directory.display()
    )]
    Unusable {
        directory: PathBuf,
        what: &'static str,
        source: io::Error,
    },
    #[error(
        "NETFLOW_SPOOL_DIR={}: another process uses this directory; each daemon needs one of its own",
        directory.display()
    )]
    InUse { directory: PathBuf },
    #[error(
        "NETFLOW_SPOOL_DIR={}: {file}: {error}; let the program that wrote it deliver what is inside, or name another \
         directory",
        directory.display()
    )]
    Version {
        directory: PathBuf,
        file: String,
        error: SegmentError,
    },
    #[error("the spool's thread could not be started: {0}")]
    Thread(#[source] io::Error),
}

#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The lock ends with it.
    _lock: File,
    /// Open while it is written.
    note: Option<File>,
}

/// A segment that was found.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) header: SegmentHeader,
    pub(super) octets: u64,
}

impl Directory {
    /// Makes it if there is none, locks it, tries to write, and lists the segments in their order.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<SegmentFile>, Note), SpoolError> {
        let unusable = |what| {
            move |source| SpoolError::Unusable {
                directory: path.to_owned(),
                what,
                source,
            }
        };
        fs::create_dir_all(path).map_err(unusable("it can't be made"))?;
        let lock_path = path.join(LOCK);
        // Nothing is written there, so it is no reason against a remount for reading.
        let lock = File::open(&lock_path)
            .or_else(|_| {
                File::create(&lock_path)?;
                File::open(&lock_path)
            })
            .map_err(unusable("it can't be written"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(SpoolError::InUse {
                    directory: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(unusable("it can't be locked")(source));
            }
        }
        probe(path).map_err(unusable("it can't be written"))?;
        let notes = match fs::read(path.join(NOTE_FILE)) {
            Ok(notes) => notes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(unusable("it can't be read")(error)),
        };
        let note = Note::latest(&notes).unwrap_or_default();
        if note == Note::default() && !notes.is_empty() {
            warn!(
                directory = %path.display(),
                "the spool's note of what was delivered is damaged: batches may be sent again"
            );
        }
        let directory = Self {
            path: path.to_owned(),
            _lock: lock,
            note: None,
        };
        let segments = directory.segments()?;
        Ok((directory, segments, note))
    }

    fn segments(&self) -> Result<Vec<SegmentFile>, SpoolError> {
        let unreadable = |source| SpoolError::Unusable {
            directory: self.path.clone(),
            what: "it can't be read",
            source,
        };
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path
                .extension()
                .is_none_or(|extension| extension != SEGMENT)
            {
                continue;
            }
            let (header, octets) = head(&path).map_err(unreadable)?;
            let named = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            match header {
                Ok(header) if Some(header.number) == named => {
                    segments.push(SegmentFile { header, octets });
                }
                Err(SegmentError::Short) => fs::remove_file(&path).map_err(unreadable)?,
                Err(error @ SegmentError::Version(_)) => {
                    return Err(SpoolError::Version {
                        directory: self.path.clone(),
                        file: path.file_name().unwrap_or_default().display().to_string(),
                        error,
                    });
                }
                Ok(_) | Err(SegmentError::Damaged) => {
                    let aside = self.path.join(SEGMENT).with_extension(DAMAGED);
                    fs::rename(&path, &aside).map_err(unreadable)?;
                    warn!(
                        file = %path.display(),
                        octets,
                        aside = %aside.display(),
                        "a segment of the spool can't be read: its header is damaged; it was set aside"
                    );
                }
            }
        }
        segments.sort_by_key(|segment| segment.header.number);
        Ok(segments)
    }

    fn path_of(&self, number: u64) -> PathBuf {
        // As many digits as any number has, so that names sort.
        self.path.join(format!("{number:020}.{SEGMENT}"))
    }

    /// A new file with the header written. Its name is brought to the disk.
    pub(super) fn create(&self, header: &SegmentHeader) -> io::Result<File> {
        let path = self.path_of(header.number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        let written = file
            .write_all_at(&header.encode(), 0)
            .and_then(|()| File::open(&self.path)?.sync_all());
        match written {
            Ok(()) => Ok(file),
            Err(error) => {
                // Left behind, it would be an empty segment: harmless.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Tries to write.
    pub(super) fn probe(&self) -> io::Result<()> {
        probe(&self.path)
    }

    pub(super) fn read(&self, number: u64) -> io::Result<File> {
        File::open(self.path_of(number))
    }

    pub(super) fn remove(&self, number: u64) -> io::Result<()> {
        fs::remove_file(self.path_of(number))
    }

    pub(super) fn write_note(&mut self, note: &Note) -> io::Result<()> {
        let file = match self.note.take() {
            Some(file) => file,
            None => OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(self.path.join(NOTE_FILE))?,
        };
        self.note
            .insert(file)
            .write_all_at(&note.encode(), note.place())
    }

    pub(super) fn sync_note(&self) -> io::Result<()> {
        self.note.as_ref().map_or(Ok(()), File::sync_data)
    }

    /// Nothing is inside: no file stays open for writing.
    pub(super) fn rest(&mut self) {
        self.note = None;
    }
}

/// Writes a file and removes it.
fn probe(directory: &Path) -> io::Result<()> {
    let probe = directory.join(PROBE);
    let written = fs::write(&probe, [0; PROBE_OCTETS]);
    let removed = fs::remove_file(&probe);
    written.and(removed)
}

/// A file's header and its length.
fn head(path: &Path) -> io::Result<(Result<SegmentHeader, SegmentError>, u64)> {
    let mut file = File::open(path)?;
    let octets = file.metadata()?.len();
    let mut head = Vec::with_capacity(SEGMENT_HEADER);
    file.by_ref()
        .take(SEGMENT_HEADER as u64)
        .read_to_end(&mut head)?;
    Ok((SegmentHeader::decode(&head), octets))
}
