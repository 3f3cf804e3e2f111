//! The arguments of `send`: their help, and the options they amount to.

use std::fs::File;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::numbers::{self, whole};

use super::{
    Family, GenerateOptions, MAX_EXPORTERS, Options, Pattern, Protocol, ReplayOptions, ReplayPace,
    TlsOptions, Transport, What, has_addresses,
};

const DEFAULT_PORT: u16 = 2055;
const DEFAULT_RATE: f64 = 1_000.0;
/// 127.0.0.1 and not a name: a name may mean IPv6 first, where loopback has one address only.
const DEFAULT_TARGET: &str = "127.0.0.1";

const LONG: &str = "\
Sends flow records to a UDP port, or over TCP or TLS, as routers do, to try out, test or load a collector.

It simulates flows (web, DNS, SSH, mail and pings between documentation addresses) and exports them
with the chosen protocol, at an even rate, until it reaches the count or the time, or until
Ctrl-C. Then it reports exactly what it sent. The same --seed makes the same flows in the same
order; only times follow the clock. As in real traffic, flows go both ways, a few hosts are in most
of them, and a few large ones carry most of the bytes. With --pattern random, addresses (IPv4: any;
IPv6: of 2001:db8::/32), ports, protocols, flags and counts are all random: no traffic is harder to
compress. After 32,768 flow records (8,192 with --ip both) the same addresses and ports come again,
with other packets and bytes (sFlow: in other samples).

With the target 127.0.0.1, each of several --exporters has its own address (127.0.0.1, 127.0.0.2, ...);
with other targets they differ in their observation domains. Templates of v9 and IPFIX are sent first
and then every --template-interval.

With a FILE it sends the UDP payloads of a capture instead, each source through its own socket.";

const EXAMPLES: &str = "\
Examples:
  netflow2traces send
      1,000 IPFIX flow records a second to UDP port 2055 of this machine, until Ctrl-C.

  netflow2traces send --protocol v5 --pattern dns --count 300 --rate 100 --to collector.example:9995
      Three seconds of DNS lookups with NetFlow v5 to another machine.

  netflow2traces send --protocol v9 --exporters 1000 --rate 100k --duration 1m
      A thousand routers.

  netflow2traces send --protocol ipfix --ip both --rate max --duration 10s --json
      As fast as possible; the totals are printed as a line of JSON.

  netflow2traces send --protocol v5 --pattern random --rate 300k --duration 1m
      Random traffic, to see what compression costs at worst.

  netflow2traces send --transport tls --tls-ca ca.pem --to collector.example:4740 --count 1000
      IPFIX over TLS; ca.pem has the authority that signed the collector's certificate.

  netflow2traces send flows.pcap --port 2055
      A capture at its own pace, only datagrams that were sent to port 2055.

  netflow2traces send flows.pcapng.gz --at-once
      A capture, as fast as possible.

Exit codes: 0 everything was sent; 1 sending failed, nothing listens at the target, or the capture
is damaged: stderr has the details; 2 the arguments are invalid, or the capture can't be read.";

/// The subcommand.
pub fn command() -> Command {
    Command::new("send")
        .about("Sends simulated flow records, or those of a capture, to a UDP port")
        .long_about(LONG)
        .after_long_help(EXAMPLES)
        .after_help("--help has examples.")
        .max_term_width(100)
        .arg(
            Arg::new("FILE")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with_all(INVENTED)
                .help("A capture to replay (pcap, pcapng, gzip of them); - for stdin"),
        )
        .arg(
            option("to", "HOST:PORT")
                .default_value(DEFAULT_TARGET)
                .help(format!("Target; the port defaults to {DEFAULT_PORT}")),
        )
        .args(transport())
        .args(what())
        .args(how_much())
        .args(of_captures())
        .args([
            switch(
                "no-gso",
                "Pass datagrams to the kernel one at a time instead of several at once",
            ),
            switch("quiet", "Show no progress on stderr").short('q'),
            switch("json", "Print the totals as a line of JSON"),
        ])
}

/// Options that conflict with a capture.
const INVENTED: [&str; 8] = [
    "protocol",
    "pattern",
    "ip",
    "flows-per-packet",
    "count",
    "exporters",
    "template-interval",
    "seed",
];

fn transport() -> [Arg; 4] {
    [
        option("transport", "TRANSPORT")
            .value_parser(["udp", "tcp", "tls"])
            .default_value("udp")
            .help("udp, tcp or tls; over tcp and tls only IPFIX can be sent"),
        option("tls-ca", "FILE")
            .value_parser(value_parser!(PathBuf))
            .required_if_eq("transport", "tls")
            .help("Authority that signed the collector's certificate, for tls"),
        option("tls-certificate", "FILE")
            .value_parser(value_parser!(PathBuf))
            .requires("tls-key")
            .help("Certificate to show the collector, for tls"),
        option("tls-key", "FILE")
            .value_parser(value_parser!(PathBuf))
            .requires("tls-certificate")
            .help("Key of that certificate"),
    ]
}

fn what() -> [Arg; 6] {
    [
        option("protocol", "PROTOCOL")
            .value_parser(value_parser!(Protocol))
            .default_value("ipfix")
            .help("Export protocol"),
        option("pattern", "PATTERN")
            .value_parser(value_parser!(Pattern))
            .default_value("mixed")
            .help("Traffic pattern to simulate"),
        option("ip", "FAMILY")
            .value_parser(value_parser!(Family))
            .default_value("4")
            .help("IP version of the flows; v1, v5 and v7 support IPv4 only"),
        option("flows-per-packet", "N")
            .value_parser(whole::<u32>(1..=u64::from(u32::MAX)))
            .help("Flow records per datagram [default: as many as fit into 1,472 bytes, fewer at low rates]"),
        option("exporters", "N")
            .value_parser(whole::<u32>(1..=u64::from(MAX_EXPORTERS)))
            .default_value("1")
            .help("Number of exporters to simulate"),
        option("template-interval", "DURATION")
            .value_parser(duration)
            .default_value("10s")
            .help("How often templates are re-sent"),
    ]
}

fn how_much() -> [Arg; 4] {
    [
        option("rate", "RATE")
            .value_parser(rate)
            .help("Flow records per second, all exporters together (with FILE: datagrams), such as 500, 20k or 1.5M; max or 0 means as fast as possible [default: 1000; with FILE, the pace of the capture]"),
        option("count", "N")
            .value_parser(whole::<u64>(0..=u64::MAX))
            .help("Stop after this many flow records"),
        option("duration", "DURATION")
            .value_parser(duration)
            .help("Stop after this time: 10s, 5m"),
        option("seed", "N")
            .value_parser(whole::<u64>(0..=u64::MAX))
            .default_value("1")
            .help("Seed of the simulation: the same seed gives the same flows"),
    ]
}

fn of_captures() -> [Arg; 2] {
    [
        switch("at-once", "Send FILE as fast as possible")
            .conflicts_with("rate")
            .requires("FILE"),
        option("port", "PORT")
            .value_parser(numbers::port)
            .value_delimiter(',')
            .action(ArgAction::Append)
            .requires("FILE")
            .help("Send only datagrams that went to these UDP ports in FILE [default: all]"),
    ]
}

fn option(name: &'static str, value: &'static str) -> Arg {
    // A negative number is no flag: what reads the value says what is accepted.
    let arg = Arg::new(name).long(name).value_name(value);
    arg.allow_negative_numbers(true)
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

/// The options that arguments amount to.
///
/// # Errors
/// When they don't go together, or the target has no address.
pub fn options(matches: &ArgMatches) -> Result<Options, clap::Error> {
    let target = target(
        one::<String>(matches, "to")
            .as_deref()
            .unwrap_or(DEFAULT_TARGET),
    )?;
    let transport = transport_of(matches)?;
    let rate = one::<Rate>(matches, "rate");
    let what = match one::<PathBuf>(matches, "FILE") {
        Some(file) if file != Path::new("-") && File::open(&file).is_err() => {
            return Err(unreadable(&file));
        }
        Some(file) => What::Replay(ReplayOptions {
            file,
            pace: match rate {
                _ if matches.get_flag("at-once") => ReplayPace::AtOnce,
                Some(Rate(Some(rate))) => ReplayPace::Rate(rate),
                Some(Rate(None)) => ReplayPace::AtOnce,
                None => ReplayPace::Original,
            },
            ports: matches
                .get_many("port")
                .into_iter()
                .flatten()
                .copied()
                .collect(),
        }),
        None => What::Generate(generate(matches, rate, target)?),
    };
    Ok(Options {
        target,
        transport,
        what,
        duration: one(matches, "duration"),
        segments: !matches.get_flag("no-gso"),
        quiet: matches.get_flag("quiet"),
        json: matches.get_flag("json"),
    })
}

/// What was given as a capture, and perhaps was meant as a target.
fn unreadable(file: &Path) -> clap::Error {
    let name = file.display();
    let error = File::open(file).err();
    let problem = error.map_or_else(String::new, |error| format!("can't be read: {error}"));
    let is_target = file.to_str().is_some_and(|text| {
        let port = text.rsplit_once(':').map(|(_, port)| port);
        text.parse::<IpAddr>().is_ok() || port.is_some_and(|port| port.parse::<u16>().is_ok())
    });
    let hint = match is_target {
        true => format!("; to send there: --to {name}"),
        false => String::new(),
    };
    mistake(format!("{name} {problem}{hint}"))
}

fn transport_of(matches: &ArgMatches) -> Result<Transport, clap::Error> {
    let word = one::<String>(matches, "transport");
    let transport = match word.as_deref() {
        Some("tcp") => Transport::Tcp,
        Some("tls") => {
            let to = one::<String>(matches, "to").unwrap_or_default();
            let identity = one(matches, "tls-certificate").zip(one(matches, "tls-key"));
            Transport::Tls(TlsOptions {
                host: host(&to).to_owned(),
                authority: one(matches, "tls-ca").unwrap_or_default(),
                identity,
            })
        }
        _ => return Ok(Transport::Udp),
    };
    let is_invented = one::<PathBuf>(matches, "FILE").is_none();
    if is_invented && one::<Protocol>(matches, "protocol") != Some(Protocol::Ipfix) {
        return Err(mistake(
            "--transport: only IPFIX can be sent over tcp and tls; leave --protocol out".to_owned(),
        ));
    }
    Ok(transport)
}

/// The host of HOST, HOST:PORT or [IPv6]:PORT.
fn host(to: &str) -> &str {
    if let Some((inside, _)) = to.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside;
    }
    match to.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') => host,
        _ => to,
    }
}

fn generate(
    matches: &ArgMatches,
    rate: Option<Rate>,
    target: SocketAddr,
) -> Result<GenerateOptions, clap::Error> {
    let options = GenerateOptions {
        protocol: one(matches, "protocol").unwrap_or(Protocol::Ipfix),
        pattern: one(matches, "pattern").unwrap_or(Pattern::Mixed),
        family: one(matches, "ip").unwrap_or(Family::V4),
        flows_per_packet: one::<u32>(matches, "flows-per-packet").map(|flows| flows as usize),
        rate: rate.map_or(Some(DEFAULT_RATE), |rate| rate.0),
        count: one(matches, "count"),
        exporters: one(matches, "exporters").unwrap_or(1),
        template_interval: one(matches, "template-interval").unwrap_or(Duration::from_secs(10)),
        seed: one(matches, "seed").unwrap_or(1),
    };
    let name = one::<Protocol>(matches, "protocol")
        .and_then(|protocol| clap::ValueEnum::to_possible_value(&protocol))
        .map_or(String::new(), |value| value.get_name().to_owned());
    if options.family != Family::V4 && !options.protocol.has_v6() {
        return Err(mistake(format!(
            "{name} has no IPv6: leave --ip out, or use v9, ipfix or sflow"
        )));
    }
    let max = options.protocol.max_flows(options.family != Family::V4);
    if options.flows_per_datagram() > max {
        return Err(mistake(format!(
            "--flows-per-packet: a datagram of {name} holds at most {max}"
        )));
    }
    if options.exporters > 1 && !has_addresses(target) {
        if !options.protocol.has_domains() {
            return Err(mistake(format!(
                "--exporters: {name} has no observation domain, and only at 127.0.0.1 exporters have addresses of their own"
            )));
        }
        if options.protocol == Protocol::V5 && options.exporters > u32::from(u16::MAX) {
            return Err(mistake(
                "--exporters: v5 has 65,535 engines at most".to_owned(),
            ));
        }
    }
    Ok(options)
}

fn one<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Option<T> {
    matches.get_one(name).cloned()
}

fn mistake(text: String) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{text}\n"))
}

/// Resolves HOST, HOST:PORT or [IPv6]:PORT.
fn target(text: &str) -> Result<SocketAddr, clap::Error> {
    let refused = |problem: &str| Err(mistake(format!("--to {text}: {problem}")));
    if text.contains("://") {
        return refused("a host and a port without a scheme, such as 192.0.2.10:2055");
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    if host.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok() {
        return refused(&format!(
            "an IPv6 address must be in brackets: [{host}]:{port}, or [{text}]"
        ));
    }
    let has_port = !host.contains(':') || host.ends_with(']');
    if has_port
        && text.contains(':')
        && !port.parse::<u16>().is_ok_and(|port| port > 0)
        && !text.ends_with(']')
    {
        return refused(&format!(
            "{port} is not a port, a whole number from 1 to 65535"
        ));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let found = match bare.parse::<IpAddr>() {
        Ok(address) => Ok(Some(SocketAddr::new(address, DEFAULT_PORT))),
        Err(_) if text.contains(':') => text.to_socket_addrs().map(|mut all| all.next()),
        Err(_) => (text, DEFAULT_PORT)
            .to_socket_addrs()
            .map(|mut all| all.next()),
    };
    match found {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(mistake(format!("--to {text}: it has no address"))),
        Err(error) => Err(mistake(format!("--to {text}: {error}"))),
    }
}

/// A rate; `None`: as fast as it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate(Option<f64>);

fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate(None));
    }
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => match text.strip_suffix('M') {
            Some(digits) => (digits, 1e6),
            None => (text, 1.0),
        },
    };
    match digits.parse::<f64>() {
        Ok(0.0) => Ok(Rate(None)),
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(Rate(Some(rate * factor))),
        _ => Err("neither a number (with k or M behind it) nor max".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("no time at all".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Options, String> {
        let matches = command()
            .try_get_matches_from([&["send"], arguments].concat())
            .map_err(|error| error.to_string())?;
        options(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn rates_have_factors_and_a_word() {
        let rates = ["500", "20k", "1.5M", "max", "0"].map(|text| rate(text).unwrap().0);
        assert_eq!(
            rates,
            [Some(500.0), Some(20_000.0), Some(1_500_000.0), None, None]
        );
        for text in ["", "k", "-1", "fast", "inf", "nan"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn targets_may_leave_the_port_out() {
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1:2055"),
            ("192.0.2.1:9995", "192.0.2.1:9995"),
            ("::1", "[::1]:2055"),
            ("[::1]:4739", "[::1]:4739"),
        ] {
            assert_eq!(target(text).unwrap(), expected.parse().unwrap());
        }
        for (text, problem) in [
            ("127.0.0.1:port", "port is not a port"),
            ("127.0.0.1:0", "0 is not a port"),
            ("[::1]:99999", "99999 is not a port"),
            ("2001:db8::7:2055", "in brackets: [2001:db8::7]:2055"),
            ("udp://127.0.0.1:2055", "without a scheme"),
        ] {
            let error = target(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn the_name_that_a_certificate_must_have_is_the_targets_host() {
        for (to, host) in [
            ("127.0.0.1:4740", "127.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]:4740", "::1"),
            ("::1", "::1"),
        ] {
            let to = format!("--to={to}");
            let options = parsed(&["--transport=tls", "--tls-ca=ca.pem", &to]).unwrap();
            let Transport::Tls(tls) = options.transport else {
                panic!("over TLS");
            };
            assert_eq!((&*tls.host, tls.identity), (host, None), "{to}");
        }
        assert_eq!(parsed(&[]).unwrap().transport, Transport::Udp);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (arguments, reason) in [
            (&["--protocol=v5", "--ip=6"][..], "v5 has no IPv6"),
            (&["--protocol=v5", "--flows-per-packet=31"], "at most 30"),
            (
                &["--protocol=v7", "--exporters=2", "--to=192.0.2.1"],
                "v7 has no observation domain",
            ),
            (&["a.pcap", "--protocol=v5"], "cannot be used with"),
            (&["a.pcap", "--at-once", "--rate=5"], "cannot be used with"),
            (&["--at-once"], "required"),
            (&["--port=5"], "required"),
            (&["--duration=0s"], "no time at all"),
            (&["--transport=tls"], "--tls-ca"),
            (&["--transport=tcp", "--protocol=v9"], "only IPFIX"),
            (&["--transport=sctp"], "possible values"),
            (
                &["--transport=tls", "--tls-ca=a", "--tls-key=b"],
                "--tls-certificate",
            ),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(reason), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn datagrams_fill_up_with_the_rate() {
        let flows = |arguments: &[&str]| match parsed(arguments).unwrap().what {
            What::Generate(options) => options.flows_per_datagram(),
            What::Replay(_) => 0,
        };
        assert_eq!(flows(&["--rate=1"]), 1);
        assert_eq!(flows(&["--rate=100"]), 10);
        assert_eq!(flows(&["--protocol=v5", "--rate=max"]), 30);
        assert_eq!(flows(&["--protocol=v7", "--rate=max"]), 27);
        assert_eq!(flows(&["--protocol=v9", "--rate=max"]), 28);
    }

    #[test]
    fn a_capture_keeps_its_pace_unless_told_otherwise() {
        let pace = |arguments: &[&str]| match parsed(arguments).unwrap().what {
            What::Replay(replay) => replay.pace,
            What::Generate(_) => panic!("no capture"),
        };
        // Any file that can be read.
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(pace(&[file]), ReplayPace::Original);
        assert_eq!(pace(&[file, "--rate=5"]), ReplayPace::Rate(5.0));
        assert_eq!(pace(&[file, "--rate=max"]), ReplayPace::AtOnce);
        assert_eq!(pace(&[file, "--at-once"]), ReplayPace::AtOnce);
    }

    #[test]
    fn a_capture_that_is_not_there_is_named_and_a_target_in_its_place_gets_a_tip() {
        let absent = parsed(&["absent.pcap"]).unwrap_err();
        assert!(absent.contains("absent.pcap can't be read"), "{absent}");
        assert!(!absent.contains("--to"), "{absent}");
        let target = parsed(&["192.0.2.10:2055"]).unwrap_err();
        assert!(target.contains("--to 192.0.2.10:2055"), "{target}");
    }
}
