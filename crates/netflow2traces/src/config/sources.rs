//! Where values come from: flags, the environment, and a `.env` file; the first that has a value
//! wins. An empty value counts as none.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;

use super::load::Mistake;
use super::setting::{About, Preset, Secrecy};
use super::settings;

/// What surrounds the process, behind a trait so that tests need not touch the real one.
pub trait Environment {
    /// The value of an environment variable.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// The names of all environment variables that are UTF-8.
    fn variable_names(&self) -> Vec<String>;

    /// The text of the `.env` file, if there is one.
    ///
    /// # Errors
    /// When the file is there but can't be read.
    fn dotenv(&self) -> io::Result<Option<String>>;
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

    fn dotenv(&self) -> io::Result<Option<String>> {
        let path = PathBuf::from(".env");
        // Python's virtual environments like to be directories of this name.
        if path.is_dir() {
            return Ok(None);
        }
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
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

    fn dotenv(&self) -> io::Result<Option<String>> {
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
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Environment => f.write_str("environment"),
            Self::DotEnv(line) => write!(f, ".env, line {line}"),
        }
    }
}

/// A value that somebody gave.
#[derive(Clone, Debug)]
pub struct Given {
    /// The variable that it was found under; for a flag the one that the flag stands for.
    pub variable: String,
    pub value: String,
    pub origin: Origin,
    pub secrecy: Secrecy,
}

impl Given {
    /// Names the setting as its author wrote it, for the beginning of a message.
    #[must_use]
    pub fn named(&self) -> String {
        let value = self.secrecy.shown(&self.value);
        match self.origin {
            Origin::Flag(flag) => format!("--{flag}={value}"),
            origin => format!("{}={value} ({origin})", self.variable),
        }
    }
}

/// All that was given, by flag and by name.
#[derive(Debug, Default)]
pub struct Sources {
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    dotenv: BTreeMap<String, (String, usize)>,
    mistakes: Vec<Mistake>,
}

/// The values of flags, by the names of the flags.
pub type Flags = Vec<(&'static str, OsString)>;

impl Sources {
    /// Collects what was given; what can't be read as text, or isn't valid in
    /// `.env`, is among [`Sources::mistakes`].
    #[must_use]
    pub fn collect(flags: Flags, environment: &dyn Environment) -> Self {
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
                Some(Ok(value)) => put(&mut sources.environment, name, value),
                Some(Err(_)) if is_ours(&name) => {
                    mistakes.push(Mistake::new(format!("{name} (environment)"), NOT_UTF8));
                }
                Some(Err(_)) | None => {}
            }
        }
        match environment.dotenv() {
            Ok(None) => {}
            Ok(Some(text)) => read_dotenv(&text, &mut sources.dotenv, &mut mistakes),
            Err(error) => {
                mistakes.push(Mistake::new(
                    ".env".to_owned(),
                    &format!("can't be read: {error}"),
                ));
            }
        }
        sources.mistakes = mistakes;
        sources
    }

    /// What could not even be read.
    #[must_use]
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// The value that holds for a setting, if somebody gave one.
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
            (None, Some((value, line))) => (value, Origin::DotEnv(*line)),
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

fn read_dotenv(
    text: &str,
    values: &mut BTreeMap<String, (String, usize)>,
    mistakes: &mut Vec<Mistake>,
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
                // The last of two lines holds, as in a shell, also when it empties the value.
                if value.is_empty() {
                    values.remove(&name);
                } else {
                    values.insert(name, (value.to_owned(), line.get()));
                }
            }
            Err(dotenvy::Error::LineParse(bad, _)) => {
                let first = line.get() + 1 - bad.lines().count().max(1);
                let written = text.lines().nth(first - 1).unwrap_or_default();
                // What isn't the name of a setting may be a part of a secret.
                let name = setting_at_start(written);
                let place = match name {
                    Some(name) => format!("{name} (.env, line {first})"),
                    None => format!(".env, line {first}"),
                };
                mistakes.push(Mistake::new(
                    place,
                    "the line is not a setting; accepted: NAME=value, where a value with a space, \
                     \"#\", \"$\" or a quote stands in 'single quotes'",
                ));
            }
            Err(error) => {
                mistakes.push(Mistake::new(
                    format!(".env, line {}", line.get()),
                    &error.to_string(),
                ));
            }
        }
    }
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
