//! Commands, flags and what `--help` says of them. Flags of settings are made from the table of settings.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches};
use clap_complete::Shell;

use crate::config::setting::{About, Preset, Section};
use crate::config::{AttributeLevel, Environment, Flags, fields, settings};
use crate::decode;
use crate::numbers;
use crate::send;
use crate::translate::enrich::fields::Fields;
use crate::translate::filter::{Filter, FilterError};

pub(super) const DEMO_HTTP_PORT: u16 = 3200;

/// Names the file that replaces `.env`.
const ENV_FILE: &str = "env-file";
pub(super) const CONNECT: &str = "connect";

const ABOUT: &str = "Receives NetFlow v1, v5, v7, v9, IPFIX and sFlow, and exports every flow record \
     as an OpenTelemetry span over OTLP";

const START: &str = "\
How to start:
  netflow2traces demo
      Runs a demo in one process: simulated traffic, and traces in memory.

  netflow2traces --otlp-endpoint http://localhost:4317
      Runs the daemon. Then let your routers send NetFlow, IPFIX or sFlow to UDP port 2055 of this
      machine, and look in the backend for spans named netflow.flow.

  netflow2traces decode FILE.pcap
      Shows the flow records of a capture, and what in it can't be decoded.

  netflow2traces config print
      Shows every setting, its value, and where the value comes from.

  netflow2traces run -h, netflow2traces --help
      List all settings, briefly and in full.

Every setting is a flag and an environment variable, which can also be in the file .env of this
directory or in --env-file. Flags take precedence over the environment, and that over the file.

Exit codes: 0 success; 1 the daemon could not run, or data was lost; 2 the arguments or the
configuration are invalid.";

const DEMO: &str = "\
Everything in one process, with no other dependency: the daemon, an embedded backend that keeps the
last traces in memory, and a traffic source that sends NetFlow v5, v9 and IPFIX over real UDP on
loopback. It prints how to fetch the traces.

The daemon's settings apply, except those of the backend: the demo has its own.";

const HEALTHCHECK: &str = "Reports whether the daemon on this machine is ready (exit code 0 or 1)";

const HEALTHCHECK_MORE: &str = "\
Requests /readyz from the daemon on this machine: exit code 0 if its sockets are bound and all its
workers run, otherwise 1, with a line that says why not. The daemon is ready even if the backend is
unreachable, because spans wait.

In a container file: HEALTHCHECK CMD [\"netflow2traces\", \"healthcheck\"]";

const RUN_EXAMPLES: &str = "\
Examples:
  netflow2traces run --otlp-endpoint http://tempo:4317
      NetFlow, IPFIX and sFlow on UDP port 2055, spans over gRPC.

  netflow2traces run --otlp-endpoint http://tempo:4318 --otlp-protocol http/protobuf
      Over HTTP. 4317 is gRPC, 4318 is HTTP.

  netflow2traces run --listen-port 2055,4739,6343 --listen-host ::
      On several ports, IPv4 and IPv6.

  netflow2traces run --traces-exporter console | jq -c 'select(.name == \"netflow.flow\")'
      Without a backend: flows as JSON lines.

  LOG_LEVEL=DEBUG netflow2traces run
      Logs single datagrams and flows as they are decoded, a bounded number of lines per second.";

const RELAY: &str = "\
Receives NetFlow, IPFIX and sFlow as `run` does, and writes each datagram to a Kafka topic without
decoding it. The key is the exporter's address, so that everything of an exporter is in one partition,
in order. Any number of daemons with NETFLOW_INPUT=kafka share the topic, also on other machines.

Datagrams wait in memory, up to --queue-size, while the brokers are unreachable. The page, metrics
and health are served as by the daemon. The settings of receiving and of Kafka apply;
NETFLOW_KAFKA_BROKERS is required.

Release builds have the Kafka client. A build without the cargo feature `kafka` exits with code 2.";

const RELAY_EXAMPLES: &str = "\
Examples:
  netflow2traces relay --kafka-brokers kafka-1:9092,kafka-2:9092
      Everything that arrives at UDP port 2055, to the topic netflow_datagrams.

  netflow2traces relay --kafka-brokers kafka-1:9093 --kafka-tls --listen-tcp-port 4739
      Over TLS, and IPFIX over TCP as well.";

const DEMO_EXAMPLES: &str = "\
Examples:
  netflow2traces demo
      Open the page that it prints, or paste the curl commands.

  netflow2traces demo --no-traffic --listen-port 2055
      Waits for your own routers. In another terminal: netflow2traces send

  netflow2traces demo --http-host 0.0.0.0
      A Grafana in a container can read the traces (docs/grafana.md).";

const CHECK_EXAMPLES: &str = "\
Examples:
  netflow2traces config check
      Checks the environment and the file .env of this directory.

  netflow2traces config check --connect
      Also checks that the backend accepts spans. If not, it names the setting that is probably wrong.";

const PRINT_EXAMPLES: &str = "\
Examples:
  netflow2traces config print | grep -v default
      Only what was set, and where. Secrets are hidden.";

const DECODE: &str = "\
Shows the flow records of a capture, decoded by the same code as in the daemon, then reports on
stderr what was read and what could not be decoded. Nothing is sent anywhere.

On a terminal the records are a table; elsewhere each is a line of JSON. --format changes that.
--filter shows only some of them, and --top adds them up: the largest totals by any fields.

Reads classic pcap and pcapng (both also gzipped; VLAN tags, Linux cooked, raw IP and the other
common link types; IP fragments are put together), IPFIX Files (RFC 5655), and text with the octets
of a datagram in hexadecimal on each line. It decodes every UDP datagram, or only those to the
ports of --port. If a capture has no flow export, it reports what else the capture contains.

A JSON record has the number of its frame, its exporter, its protocol, its start and end as
exported (omitted if they were not), and the attributes of the span that the daemon would create.
Bytes without a known meaning are in hexadecimal.

Files are read in the given order, and templates learned in one apply to the next: give rotated
captures in one command.";

const DECODE_EXAMPLES: &str = "\
Examples:
  netflow2traces decode flows.pcap
      Everything in the file, as a table.

  netflow2traces decode --filter 'dst port 443 and bytes > 1m' flows.pcap
      Only some records. The filters are those of nfdump; docs/filter.md lists them.

  netflow2traces decode --top 10 --by src,dst,dstport flows.pcap
      The ten largest conversations. Any attribute can be a field: --by netflow.src_as

  netflow2traces decode --format csv flows.pcap > flows.csv
      For a spreadsheet.

  netflow2traces decode flows.pcap | jq -r '[.start, .attributes[\"source.address\"]] | @tsv'
      In a pipe the records are JSON.

  netflow2traces decode flows.pcap 2>&1 >/dev/null
      Only the summary: what can't be decoded?

  sudo tcpdump -i any -U -w - udp port 2055 | netflow2traces decode -
      What a router sends, live.

  netflow2traces decode --format otlp flows.pcap | while read -r request; do
    curl -s -H 'Content-Type: application/json' -d \"$request\" http://localhost:4318/v1/traces
  done
      Sends a capture to a backend.

Exit codes: 0 everything was decoded; 1 something was not: stderr says what and why; 2 there was
nothing to decode (stderr says what the capture contains), a file can't be read, or the arguments
are invalid.";

const MAN: &str = "\
Prints the manual page of the program, with every setting, in the format that man reads:

  netflow2traces man | man -l -

With --to, a page for the program and one for each of its commands are written into a directory:

  netflow2traces man --to /usr/local/share/man/man1";

const COMPLETIONS: &str = "\
Prints a script with which a shell completes commands, flags and their values.

  bash:  netflow2traces completions bash > ~/.local/share/bash-completion/completions/netflow2traces
  zsh:   netflow2traces completions zsh > \"${fpath[1]}/_netflow2traces\"
  fish:  netflow2traces completions fish > ~/.config/fish/completions/netflow2traces.fish";

const MORE: &str = "--help explains every setting and its flag.";

pub(super) fn command() -> clap::Command {
    let print = "Shows each effective value and where it comes from";
    let check = "Reports whether the configuration is valid (exit code 0 or 2)";
    clap::Command::new("netflow2traces")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(START)
        .max_term_width(100)
        .args_conflicts_with_subcommands(true)
        .arg(env_file_flag())
        .args(only_in_long_help(setting_flags(|_| true)))
        .subcommand(
            subcommand(
                "run",
                "Runs the daemon (also what happens without a command)",
            )
            .after_long_help(RUN_EXAMPLES)
            .arg(env_file_flag())
            .args(setting_flags(|_| true)),
        )
        .subcommand(
            subcommand(
                "demo",
                "Runs a self-contained demo: daemon, backend and sample traffic",
            )
            .long_about(DEMO)
            .after_help(MORE)
            .after_long_help(DEMO_EXAMPLES)
            .args(demo_flags())
            .arg(env_file_flag())
            .args(only_in_long_help(setting_flags(|section| {
                !matches!(section, Section::Backend | Section::OwnMetrics)
            }))),
        )
        .subcommand(send::command())
        .subcommand(
            subcommand(
                "relay",
                "Writes received datagrams to Kafka, for workers on other machines",
            )
            .long_about(RELAY)
            .after_help(MORE)
            .after_long_help(RELAY_EXAMPLES)
            .arg(env_file_flag())
            .args(only_in_long_help(setting_flags(|section| {
                !matches!(
                    section,
                    Section::Backend
                        | Section::Spans
                        | Section::Resource
                        | Section::FlowMetrics
                        | Section::OwnMetrics
                )
            }))),
        )
        .subcommand(
            subcommand("healthcheck", HEALTHCHECK)
                .long_about(HEALTHCHECK_MORE)
                .arg(env_file_flag())
                .args(health_flags()),
        )
        .subcommand(
            subcommand(
                "decode",
                "Shows the flow records of a capture, and what can't be decoded",
            )
            .long_about(DECODE)
            .after_long_help(DECODE_EXAMPLES)
            .after_help("--help has examples.")
            .args(decode_flags()),
        )
        .subcommand(
            subcommand(
                "config",
                "Checks or shows the configuration, without starting anything",
            )
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(
                subcommand("check", check)
                    .after_help(MORE)
                    .after_long_help(CHECK_EXAMPLES)
                    .arg(connect_flag())
                    .arg(env_file_flag())
                    .args(only_in_long_help(setting_flags(|_| true))),
            )
            .subcommand(
                subcommand("print", print)
                    .after_help(MORE)
                    .after_long_help(PRINT_EXAMPLES)
                    .arg(env_file_flag())
                    .args(only_in_long_help(setting_flags(|_| true))),
            ),
        )
        .subcommands(generating())
}

/// The commands for packagers and shells.
fn generating() -> [clap::Command; 2] {
    let to = Arg::new("to")
        .long("to")
        .value_name("DIRECTORY")
        .value_parser(clap::value_parser!(PathBuf))
        .help("Write a page for each command into this directory [default: one page on stdout]");
    let shell = Arg::new("SHELL")
        .required(true)
        .value_parser(clap::value_parser!(Shell))
        .help("The shell");
    [
        subcommand(
            "man",
            "Prints the manual page: netflow2traces man | man -l -",
        )
        .long_about(MAN)
        .arg(to),
        subcommand("completions", "Generates shell completions")
            .long_about(COMPLETIONS)
            .arg(shell),
    ]
}

/// Where the daemon serves its health.
fn health_flags() -> impl Iterator<Item = Arg> {
    let flags = setting_flags(|section| section == Section::Watching);
    flags.filter(|flag| matches!(flag.get_id().as_str(), "admin-host" | "admin-port"))
}

fn connect_flag() -> Arg {
    Arg::new(CONNECT)
        .long(CONNECT)
        .action(ArgAction::SetTrue)
        .help("Also send the backend a request without spans, and report its answer (exit code 1 if it is not accepting spans)")
}

fn demo_flags() -> [Arg; 3] {
    let no_traffic = Arg::new("no-traffic")
        .long("no-traffic")
        .action(ArgAction::SetTrue)
        .help("Don't simulate traffic; wait for your own routers instead");
    let http_host = Arg::new("http-host")
        .long("http-host")
        .value_name("ADDRESS")
        .value_parser(clap::value_parser!(IpAddr))
        .help("Address to serve traces on [default: 127.0.0.1]")
        .long_help(
            "Address to serve traces on [default: 127.0.0.1]. 0.0.0.0 lets a Grafana in a container, or on another \
             machine, read them. There is no password: everyone who can reach it sees the traces.",
        );
    let http_port = Arg::new("http-port")
        .long("http-port")
        .value_name("PORT")
        .value_parser(numbers::port)
        .allow_negative_numbers(true)
        .help(format!(
            "TCP port to serve traces on [default: {DEMO_HTTP_PORT}]"
        ));
    [no_traffic, http_host, http_port]
}

fn decode_flags() -> [Arg; 8] {
    let files = Arg::new("FILE")
        .required(true)
        .num_args(1..)
        .value_parser(clap::value_parser!(PathBuf))
        .help("pcap, pcapng, gzip of them, IPFIX File, or hexadecimal text; - for stdin");
    let format = Arg::new("format")
        .long("format")
        .value_name("FORMAT")
        .value_parser(clap::value_parser!(decode::Format))
        .help("Output format [default: table on a terminal, otherwise json]");
    let attributes = Arg::new("attributes")
        .long("attributes")
        .value_name("LEVEL")
        .value_parser(["minimal", "standard", "all"])
        .default_value("all")
        .help("How many attributes a record has, like NETFLOW_ATTRIBUTES");
    let port = Arg::new("port")
        .long("port")
        .value_name("PORT")
        .value_parser(numbers::port)
        .allow_negative_numbers(true)
        .value_delimiter(',')
        .action(ArgAction::Append)
        .help("Decode only UDP datagrams to these ports [default: all]");
    let fields = Arg::new("fields")
        .long("fields")
        .value_name("FILE")
        .value_parser(parse_fields)
        .help("CSV file that defines Information Elements [env: NETFLOW_FIELDS] (docs/fields.md)");
    let filter = Arg::new("filter")
        .long("filter")
        .value_name("EXPRESSION")
        .value_parser(parse_filter)
        .help("Show only records that match, such as 'src net 10.0.0.0/8 and port 443' (docs/filter.md)");
    let top = Arg::new("top")
        .long("top")
        .value_name("N")
        .value_parser(numbers::whole::<u32>(1..=u64::from(u32::MAX)))
        .allow_negative_numbers(true)
        .help("Show the N largest totals instead of records, by bytes times the sampling interval");
    let by = Arg::new("by")
        .long("by")
        .value_name("FIELDS")
        .value_parser(clap::value_parser!(decode::Field))
        .value_delimiter(',')
        .action(ArgAction::Append)
        .requires("top")
        .help("Fields by which --top groups, such as src,dst,dstport [default: src,dst]");
    [files, format, attributes, port, fields, filter, top, by]
}

/// The error shows the place.
fn parse_filter(text: &str) -> Result<Filter, String> {
    let filter: Filter = text
        .parse()
        .map_err(|error: FilterError| format!("{error}\n{}", error.mark(text)))?;
    if filter.names_networks() {
        return Err("a capture has no names of networks: write \"net\" and a prefix".to_owned());
    }
    Ok(filter)
}

fn parse_fields(path: &str) -> Result<Arc<Fields>, String> {
    fields::read(path).map_err(|rejection| rejection.0)
}

/// The flag's definitions, else those of the daemon's variable.
fn fields_of(
    matches: &ArgMatches,
    environment: &dyn Environment,
) -> Result<Option<Arc<Fields>>, clap::Error> {
    if let Some(fields) = matches.get_one::<Arc<Fields>>("fields") {
        return Ok(Some(Arc::clone(fields)));
    }
    let variable = settings::FIELDS.about.variable();
    let Some(path) = environment.variable(variable) else {
        return Ok(None);
    };
    match path.to_str() {
        Some("") => Ok(None),
        Some(path) => parse_fields(path).map(Some).map_err(|problem| {
            clap::Error::raw(
                ErrorKind::ValueValidation,
                format!("{variable}={path}: {problem}\n"),
            )
        }),
        None => Err(clap::Error::raw(
            ErrorKind::ValueValidation,
            format!("{variable} is not UTF-8 text\n"),
        )),
    }
}

pub(super) fn decode_options(
    matches: &ArgMatches,
    environment: &dyn Environment,
) -> Result<decode::Options, clap::Error> {
    let level = matches.get_one::<String>("attributes").map(String::as_str);
    let level = [AttributeLevel::Minimal, AttributeLevel::Standard]
        .into_iter()
        .find(|known| Some(known.as_str()) == level);
    let format = matches.get_one("format").copied();
    let by: Vec<decode::Field> = matches
        .get_many("by")
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    let top = matches.get_one::<u32>("top").map(|count| {
        let by = match by.is_empty() {
            true => ["source.address", "destination.address"]
                .map(|key| decode::Field::Attribute(key.to_owned()))
                .to_vec(),
            false => by,
        };
        (usize::try_from(*count).unwrap_or(usize::MAX), by)
    });
    if top.is_some() && format == Some(decode::Format::Otlp) {
        return Err(clap::Error::raw(
            ErrorKind::ArgumentConflict,
            "--top has no OTLP form: use --format table, csv or json\n",
        ));
    }
    Ok(decode::Options {
        files: matches
            .get_many("FILE")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        format,
        attributes: level.unwrap_or(AttributeLevel::All),
        ports: matches
            .get_many("port")
            .into_iter()
            .flatten()
            .copied()
            .collect(),
        fields: fields_of(matches, environment)?,
        filter: matches.get_one("filter").cloned(),
        top,
    })
}

fn subcommand(name: &'static str, about: &'static str) -> clap::Command {
    clap::Command::new(name).about(about).max_term_width(100)
}

/// A flag for each setting of these sections.
fn setting_flags(of: fn(Section) -> bool) -> impl Iterator<Item = Arg> {
    settings::ALL
        .iter()
        .filter(move |about| of(about.section))
        .map(|about| setting_flag(about))
}

/// `-h` then is one screen.
fn only_in_long_help(flags: impl Iterator<Item = Arg>) -> impl Iterator<Item = Arg> {
    flags.map(|flag| flag.hide_short_help(true))
}

fn setting_flag(about: &'static About) -> Arg {
    let default = match about.preset {
        Preset::Nothing("required") => "required".to_owned(),
        preset => format!("default: {}", preset.describe()),
    };
    let short = format!("{} [{}; {default}]", about.summary, about.variable());
    let variables = about.variables.join(", otherwise ");
    let long = format!(
        "{}. {}\n\n{variables}; {default}\nAccepted: {}",
        about.summary,
        about.details.replace('`', ""),
        about.accepted
    );
    let flag = Arg::new(about.flag)
        .long(about.flag)
        .value_name(about.placeholder)
        .value_parser(ValueParser::os_string())
        .allow_negative_numbers(true)
        .help_heading(about.section.title())
        .help(short)
        .long_help(long);
    if about.switch {
        // With "=" only, or the flag would swallow a command that follows it.
        flag.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else {
        flag
    }
}

/// The file that replaces `.env`.
pub(super) fn env_file(matches: &ArgMatches) -> Option<&Path> {
    let file = matches.try_get_one::<PathBuf>(ENV_FILE).ok().flatten();
    file.map(PathBuf::as_path)
}

fn env_file_flag() -> Arg {
    Arg::new(ENV_FILE)
        .long(ENV_FILE)
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .value_hint(clap::ValueHint::FilePath)
        .help("Read variables from this file instead of .env of the working directory")
}

pub(super) fn flags(matches: &ArgMatches) -> Flags {
    settings::ALL
        .iter()
        .filter_map(|about| {
            // `demo` has no flags for the backend.
            let value = matches.try_get_one::<OsString>(about.flag).ok().flatten()?;
            Some((about.flag, value.clone()))
        })
        .collect()
}
