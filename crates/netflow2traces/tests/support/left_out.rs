//! A check that can't be made on this machine says so, and is listed at the end of `.ci/run`.

#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

use std::fs::OpenOptions;
use std::io::Write as _;

/// Says on stderr that `what` is left out, and adds it to the file that `NETFLOW_LEFT_OUT` names.
///
/// # Panics
/// Panics if that file can't be written, because the check would then be left out silently.
pub(crate) fn left_out(what: &str) {
    eprintln!("left out: {what}");
    if let Some(path) = std::env::var_os("NETFLOW_LEFT_OUT").filter(|path| !path.is_empty()) {
        let mut list = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .expect("the list of what is left out can be written");
        writeln!(list, "{what}").expect("the list of what is left out can be written");
    }
}
