//! The file of `NETFLOW_FIELDS`, read once at the start.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use super::values::Rejection;
use crate::translate::enrich::fields::Fields;

/// Octets of the file.
const MAX_OCTETS: u64 = 4 << 20;

/// Reads definitions of elements from the file of this name.
pub fn read(path: &str) -> Result<Arc<Fields>, Rejection> {
    let text = text(path).map_err(|error| Rejection(format!("it can't be read: {error}")))?;
    if text.len() as u64 > MAX_OCTETS {
        return Err(Rejection(format!(
            "it is larger than {} MiB",
            MAX_OCTETS >> 20
        )));
    }
    // As spreadsheets write it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let fields = Fields::parse(text).map_err(|error| Rejection(error.to_string()))?;
    Ok(Arc::new(fields))
}

fn text(path: &str) -> io::Result<String> {
    let mut text = String::new();
    let mut file = File::open(path)?.take(MAX_OCTETS + 1);
    file.read_to_string(&mut text)?;
    Ok(text)
}
