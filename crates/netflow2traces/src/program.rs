//! This program as a shell would find it: for commands that people paste.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::OnceLock;

/// What to type to run this program from any directory: its name if it was found by the search path, else its absolute
/// path.
pub fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let called = std::env::args_os().next();
        let executable = std::env::current_exe().ok();
        pasteable(called.as_deref(), executable.as_deref())
    })
}

fn pasteable(called: Option<&OsStr>, executable: Option<&Path>) -> String {
    let called = called.and_then(OsStr::to_str).unwrap_or_default();
    let text = if called.contains('/') {
        executable.and_then(Path::to_str).unwrap_or(called)
    } else if called.is_empty() {
        env!("CARGO_PKG_NAME")
    } else {
        called
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
    if text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_pasted() {
        for (called, executable, expected) in [
            (
                Some("netflow2traces"),
                Some("/usr/bin/netflow2traces"),
                "netflow2traces",
            ),
            (
                Some("target/release/netflow2traces"),
                Some("/src/target/release/netflow2traces"),
                "/src/target/release/netflow2traces",
            ),
            (Some("./netflow2traces"), None, "./netflow2traces"),
            (None, None, "netflow2traces"),
            (
                Some("./it's"),
                Some("/home/a b/it's"),
                r"'/home/a b/it'\''s'",
            ),
        ] {
            let found = pasteable(called.map(OsStr::new), executable.map(Path::new));
            assert_eq!(found, expected);
        }
    }
}
