//! The template store's file: read whole at the start, replaced whole at every change, so that a crash at any
//! moment leaves the old one or the new one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};

use super::format::{self, Damage};
use crate::translate::SavedExporter;

/// A larger file is no store of ours.
const MAX_OCTETS: u64 = 1 << 30;

const HEADER: &[u8] = &format::header();

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("it can't be read: {0}")]
    Read(#[from] io::Error),
    /// It has been renamed.
    #[error("{damage}; it was set aside as {}", .aside.display())]
    SetAside { damage: Damage, aside: PathBuf },
}

/// The exporters of the file; none if there is no file. A file that can't be used is renamed, so that it can be
/// looked at and doesn't stand in the way.
///
/// # Errors
/// When it can't be read, or can't be used.
pub(super) fn load(path: &Path) -> Result<Vec<SavedExporter>, LoadError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut octets = Vec::new();
    file.take(MAX_OCTETS + 1).read_to_end(&mut octets)?;
    let damage = if octets.len() as u64 > MAX_OCTETS {
        Damage::NotAStore
    } else {
        match format::read(&octets) {
            Ok(exporters) => return Ok(exporters),
            Err(damage) => damage,
        }
    };
    let aside = beside(path, ".damaged");
    fs::rename(path, &aside)?;
    Err(LoadError::SetAside { damage, aside })
}

/// Whether the file, if there is one, can be opened. A damaged one is no error: it would be set aside.
///
/// # Errors
/// When it can't be read.
pub fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(io::Error::other("it is not a file")),
        Ok(_) => File::open(path).map(|_| ()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What tells a version of the file from any other.
pub(super) type Version = (u64, u64, i64, i64);

/// The version that is there now.
pub(super) fn version(path: &Path) -> Option<Version> {
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

/// Replaces the file; gives its octets.
///
/// # Errors
/// When something can't be written; then the old file is still there.
pub(super) fn replace<'a>(
    path: &Path,
    exporters: impl Iterator<Item = &'a [u8]>,
) -> io::Result<u64> {
    let new = beside(path, ".new");
    let outcome = write(&new, exporters).and_then(|octets| {
        fs::rename(&new, path)?;
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        // Without it the rename itself may not survive a loss of power.
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(octets)
    });
    if outcome.is_err() {
        // A half-written file on a full disk is worth more as room.
        let _ = fs::remove_file(&new);
    }
    outcome
}

fn write<'a>(path: &Path, exporters: impl Iterator<Item = &'a [u8]>) -> io::Result<u64> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        // It contains addresses and names of a network.
        options.mode(0o600);
    }
    let mut file = BufWriter::new(options.open(path)?);
    let mut checksum = crc32fast::Hasher::new();
    let mut octets = 0;
    for part in std::iter::once(HEADER).chain(exporters) {
        checksum.update(part);
        file.write_all(part)?;
        octets += part.len() as u64;
    }
    let trailer = format::trailer(checksum.finalize());
    file.write_all(&trailer)?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    Ok(octets + trailer.len() as u64)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template_store::format::exporter;
    use crate::translate::SavedDomain;
    use otlp_wire::UnixNanos;

    fn saved(last: u8) -> SavedExporter {
        SavedExporter {
            address: [192, 0, 2, last].into(),
            seen: UnixNanos(1),
            templates: Vec::new(),
            domains: vec![SavedDomain::default()],
            agents: Vec::new(),
            types: Vec::new(),
        }
    }

    fn store(path: &Path, exporters: &[SavedExporter]) -> io::Result<u64> {
        let parts: Vec<_> = exporters.iter().map(exporter).collect();
        replace(path, parts.iter().map(Vec::as_slice))
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("templates");
        assert_eq!(load(&path).unwrap(), []);
        for exporters in [vec![saved(1), saved(2)], vec![saved(3)], vec![]] {
            let octets = store(&path, &exporters).unwrap();
            assert_eq!(octets, fs::metadata(&path).unwrap().len());
            assert_eq!(load(&path).unwrap(), exporters);
            assert_eq!(names(directory.path()), ["templates"]);
        }
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("templates");
        store(&path, &[saved(1)]).unwrap();
        let mut octets = fs::read(&path).unwrap();
        octets[20] ^= 1;
        fs::write(&path, &octets).unwrap();
        let error = load(&path).unwrap_err();
        assert!(matches!(
            &error,
            LoadError::SetAside { damage: Damage::Checksum, aside } if fs::read(aside).unwrap() == octets
        ));
        assert!(error.to_string().contains("templates.damaged"), "{error}");
        assert_eq!(names(directory.path()), ["templates.damaged"]);
        assert_eq!(load(&path).unwrap(), []);
    }

    #[test]
    fn what_can_not_be_written_leaves_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("templates");
        store(&path, &[saved(1)]).unwrap();
        // A directory stands where the new file would be written.
        fs::create_dir(directory.path().join("templates.new")).unwrap();
        store(&path, &[saved(2)]).unwrap_err();
        assert_eq!(load(&path).unwrap(), [saved(1)]);
        store(Path::new("/nowhere/at/all"), &[]).unwrap_err();
    }
}
