//! A flow exporter for tests: options in, datagrams out to a UDP port or messages over connections, and exact totals at
//! the end.
//!
//! It either invents flows, which follow from a seed, and exports them as one or many exporters, or sends the UDP
//! payloads of a capture again. What is invented is prepared ahead, so that sending costs little more than the
//! system calls.

mod connections;
mod flags;
mod flows;
mod format;
mod generate;
mod generator;
mod outlet;
mod pace;
mod progress;
mod replay;
mod ring;
mod socket;
mod stop;
mod totals;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use self::stop::Stop;
use self::totals::Totals;
use crate::stdout;

pub use connections::{TlsOptions, Transport};
pub use flags::{command, options};

/// What to send, and where to.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub target: SocketAddr,
    pub transport: Transport,
    pub what: What,
    /// Ends it after so long, if it hasn't ended before.
    pub duration: Option<Duration>,
    /// Let the kernel cut several datagrams out of one buffer.
    pub segments: bool,
    pub quiet: bool,
    /// Totals as JSON.
    pub json: bool,
}

/// Where datagrams come from.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Generate(GenerateOptions),
    Replay(ReplayOptions),
}

/// Flows that are invented.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GenerateOptions {
    pub protocol: Protocol,
    pub pattern: Pattern,
    pub family: Family,
    /// Flow records of a datagram; `None`: as many as are usual at the rate.
    pub flows_per_packet: Option<usize>,
    /// Flow records a second over all exporters; `None`: as fast as it goes.
    pub rate: Option<f64>,
    /// Flow records in all.
    pub count: Option<u64>,
    pub exporters: u32,
    /// How often templates are re-sent.
    pub template_interval: Duration,
    pub seed: u64,
}

/// A capture that is replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayOptions {
    /// `-` is stdin.
    pub file: PathBuf,
    pub pace: ReplayPace,
    /// UDP destination ports whose payloads are sent; none: all.
    pub ports: Vec<u16>,
}

/// When the payloads of a capture are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReplayPace {
    /// As far apart as they were captured.
    Original,
    /// So many a second.
    Rate(f64),
    AtOnce,
}

/// The export protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Protocol {
    /// NetFlow v1
    V1,
    /// NetFlow v5
    V5,
    /// NetFlow v7
    V7,
    /// NetFlow v9
    V9,
    /// IPFIX
    Ipfix,
    /// sFlow v5: a sampled packet for each flow
    Sflow,
}

/// What is talked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Pattern {
    /// TCP port 80
    Http,
    /// TCP and some UDP, port 443
    Https,
    /// UDP port 53
    Dns,
    /// TCP port 22
    Ssh,
    /// Mostly web and names; also SSH, mail, time and pings
    Mixed,
    /// Addresses, ports, protocols and counts all random: what compresses worst
    Random,
}

/// Of the flows' addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Family {
    #[value(name = "4")]
    V4,
    #[value(name = "6")]
    V6,
    /// Three datagrams of IPv4 to one of IPv6
    Both,
}

impl GenerateOptions {
    /// At low rates datagrams are filled less, for this many a second.
    const LEAST_DATAGRAMS_A_SECOND: f64 = 10.0;

    /// Flow records of a datagram.
    fn flows_per_datagram(&self) -> usize {
        if let Some(flows) = self.flows_per_packet {
            return flows;
        }
        let usual = self.protocol.usual_flows(self.family != Family::V4);
        match self.rate {
            None => usual,
            Some(rate) => ((rate / Self::LEAST_DATAGRAMS_A_SECOND) as usize).clamp(1, usual),
        }
    }
}

/// Sends until all is sent, the time is up, or SIGINT or SIGTERM comes; then reports the totals. The exit code is a
/// success if all that was sent found a listener.
///
/// # Errors
/// When nothing can be sent: no way to the target, a file that can't be read.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("signals can't be waited for")?;
    let totals = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be handled")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT can't be handled")?;
        let (stopper, stop) = stop::stop();
        let owned = options.clone();
        let mut sending = tokio::task::spawn_blocking(move || send(&owned, &stop));
        let ended = tokio::select! {
            ended = &mut sending => ended,
            _ = terminate.recv() => { drop(stopper); sending.await }
            _ = interrupt.recv() => { drop(stopper); sending.await }
        };
        ended.context("sending has panicked")?
    })?;
    let text = if options.json {
        totals.json()
    } else {
        totals.text()
    };
    let shown = stdout::write(text.as_bytes());
    // If the terminal is closed, there is nowhere to report this.
    let _ = io::stderr()
        .lock()
        .write_all(totals.complaints().as_bytes());
    shown?;
    Ok(if totals.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Invents datagrams without sending any: `each` is given the exporter's number, from 0, and the octets. All are
/// exported at `now_ms`, milliseconds since 1970.
///
/// # Errors
/// When records don't fit a datagram. Without a count it doesn't end.
pub fn invent(
    options: &GenerateOptions,
    now_ms: u64,
    mut each: impl FnMut(usize, &[u8]),
) -> anyhow::Result<()> {
    let sources = (0..).map(|number| Some(address_of(number)));
    let mut generator = generator::Generator::new(options, sources, now_ms)?;
    while let Some(turn) = generator.next(now_ms)? {
        for octets in turn.octets.chunks(turn.segment.max(1)) {
            each(turn.exporter, octets);
        }
    }
    Ok(())
}

fn send(options: &Options, stop: &Stop) -> anyhow::Result<Totals> {
    match &options.what {
        What::Generate(generate) => generate::run(options, generate, stop),
        What::Replay(replay) => replay::run(options, replay, stop),
    }
}

/// Whether exporters can have addresses of their own: any of 127.0.0.0/8 is this machine's on Linux.
fn has_addresses(target: SocketAddr) -> bool {
    let is_loopback = matches!(target, SocketAddr::V4(target) if target.ip().is_loopback());
    cfg!(target_os = "linux") && is_loopback
}

/// The loopback address of an exporter, numbered from 0: 127.0.0.1 and so on.
fn address_of(exporter: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x7f00_0001 + exporter)
}

/// The last of 127.0.0.0/8 is for broadcasts.
const MAX_EXPORTERS: u32 = 0x00ff_fffe;
