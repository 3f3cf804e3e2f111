//! The key of conversations' trace ids, kept beside the template store so that a restart changes no id.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The key that stands in a file beside `store`; drawn and written if there is none.
///
/// # Errors
/// When the file can't be read or written, or holds something else.
pub(crate) fn beside(store: &Path) -> io::Result<[u8; 16]> {
    let mut path = store.as_os_str().to_owned();
    path.push(".conversation-key");
    let path = PathBuf::from(path);
    let with_path =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(text) => crate::config::values::key(text.trim()).map_err(|rejection| {
            with_path(io::Error::new(io::ErrorKind::InvalidData, rejection.0))
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = draw()?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(with_path)?;
            writeln!(file, "{:032x}", u128::from_be_bytes(key)).map_err(with_path)?;
            Ok(key)
        }
        Err(error) => Err(with_path(error)),
    }
}

/// A random key.
///
/// # Errors
/// When the system gives no random numbers.
pub(crate) fn draw() -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_drawn_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("templates");
        let key = beside(&store).unwrap();
        assert_eq!(beside(&store).unwrap(), key);
        assert_ne!(draw().unwrap(), key);
        let file = folder.path().join("templates.conversation-key");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&file, "not a key").unwrap();
        assert!(beside(&store).is_err());
    }
}
