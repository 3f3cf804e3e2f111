//! What commands show, written to stdout.

use std::io::{self, Write as _};

use anyhow::Context as _;

/// Writes all of it. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// When stdout can't be written for another reason, as on a full disk.
pub fn write(octets: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    checked(out.write_all(octets).and_then(|()| out.flush()))
}

/// What an attempt to write to stdout means.
///
/// # Errors
/// As of [`write()`].
pub fn checked(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("stdout can't be written")
        }
        _ => Ok(()),
    }
}
