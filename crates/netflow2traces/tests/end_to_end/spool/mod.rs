//! The daemon with a disk queue: what is in it outlives a stop, a crash, and trouble with the disk; and a long run.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]
#![expect(clippy::print_stdout, reason = "long runs have figures")]

mod crash;
mod disk;
mod restart;
mod soak;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::backend::FakeBackend;
use crate::daemon::Setup;

/// Longest wait for something that should happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon with a spool in this directory.
pub(crate) fn spooling(setup: Setup, directory: &Path, mode: &str) -> Setup {
    setup
        .with("NETFLOW_SPOOL_DIR", directory.to_str().unwrap())
        .with("NETFLOW_SPOOL_MODE", mode)
}

/// How often the backend accepted each span, by its id.
pub(crate) fn accepted(backend: &FakeBackend) -> BTreeMap<Vec<u8>, usize> {
    let mut times = BTreeMap::new();
    for (_, span) in backend.accepted_ids() {
        *times.entry(span).or_default() += 1;
    }
    times
}

/// Asserts that all accounts of `/api/status` balance.
pub(crate) fn assert_balanced(status: &Value) {
    for account in status["accounts"].as_array().unwrap() {
        assert_eq!(account["difference"], 0, "{account:#}");
    }
}

/// The part of the account of flow spans with this name.
pub(crate) fn part(status: &Value, name: &str) -> u64 {
    let accounts = status["accounts"].as_array().unwrap();
    let account = accounts
        .iter()
        .find(|account| account["name"] == "flow_spans");
    let account = account.unwrap_or_else(|| panic!("{status:#}"));
    let mut parts = account["parts"]
        .as_array()
        .into_iter()
        .chain(account["sources"].as_array())
        .flatten();
    let part = parts.find(|part| part["name"] == name);
    part.and_then(|part| part["value"].as_u64())
        .unwrap_or_else(|| panic!("{name} in {account:#}"))
}
