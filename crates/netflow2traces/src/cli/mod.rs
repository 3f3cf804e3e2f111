//! The command line: arguments and environment in, a command with its valid configuration out.

mod arguments;
mod manual;
mod show;

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ArgMatches;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap_complete::Shell;

use self::arguments::{CONNECT, DEMO_HTTP_PORT, command, decode_options, env_file, flags};
use crate::config::{
    Environment, Loaded, Machine, Mistake, Mistakes, Purpose, Sources, load_admin, load_with,
    print, settings,
};
use crate::decode;
use crate::files;
use crate::kafka;
use crate::observe::logging;
use crate::send;
use crate::stdout;

pub use manual::{show_completions, show_manual};
pub use show::{show_check, show_connection, show_health, show_settings};

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// The daemon, or the relay.
    Run(Loaded),
    Demo(DemoOptions, Loaded),
    Decode(decode::Options),
    Send(send::Options),
    /// Whether the backend is to be tried too.
    ConfigCheck(Loaded, bool),
    /// Where the daemon serves its health, if it does.
    Healthcheck(Option<SocketAddr>),
    /// The table of settings, and what they amount to. The table is shown in any case.
    ConfigPrint(String, Result<Loaded, Mistakes>),
    /// The manual: on stdout, or every page into this directory.
    Manual(Option<PathBuf>),
    Completions(Shell),
}

/// What only `demo` has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DemoOptions {
    /// Make traffic; without it the demo waits for real exporters.
    pub traffic: bool,
    /// Address of the embedded backend's HTTP API.
    pub http_host: IpAddr,
    /// TCP port of the embedded backend's HTTP API; 0 lets the system choose.
    pub http_port: u16,
}

/// Why there is nothing more to do.
#[derive(Debug)]
pub enum Failure {
    /// The arguments can't be understood, or asked for help or the version.
    CommandLine(clap::Error),
    Configuration(Mistakes),
    /// The program started and could not continue.
    Running(anyhow::Error),
}

/// Understands the arguments, the first of which is the program's name.
///
/// # Errors
/// When the arguments or the configuration can't be used, and when help or the version was asked
/// for.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &dyn Environment,
) -> Result<Command, Failure> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = command()
        .try_get_matches_from(&arguments)
        .map_err(|error| explained(error, &arguments))?;
    let machine = Machine::read();
    let load_for = |purpose, matches: &ArgMatches| {
        let sources = Sources::collect_with(flags(matches), environment, env_file(matches));
        let loaded = load_with(purpose, &sources, &machine, files::unusable);
        (sources, loaded)
    };
    match matches.subcommand() {
        Some(("demo", matches)) => {
            let loaded = load_for(Purpose::Demo, matches)
                .1
                .map_err(Failure::Configuration)?;
            let options = DemoOptions {
                traffic: !matches.get_flag("no-traffic"),
                http_host: matches
                    .get_one("http-host")
                    .copied()
                    .unwrap_or(Ipv4Addr::LOCALHOST.into()),
                http_port: matches
                    .get_one("http-port")
                    .copied()
                    .unwrap_or(DEMO_HTTP_PORT),
            };
            Ok(Command::Demo(options, loaded))
        }
        Some(("relay", matches)) => {
            if !kafka::IS_BUILT_IN {
                return Err(Failure::Configuration(Mistakes {
                    mistakes: vec![Mistake::of_sentence(&format!(
                        "relay: {}",
                        kafka::NOT_BUILT_IN
                    ))],
                    warnings: Vec::new(),
                }));
            }
            let loaded = load_for(Purpose::Relay, matches).1;
            loaded.map(Command::Run).map_err(Failure::Configuration)
        }
        Some(("decode", matches)) => decode_options(matches, environment)
            .map(Command::Decode)
            .map_err(Failure::CommandLine),
        Some(("send", matches)) => send::options(matches)
            .map(Command::Send)
            .map_err(Failure::CommandLine),
        Some(("config", matches)) => match matches.subcommand() {
            Some(("print", matches)) => {
                let (sources, loaded) = load_for(Purpose::Run, matches);
                Ok(Command::ConfigPrint(
                    print::table(&sources, &machine),
                    loaded,
                ))
            }
            Some((_, matches)) => {
                let loaded = load_for(Purpose::Run, matches)
                    .1
                    .map_err(Failure::Configuration)?;
                Ok(Command::ConfigCheck(loaded, matches.get_flag(CONNECT)))
            }
            None => unreachable!("clap requires a subcommand of config"),
        },
        Some(("healthcheck", matches)) => {
            let sources = Sources::collect_with(flags(matches), environment, env_file(matches));
            let admin = load_admin(&sources).map_err(Failure::Configuration)?;
            Ok(Command::Healthcheck(admin))
        }
        Some(("man", matches)) => Ok(Command::Manual(matches.get_one("to").cloned())),
        Some(("completions", matches)) => {
            let shell = matches.get_one::<Shell>("SHELL").copied();
            Ok(Command::Completions(shell.unwrap_or(Shell::Bash)))
        }
        Some((_, matches)) => Ok(Command::Run(
            load_for(Purpose::Run, matches)
                .1
                .map_err(Failure::Configuration)?,
        )),
        None => Ok(Command::Run(
            load_for(Purpose::Run, &matches)
                .1
                .map_err(Failure::Configuration)?,
        )),
    }
}

impl Failure {
    /// Tells the user, once, and gives the exit code: 0 for help, 1 when running failed, 2 when the
    /// arguments or the configuration can't be used.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        match self {
            Self::CommandLine(error) => {
                let printed = error.print();
                // Help and the version are on stdout. If the terminal is closed, there is nowhere to report the rest.
                if !error.use_stderr()
                    && let Err(unwritten) = stdout::checked(printed)
                {
                    return Self::Running(unwritten).report();
                }
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Self::Configuration(_) => {
                complain(self);
                ExitCode::from(2)
            }
            Self::Running(_) => {
                complain(self);
                ExitCode::FAILURE
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine(error) => error.fmt(f),
            Self::Configuration(mistakes) => mistakes.fmt(f),
            Self::Running(error) => f.write_str(&with_causes(error)),
        }
    }
}

/// The error and its causes, but for those whose text is in it already.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Adds what clap can't know.
fn explained(mut error: clap::Error, arguments: &[OsString]) -> Failure {
    let tip = match error.kind() {
        ErrorKind::ArgumentConflict
            if error.get(ContextKind::InvalidArg) != error.get(ContextKind::PriorArg) =>
        {
            Some("flags go after the command: netflow2traces demo --listen-port 9995".to_owned())
        }
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument => error
            .context()
            .find_map(|(kind, value)| match (kind, value) {
                (
                    ContextKind::InvalidSubcommand | ContextKind::InvalidArg,
                    ContextValue::String(given),
                ) => tip(given),
                _ => None,
            })
            .or_else(|| {
                arguments
                    .iter()
                    .find_map(|given| with_one_dash(given.to_str()?))
            }),
        _ => None,
    };
    if let Some(tip) = tip {
        error.insert(
            ContextKind::Suggested,
            ContextValue::StyledStrs(vec![tip.into()]),
        );
    }
    Failure::CommandLine(error)
}

/// What someone meant by an argument that isn't known.
fn tip(given: &str) -> Option<String> {
    if is_capture(given) {
        return Some(format!(
            "to see what is in a capture: netflow2traces decode {given}"
        ));
    }
    if matches!(given, "true" | "false" | "yes" | "no" | "on" | "off") {
        return Some(format!(
            "a flag that turns something on or off has its value after =, as in --scale-sampled={given}"
        ));
    }
    if given == "version" {
        return Some("netflow2traces --version".to_owned());
    }
    let (name, value) = given.split_once('=').unwrap_or((given, "VALUE"));
    let variable = name.trim_start_matches('-');
    let mut settings = settings::ALL.iter();
    let about = settings.find(|about| about.variables.contains(&variable))?;
    let flag = about.flag;
    Some(format!(
        "{variable} is an environment variable: {variable}={value} netflow2traces; its flag is --{flag}"
    ))
}

/// `-listen-port`, of which only the first letter is in the error.
fn with_one_dash(given: &str) -> Option<String> {
    let name = given.strip_prefix('-')?.split('=').next()?;
    let mut settings = settings::ALL.iter();
    let about = settings.find(|about| about.flag == name)?;
    Some(format!("flags begin with two dashes: --{}", about.flag))
}

/// A file, or what is named like one that holds packets.
fn is_capture(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let plain = lower.strip_suffix(".gz").unwrap_or(&lower);
    let is_named = [".pcap", ".pcapng", ".cap", ".dmp", ".ipfix"]
        .iter()
        .any(|ending| plain.ends_with(ending));
    is_named || Path::new(name).is_file()
}

fn complain(failure: &Failure) {
    logging::write_line(&format!("error: {failure}"));
}
