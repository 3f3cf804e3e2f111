//! Where values come from: flags, the environment, and a `.env` file; the first that has a value
//! wins. An empty value counts as none.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use super::load::Mistake;
use super::setting::{About, Preset, Secrecy};
use super::settings;

/// What surrounds the process, behind a trait so that tests need not touch the real one.
pub trait Environment {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// The names of all environment variables that are UTF-8.
    fn variable_names(&self) -> Vec<String>;

    /// The text of this file, or of the `.env` file if there is one.
    ///
    /// # Errors
    /// When the file is there but can't be read, or was named and isn't there.
    fn dotenv(&self, file: Option<&Path>) -> io::Result<Option<String>>;
}

/// The environment of this process, and `.env` in the working directory.
#[derive(Clone, Copy, Debug)]
pub struct Process;

impl Environment for Process {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn variable_names(&self) -> Vec<String> {
        std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .collect()
    }

    fn dotenv(&self, file: Option<&Path>) -> io::Result<Option<String>> {
        let read = |path: &Path| {
            let octets = std::fs::read(path)?;
            Ok(Some(String::from_utf8_lossy(&octets).into_owned()))
        };
        if let Some(file) = file {
            return read(file);
        }
        let path = Path::new(".env");
        // Python's virtual environments like to be directories of this name.
        if path.is_dir() {
            return Ok(None);
        }
        match read(path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Pairs of names and values, and no `.env`: for tests and for programs that embed the daemon.
impl<const N: usize> Environment for [(&str, &str); N] {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.into())
    }

    fn variable_names(&self) -> Vec<String> {
        self.iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    fn dotenv(&self, _: Option<&Path>) -> io::Result<Option<String>> {
        Ok(None)
    }
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Origin {
    /// This flag, without its dashes.
    Flag(&'static str),
    Environment,
    /// The line of the `.env` file that ends the value, counted from 1.
    DotEnv(usize),
    /// The same of the file that `--env-file` names.
    EnvFile(usize),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Environment => f.write_str("environment"),
            Self::DotEnv(line) => write!(f, ".env, line {line}"),
            Self::EnvFile(line) => write!(f, "--env-file, line {line}"),
        }
    }
}

/// A value that was set.
#[derive(Clone, Debug)]
pub struct Given {
    /// The variable that it was found under; for a flag the one that the flag stands for.
    pub variable: String,
    pub value: String,
    pub origin: Origin,
    pub secrecy: Secrecy,
}

/// Letters of a value in a message.
const MAX_SHOWN: usize = 120;

impl Given {
    /// Names the setting as its author wrote it, for the beginning of a message.
    #[must_use]
    pub fn named(&self) -> String {
        let mut value = self.secrecy.shown(&self.value);
        if let Some((at, _)) = value.char_indices().nth(MAX_SHOWN) {
            value.truncate(at);
            value.push('…');
        }
        match self.origin {
            Origin::Flag(flag) => format!("--{flag}={value}"),
            origin => format!("{}={value} ({origin})", self.variable),
        }
    }
}

impl Given {
    /// Whether the value stands in quotation marks, which neither a shell nor the file of variables took away: Docker's
    /// `--env-file` keeps them.
    pub(super) fn is_quoted(&self) -> bool {
        let marks = ['"', '\''];
        self.value.len() > 1 && self.value.starts_with(marks) && self.value.ends_with(marks)
    }
}

/// All that was given, by flag and by name.
#[derive(Debug, Default)]
pub struct Sources {
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    dotenv: BTreeMap<String, (String, Origin)>,
    mistakes: Vec<Mistake>,
    warnings: Vec<String>,
}

/// The values of flags, by the names of the flags.
pub type Flags = Vec<(&'static str, OsString)>;

impl Sources {
    /// Collects what was given; what can't be read as text, or isn't valid in
    /// `.env`, is among [`Sources::mistakes`].
    #[must_use]
    pub fn collect(flags: Flags, environment: &dyn Environment) -> Self {
        Self::collect_with(flags, environment, None)
    }

    /// As [`Sources::collect`], with another file in place of `.env`.
    #[must_use]
    pub fn collect_with(
        flags: Flags,
        environment: &dyn Environment,
        env_file: Option<&Path>,
    ) -> Self {
        let mut sources = Self::default();
        let mut mistakes = Vec::new();
        for (flag, value) in flags {
            match value.into_string() {
                Ok(value) => put(&mut sources.flags, flag, value),
                Err(_) => mistakes.push(Mistake::new(format!("--{flag}"), NOT_UTF8)),
            }
        }
        for name in environment.variable_names() {
            match environment.variable(&name).map(OsString::into_string) {
                Some(Ok(value)) if is_setting(&name) && is_service_link(&name, &value) => {
                    sources.warnings.push(format!(
                        "{name}={value} (environment) is ignored: Kubernetes sets it for a Service of this name; \
                         enableServiceLinks: false in the pod's specification prevents that"
                    ));
                }
                Some(Ok(value)) => put(&mut sources.environment, name, value),
                Some(Err(_)) if is_ours(&name) => {
                    mistakes.push(Mistake::new(format!("{name} (environment)"), NOT_UTF8));
                }
                Some(Err(_)) | None => {}
            }
        }
        let file = match env_file {
            Some(path) => File::Named(path),
            None => File::DotEnv,
        };
        match environment.dotenv(env_file) {
            Ok(None) => {}
            Ok(Some(text)) => {
                let (mistakes, warnings) = (&mut mistakes, &mut sources.warnings);
                read_dotenv(&text, &file, &mut sources.dotenv, mistakes, warnings);
            }
            Err(error) => match file {
                File::Named(path) => mistakes.push(Mistake::new(
                    format!("--env-file={}", path.display()),
                    &format!("can't be read: {error}"),
                )),
                // It may be another program's.
                File::DotEnv => sources.warnings.push(format!(
                    ".env of the working directory is ignored: it can't be read: {error}"
                )),
            },
        }
        sources.mistakes = mistakes;
        sources
    }

    /// What could not even be read.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// What is odd about where values come from, and was left out.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The value that applies to a setting, if one was set.
    #[must_use]
    pub fn find(&self, about: &About) -> Option<Given> {
        self.flag(about).or_else(|| {
            let mut variables = about.variables.iter();
            variables.find_map(|variable| self.named(variable, about.secrecy))
        })
    }

    /// As [`Sources::find`], but of the variables only the general form is looked at.
    #[must_use]
    pub fn find_general(&self, about: &About) -> Option<Given> {
        self.flag(about)
            .or_else(|| self.named(about.variable(), about.secrecy))
    }

    fn flag(&self, about: &About) -> Option<Given> {
        let (flag, value) = self.flags.get_key_value(about.flag)?;
        Some(Given {
            variable: about.variable().to_owned(),
            value: value.clone(),
            origin: Origin::Flag(flag),
            secrecy: about.secrecy,
        })
    }

    fn named(&self, variable: &str, secrecy: Secrecy) -> Option<Given> {
        let given = self.variable(variable)?;
        Some(Given { secrecy, ..given })
    }

    /// The value of a variable, whether a setting has that name or not.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<Given> {
        let (value, origin) = match (self.environment.get(name), self.dotenv.get(name)) {
            (Some(value), _) => (value, Origin::Environment),
            (None, Some((value, origin))) => (value, *origin),
            (None, None) => return None,
        };
        let (variable, value) = (name.to_owned(), value.clone());
        Some(Given {
            variable,
            value,
            origin,
            secrecy: Secrecy::Open,
        })
    }

    /// The value as text and where it came from, for people; secrets are hidden.
    #[must_use]
    pub fn shown(&self, about: &About) -> (Option<String>, Option<Origin>) {
        match (self.find(about), about.preset) {
            (Some(given), _) => (Some(given.secrecy.shown(&given.value)), Some(given.origin)),
            (None, Preset::Text(text)) => (Some(text.to_owned()), None),
            (None, Preset::Computed(_) | Preset::Nothing(_)) => (None, None),
        }
    }

    /// The names of all variables given in the environment and in `.env`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let only_dotenv = self
            .dotenv
            .keys()
            .filter(|name| !self.environment.contains_key(*name));
        self.environment
            .keys()
            .chain(only_dotenv)
            .map(String::as_str)
    }
}

const NOT_UTF8: &str = "the value is not UTF-8";

fn is_ours(name: &str) -> bool {
    ["NETFLOW_", "OTEL_", "LOG_", "RUST_LOG"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn put<K: Ord>(values: &mut BTreeMap<K, String>, name: K, value: String) {
    let value = value.trim();
    if !value.is_empty() {
        values.insert(name, value.to_owned());
    }
}

/// A file of variables.
enum File<'a> {
    /// `.env` of the working directory, which may be another program's too.
    DotEnv,
    Named(&'a Path),
}

impl File<'_> {
    const fn origin(&self, line: usize) -> Origin {
        match self {
            Self::DotEnv => Origin::DotEnv(line),
            Self::Named(_) => Origin::EnvFile(line),
        }
    }
}

fn read_dotenv(
    text: &str,
    file: &File<'_>,
    values: &mut BTreeMap<String, (String, Origin)>,
    mistakes: &mut Vec<Mistake>,
    warnings: &mut Vec<String>,
) {
    let line = Cell::new(0);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for item in dotenvy::Iter::new(LineByLine {
        rest: text.as_bytes(),
        line: &line,
    }) {
        match item {
            Ok((name, value)) => {
                let value = value.trim();
                let written = text.lines().nth(line.get().saturating_sub(1));
                if is_setting(&name) && written.is_some_and(|line| names_no_variable(line, values))
                {
                    let origin = file.origin(line.get());
                    // Its name may be a part of a secret.
                    warnings.push(format!(
                        "{name} ({origin}): a part of the value that begins with \"$\" was replaced by a variable that \
                         isn't set; put the value in 'single quotes' to keep it"
                    ));
                }
                // The last of two lines holds, as in a shell, also when it empties the value.
                if value.is_empty() {
                    values.remove(&name);
                } else {
                    values.insert(name, (value.to_owned(), file.origin(line.get())));
                }
            }
            Err(dotenvy::Error::LineParse(bad, _)) => {
                let lines = bad.lines().count().max(1);
                let first = line.get() + 1 - lines;
                let origin = file.origin(first);
                // A quote that isn't closed takes the lines behind it along.
                let mut written = text.lines().skip(first - 1).take(lines);
                // What isn't the name of a setting may be a part of a secret.
                let place = match written.find_map(setting_at_start) {
                    Some(name) => format!("{name} ({origin})"),
                    None if matches!(file, File::DotEnv) => {
                        warnings.push(format!(
                            "{origin}, is ignored: it is not a setting of the form NAME=value"
                        ));
                        continue;
                    }
                    None => origin.to_string(),
                };
                mistakes.push(Mistake::new(
                    place,
                    "the line is not a setting; accepted: NAME=value, where a value with a space, \
                     \"#\", \"$\" or a quote must be in 'single quotes'",
                ));
            }
            Err(error) => {
                mistakes.push(Mistake::new(
                    file.origin(line.get()).to_string(),
                    &error.to_string(),
                ));
            }
        }
    }
}

/// Whether a line's value, in no single quotes, has a variable that neither the environment nor an earlier line sets.
fn names_no_variable(line: &str, before: &BTreeMap<String, (String, Origin)>) -> bool {
    let value = line.split_once('=').map_or("", |(_, value)| value.trim());
    if value.starts_with('\'') {
        return false;
    }
    let after = value.split('$').zip(value.split('$').skip(1));
    after.into_iter().any(|(before_it, rest)| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = rest.split(|c| !is_of_name(c)).next().unwrap_or_default();
        let is_escaped = before_it.ends_with('\\');
        !is_escaped
            && !name.is_empty()
            && !before.contains_key(name)
            && std::env::var_os(name).is_none()
    })
}

fn is_setting(name: &str) -> bool {
    let mut settings = settings::ALL.iter();
    settings.any(|about| about.variables.contains(&name))
}

/// Whether Kubernetes made this variable for a Service, as in `NETFLOW_LISTEN_PORT=udp://10.0.0.1:2055`.
fn is_service_link(name: &str, value: &str) -> bool {
    let protocols = ["tcp://", "udp://", "sctp://"];
    name.ends_with("_PORT") && protocols.iter().any(|protocol| value.starts_with(protocol))
}

/// The name of a setting at the beginning of a line.
fn setting_at_start(line: &str) -> Option<&'static str> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let end = line
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(line.len());
    let mut names = settings::ALL.iter().flat_map(|about| about.variables);
    names.find(|name| **name == &line[..end]).copied()
}

/// Gives one line for each read, so that the number of lines read is known at any time.
struct LineByLine<'a> {
    rest: &'a [u8],
    line: &'a Cell<usize>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = self
            .rest
            .split_inclusive(|octet| *octet == b'\n')
            .next()
            .unwrap_or_default();
        let length = line.len().min(buffer.len());
        let (now, rest) = self.rest.split_at(length);
        buffer[..length].copy_from_slice(now);
        if length > 0 && length == line.len() {
            self.line.set(self.line.get() + 1);
        }
        self.rest = rest;
        Ok(length)
    }
}
