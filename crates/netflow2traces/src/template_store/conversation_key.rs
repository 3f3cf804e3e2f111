//! The key of conversations' trace ids, kept beside the template store so that a restart changes no id.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config;

/// All workers make the same ids of conversations: a key that isn't set is read from beside the template store, or drawn.
///
/// # Errors
/// When it can't be read, kept or drawn.
pub(crate) fn settled(translate: &config::Translate) -> anyhow::Result<config::Translate> {
    let mut translate = translate.clone();
    if let config::TraceShape::Conversation { key, .. } = &mut translate.shape
        && key.is_none()
    {
        let found = match &translate.template_store {
            Some(store) => beside(store),
            None => draw(),
        };
        let remedy = "the key of NETFLOW_TRACE_SHAPE=conversation can't be kept (set NETFLOW_CONVERSATION_KEY)";
        *key = Some(found.context(remedy)?);
    }
    Ok(translate)
}

/// The key that stands in a file beside `store`; drawn and written if there is none.
///
/// # Errors
/// When the file can't be read or written, or holds something else.
fn beside(store: &Path) -> io::Result<[u8; 16]> {
    let mut path = store.as_os_str().to_owned();
    path.push(".conversation-key");
    let path = PathBuf::from(path);
    let with_path =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match fs::read_to_string(&path) {
        Ok(text) => config::values::key(text.trim()).map_err(|rejection| {
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
fn draw() -> io::Result<[u8; 16]> {
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
