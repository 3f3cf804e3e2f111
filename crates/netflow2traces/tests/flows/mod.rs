//! Captures of flow exports as test cases: datagrams in, the spans made of them compared with the
//! records that they must hold.

pub(crate) mod compare;
#[path = "../support/defaults.rs"]
mod defaults;
pub(crate) mod expected;
mod pcap;
pub(crate) mod spans;
mod translation;

use std::io;
use std::path::{Path, PathBuf};

use expected::Expected;

/// A capture and what must come of it.
#[derive(Debug)]
pub(crate) struct Case {
    /// The file's name without its suffix.
    pub(crate) name: String,
    pub(crate) expected: Expected,
    capture: PathBuf,
}

impl Case {
    /// The cases of a folder in the order of their names: each `NAME.expected.json` with its
    /// `NAME.pcap`.
    pub(crate) fn all(folder: &Path) -> io::Result<Vec<Self>> {
        let mut cases = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let Some(name) = file.strip_suffix(".expected.json") else {
                continue;
            };
            let expected = Expected::read(&path)?;
            let capture = folder.join(format!("{name}.pcap"));
            cases.push(Self {
                name: name.to_owned(),
                expected,
                capture,
            });
        }
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(cases)
    }
}

/// Translates a capture by a fresh translator and compares; the error says what differs, and how.
pub(crate) fn judge(case: &Case) -> Result<(), String> {
    let datagrams = pcap::read(&case.capture)
        .map_err(|error| format!("{}: {error}", case.capture.display()))?;
    let requests = translation::translate(&datagrams);
    let spans = spans::flow_spans(&requests)?;
    compare::compare(&case.expected, &spans)
}

/// The folder of the workspace's manifest.
pub(crate) fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
