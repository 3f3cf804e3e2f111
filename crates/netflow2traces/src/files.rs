//! The directories and files that settings name, tried before anything is opened for good: what would stop the
//! start is a configuration error like any other, and `config check` finds it too.
//!
//! Nothing is left behind: a directory that the daemon would create is not created here, and files to try whether a
//! directory can be written are removed.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Config, Mistake};
use crate::deliver;
use crate::enrichment::{self, AsnDatabase, CountryDatabase, Table};
use crate::streams;
use crate::template_store;
use crate::translate::enrich::interfaces::Interfaces;
use crate::translate::enrich::networks::Networks;

/// Tries everything that `config` names. Must be called within a tokio runtime, as delivery is.
///
/// # Errors
/// Everything that can't be used, each with the variable that names it.
pub fn check(config: &Config) -> Result<(), Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut reject = |sentence: String| mistakes.push(Mistake::of_sentence(&sentence));
    if let Err(error) = deliver::check(&config.deliver.exporter) {
        reject(error.to_string());
    }
    if let Some(own) = &config.own_metrics
        && let Err(error) = deliver::MetricsSender::new(&own.to)
    {
        reject(error.to_string());
    }
    if let Some(files) = &config.streams.tls_files
        && let Err(sentence) = streams::check_tls(files)
    {
        reject(sentence);
    }
    mistakes.extend(unusable(config));
    // The certificate that spans and metrics share is one error.
    mistakes.dedup();
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(mistakes)
}

/// The files and directories that can't be used, but for those that belong to a connection.
#[must_use]
pub fn unusable(config: &Config) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut reject = |sentence: String| mistakes.push(Mistake::of_sentence(&sentence));
    if let Some(spool) = &config.deliver.spool {
        let writable =
            creatable(&spool.directory).and_then(|()| deliver::check_spool(&spool.directory));
        if let Err(problem) = writable {
            reject(format!(
                "NETFLOW_SPOOL_DIR={}: {problem}",
                spool.directory.display()
            ));
        }
    }
    if let Some(path) = &config.translate.template_store
        && let Err(problem) = store(path)
    {
        reject(format!(
            "NETFLOW_TEMPLATE_STORE={}: {problem}",
            path.display()
        ));
    }
    let tables = [
        table::<Networks>(config.networks.as_ref()),
        table::<Interfaces>(config.interfaces.as_ref()),
        table::<CountryDatabase>(config.geoip_country.as_ref()),
        table::<AsnDatabase>(config.geoip_asn.as_ref()),
    ];
    tables.into_iter().flatten().for_each(&mut reject);
    mistakes
}

/// What is wrong with a file, if anything is.
fn table<T: Table>(path: Option<&PathBuf>) -> Option<String> {
    let path = path?;
    let problem = enrichment::read::<T>(path, None).err()?;
    Some(format!("{}={}: {problem}", T::VARIABLE, path.display()))
}

/// Whether the template store can be read, and replaced.
fn store(path: &Path) -> Result<(), String> {
    template_store::check(path).map_err(|error| format!("it can't be read: {error}"))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    writable(directory).map_err(|error| {
        format!(
            "its directory {} can't be written: {error}; it must exist, and this user must be allowed to write there",
            directory.display()
        )
    })
}

/// Whether this directory can be written, or created.
fn creatable(directory: &Path) -> Result<(), String> {
    let existing = directory
        .ancestors()
        .map(|path| {
            if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            }
        })
        .find(|path| fs::symlink_metadata(path).is_ok())
        .unwrap_or(Path::new("/"));
    writable(existing).map_err(|error| {
        format!(
            "{} can't be written: {error}; the directory must exist or be creatable, and this user must be allowed to \
             write there",
            existing.display()
        )
    })
}

/// Makes a file in the directory and removes it.
fn writable(directory: &Path) -> io::Result<()> {
    let probe: PathBuf = directory.join(format!(".netflow2traces-{}", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&probe)?;
    fs::remove_file(&probe)
}
