//! Faults for tests, in debug builds alone. `NETFLOW2TRACES_TEST_FAULTS` names a directory: the part for which a file of
//! its name is made there removes the file and panics when it next reports; while there is a file with `.hang` behind
//! the name, it makes no progress.

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use super::Part;

static DIRECTORY: LazyLock<Option<PathBuf>> =
    LazyLock::new(|| std::env::var_os("NETFLOW2TRACES_TEST_FAULTS").map(PathBuf::from));

/// How often it is looked whether a hang has ended.
const LOOK: Duration = Duration::from_millis(5);

#[expect(clippy::panic, reason = "it is what the test asks for")]
pub(super) fn strike(part: &Part) {
    let Some(directory) = &*DIRECTORY else { return };
    let file = directory.join(part.to_string());
    let hang = file.with_extension("hang");
    while hang.exists() {
        std::thread::park_timeout(LOOK);
    }
    if std::fs::remove_file(&file).is_ok() {
        panic!("{part} is killed by a test");
    }
}
