//! The files of a spool: who may use the directory, which segments it holds, the note of what is settled.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use tracing::warn;

use super::damage::MAX_LOOKED_AT;
use super::format::{Note, SEGMENT_HEADER, SegmentError, SegmentHeader};

/// Held locked by the process that uses the directory.
const LOCK: &str = "lock";
const NOTE_FILE: &str = "settled";
const PROBE: &str = "probe";
/// As many as a small batch has: a full disk takes a few.
const PROBE_OCTETS: usize = 64 << 10;
const SEGMENT: &str = "segment";
/// What a file whose header can't be read is renamed to, behind its own name.
const DAMAGED: &str = "damaged";
/// Damaged files that are kept.
const MAX_DAMAGED: usize = 8;
/// Spans say who talked to whom: nobody else may read them.
const OWNER_ONLY: u32 = 0o600;
const OWNER_ONLY_DIRECTORY: u32 = 0o700;

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
    /// Damaged files that are kept.
    damaged: Vec<PathBuf>,
}

/// A segment whose header is damaged, under its new name.
#[derive(Debug)]
pub(super) struct SetAside {
    path: PathBuf,
    /// By its name.
    pub(super) number: Option<u64>,
}

impl SetAside {
    /// What it holds from an offset on, at most what is looked at of a damage.
    pub(super) fn read(&self, from: u64) -> io::Result<Vec<u8>> {
        let file = File::open(&self.path)?;
        let left = file.metadata()?.len().saturating_sub(from);
        let length = usize::try_from(left).unwrap_or(usize::MAX);
        let mut octets = vec![0; length.min(MAX_LOOKED_AT)];
        file.read_exact_at(&mut octets, from)?;
        Ok(octets)
    }
}

/// A segment that was found.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) header: SegmentHeader,
    pub(super) octets: u64,
}

impl Directory {
    /// Makes it if there is none, locks it, tries to write, and lists the segments in their order.
    pub(super) fn open(
        path: &Path,
    ) -> Result<(Self, Vec<SegmentFile>, Vec<SetAside>, Note), SpoolError> {
        let unusable = |what| {
            move |source| SpoolError::Unusable {
                directory: path.to_owned(),
                what,
                source,
            }
        };
        DirBuilder::new()
            .recursive(true)
            .mode(OWNER_ONLY_DIRECTORY)
            .create(path)
            .map_err(unusable("it can't be made"))?;
        let lock_path = path.join(LOCK);
        // Nothing is written there, so it is no reason against a remount for reading.
        let lock = File::open(&lock_path)
            .or_else(|_| {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false);
                options.mode(OWNER_ONLY).open(&lock_path)?;
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
                "the spool's record of delivered batches is damaged: batches may be delivered twice"
            );
        }
        let directory = Self {
            path: path.to_owned(),
            _lock: lock,
            note: None,
            damaged: Vec::new(),
        };
        directory.close_to_others();
        let (segments, set_aside) = directory.segments()?;
        Ok((directory, segments, set_aside, note))
    }

    /// Earlier versions left the directory and its files to the umask. Where this user may not change that, or there is
    /// something else in the directory, it stays as it is: new files are closed anyway.
    fn close_to_others(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else {
            return;
        };
        let mut is_ours_alone = true;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().unwrap_or_default();
            let extension = path.extension().unwrap_or_default();
            let is_ours = name == LOCK
                || name == NOTE_FILE
                || name == PROBE
                || extension == SEGMENT
                || extension == DAMAGED;
            is_ours_alone &= is_ours;
            if is_ours {
                narrow(&path, OWNER_ONLY);
            }
        }
        if is_ours_alone {
            narrow(&self.path, OWNER_ONLY_DIRECTORY);
        }
    }

    fn segments(&self) -> Result<(Vec<SegmentFile>, Vec<SetAside>), SpoolError> {
        let unreadable = |source| SpoolError::Unusable {
            directory: self.path.clone(),
            what: "it can't be read",
            source,
        };
        let (mut segments, mut set_aside) = (Vec::new(), Vec::new());
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
                    let aside = free_name(&path);
                    fs::rename(&path, &aside).map_err(unreadable)?;
                    warn!(
                        file = %path.display(),
                        bytes = octets,
                        aside = %aside.display(),
                        "a segment of the spool can't be read because its header is damaged; it was renamed, and can be removed"
                    );
                    set_aside.push(SetAside {
                        path: aside,
                        number: named,
                    });
                }
            }
        }
        segments.sort_by_key(|segment| segment.header.number);
        Ok((segments, set_aside))
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
            .mode(OWNER_ONLY)
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

    /// Renames a segment that can't be opened, so that it isn't removed.
    pub(super) fn set_aside(&self, number: u64) {
        let path = self.path_of(number);
        // Without the right to do that there is none to remove it.
        let _ = fs::rename(&path, free_name(&path));
    }

    /// Removes the oldest damaged files beyond a number and a size.
    pub(super) fn bound_damaged(&mut self, most_octets: u64) {
        let entries = fs::read_dir(&self.path).into_iter().flatten();
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|known| known == DAMAGED))
            .collect();
        // By their numbers.
        found.sort();
        self.damaged.clear();
        let mut kept = 0;
        for path in found.into_iter().rev() {
            let octets = length(&path);
            if self.damaged.len() < MAX_DAMAGED && kept + octets <= most_octets {
                kept += octets;
                self.damaged.push(path);
                continue;
            }
            let (file, bytes) = (path.display(), octets);
            match fs::remove_file(&path) {
                Ok(()) => warn!(
                    %file,
                    bytes,
                    "an old damaged segment of the spool was removed: at most {MAX_DAMAGED} are kept, \
                     in a quarter of NETFLOW_SPOOL_MAX_SIZE"
                ),
                Err(error) => warn!(
                    %file,
                    bytes,
                    %error,
                    "an old damaged segment of the spool can't be removed"
                ),
            }
        }
    }

    /// Octets of the damaged files that are kept; somebody may have removed some.
    pub(super) fn damaged_octets(&self) -> u64 {
        self.damaged.iter().map(|path| length(path)).sum()
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
                .mode(OWNER_ONLY)
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

/// 0, if there is no such file.
fn length(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |about| about.len())
}

/// The name under which a damaged segment is kept; one that is taken gets a number.
fn free_name(segment: &Path) -> PathBuf {
    let stem = segment
        .file_stem()
        .unwrap_or_default()
        .display()
        .to_string();
    let names = std::iter::once(format!("{stem}.{DAMAGED}"))
        .chain((2_u64..).map(|number| format!("{stem}-{number}.{DAMAGED}")));
    let mut paths = names.map(|name| segment.with_file_name(name));
    paths
        .find(|path| fs::symlink_metadata(path).is_err())
        .unwrap_or_else(|| segment.with_extension(DAMAGED))
}

/// Takes away what others may do, if this user may.
fn narrow(path: &Path, most: u32) {
    let Ok(about) = fs::symlink_metadata(path) else {
        return;
    };
    let mode = about.permissions().mode() & 0o7777;
    if !about.is_symlink() && mode & !most != 0 {
        // Somebody else's: then it is for them to say who may read it.
        let _ = fs::set_permissions(path, Permissions::from_mode(mode & most));
    }
}

/// Writes a file and removes it.
fn probe(directory: &Path) -> io::Result<()> {
    let probe = directory.join(PROBE);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let written = options
        .mode(OWNER_ONLY)
        .open(&probe)
        .and_then(|file| file.write_all_at(&[0; PROBE_OCTETS], 0));
    let removed = fs::remove_file(&probe);
    written.and(removed)
}

/// Whether the segments in this directory, if there is one, can be read by this version. Changes nothing.
///
/// # Errors
/// What the start of a spool would refuse, in a sentence.
pub fn check_segments(directory: &Path) -> Result<(), String> {
    let unreadable = |error: io::Error| format!("it can't be read: {error}");
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != SEGMENT)
        {
            continue;
        }
        match head(&path) {
            Ok((Err(error @ SegmentError::Version(_)), _)) => {
                return Err(format!(
                    "{}: {error}; let the program that wrote it deliver what is inside, or name another directory",
                    path.file_name().unwrap_or_default().display()
                ));
            }
            // A running daemon may have delivered and removed it just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(error)),
            Ok(_) => {}
        }
    }
    Ok(())
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
