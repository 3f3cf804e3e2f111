//! What is wrong, and what to do about it: counters in, sentences out. What an operator would conclude from the
//! counters after reading the manual.

mod kafka;
mod relay;

use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use netflow_wire::foreign::Foreign;
use serde::Serialize;

use self::relay::Relayed;
use super::healthcheck::reachable;
use super::live::{History, Sample};
use super::stages::{Phase, Stages};
use crate::program;

/// What happened within so many seconds counts as happening.
const RECENT: u64 = 60;
/// Silence of so many seconds is remarkable if there was traffic before.
const SILENCE: u64 = 30;

/// Something that the page says.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub(super) struct Finding {
    /// A stable word.
    pub(super) code: &'static str,
    pub(super) level: Level,
    pub(super) title: String,
    /// What it means and what to do, a paragraph each.
    pub(super) text: Vec<String>,
    /// To be run in a shell on the daemon's machine: its purpose, and the line.
    pub(super) commands: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Something is lost, or nothing comes.
    Problem,
    /// Worth a look.
    Notice,
}

/// What the sentences are made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) is_stopping: bool,
    pub(super) has_failed: bool,
    pub(super) listening: Vec<SocketAddr>,
    /// Where nothing is received from sockets.
    pub(super) kafka: Option<kafka::Input>,
    /// Where this server is reached.
    pub(super) admin: Option<SocketAddr>,
    pub(super) uptime_seconds: u64,
    pub(super) datagrams: u64,
    pub(super) decoded: u64,
    pub(super) flows: u64,
    /// Datagrams refused, by reason.
    pub(super) refused: Vec<(&'static str, u64)>,
    pub(super) refused_recently: u64,
    /// Senders of something else, the first few, with what that seems to be.
    pub(super) strangers: Vec<(Box<str>, Foreign)>,
    pub(super) sets_waiting: u64,
    pub(super) kernel_drops: u64,
    pub(super) kernel_drops_recently: u64,
    pub(super) buffer_requested: usize,
    pub(super) buffer_granted: usize,
    /// Seconds since the last datagram.
    pub(super) silent_for: Option<u64>,
    pub(super) endpoint: Option<String>,
    pub(super) backend_away: bool,
    pub(super) last_error: Option<String>,
    /// Flow spans that wait, in the queue or for another attempt.
    pub(super) waiting: u64,
    /// The disk queue can't be written or read.
    pub(super) spool_fails: bool,
    pub(super) queued_octets: u64,
    pub(super) queue_limit: u64,
    pub(super) rejected_recently: u64,
    pub(super) dropped_recently: u64,
    /// In a relay: nothing is decoded there.
    pub(super) relay: Option<Relayed>,
}

impl Findings {
    pub(super) fn of(stages: &Stages, history: &History) -> Self {
        let facts = &stages.facts;
        let latest = Sample::read(stages);
        let delivered = &stages.delivered;
        let refused = |counter| stages.translate(counter);
        Self {
            is_stopping: stages.phase() == Phase::Stopping,
            has_failed: stages.phase() == Phase::Failed,
            listening: facts.listening.clone(),
            kafka: kafka::Input::of(stages),
            admin: facts.admin,
            uptime_seconds: facts.started_instant.elapsed().as_secs(),
            datagrams: latest.datagrams,
            decoded: stages.translate(|all| all.datagrams_decoded.value()),
            flows: latest.flows,
            refused: vec![
                (
                    "were too short",
                    refused(|all| all.datagrams_truncated.value()),
                ),
                (
                    "had an unknown version",
                    refused(|all| all.datagrams_unknown_version.value()),
                ),
                (
                    "had a wrong length",
                    refused(|all| all.datagrams_bad_length.value()),
                ),
                (
                    "had an unknown kind of agent",
                    refused(|all| all.datagrams_bad_agent.value()),
                ),
                (
                    "came from addresses outside of NETFLOW_ALLOWED_EXPORTERS",
                    refused(|all| all.datagrams_not_allowed.value()),
                ),
                (
                    "exceeded NETFLOW_MAX_RATE_PER_EXPORTER",
                    refused(|all| all.datagrams_rate_limited.value()),
                ),
            ],
            refused_recently: history.growth(RECENT, |sample| sample.refused),
            strangers: Vec::new(),
            sets_waiting: stages.translate(|all| all.sets_waiting.value()),
            kernel_drops: latest.kernel_drops,
            kernel_drops_recently: history.growth(RECENT, |sample| sample.kernel_drops),
            buffer_requested: facts.receive_buffer.requested,
            buffer_granted: facts.receive_buffer.granted,
            silent_for: history.quiet_for(|sample| sample.datagrams),
            endpoint: facts.endpoint.clone(),
            backend_away: delivered.backend_away.load(Relaxed),
            last_error: delivered.last_error().map(|error| error.text),
            waiting: delivered.queued.load().flow
                + delivered.in_flight.load().flow
                + delivered.spooled.load().flow,
            spool_fails: delivered.spool.failing.load(Relaxed),
            queued_octets: latest.queued_octets,
            queue_limit: facts.queue_size as u64,
            rejected_recently: history.growth(RECENT, |sample| sample.rejected),
            dropped_recently: history.growth(RECENT, |sample| sample.dropped),
            relay: Relayed::of(stages),
        }
    }

    fn problem(code: &'static str, title: impl Into<String>) -> Finding {
        Finding {
            code,
            level: Level::Problem,
            title: title.into(),
            text: Vec::new(),
            commands: Vec::new(),
        }
    }

    fn notice(code: &'static str, title: impl Into<String>) -> Finding {
        Finding {
            level: Level::Notice,
            ..Self::problem(code, title)
        }
    }
}

impl Finding {
    fn says(mut self, sentence: impl Into<String>) -> Self {
        self.text.push(sentence.into());
        self
    }

    fn says_all(mut self, sentences: Vec<String>) -> Self {
        self.text.extend(sentences);
        self
    }

    fn run(mut self, tells: &'static str, command: impl Into<String>) -> Self {
        self.commands.push((tells, command.into()));
        self
    }
}

/// The findings, the gravest first.
pub(super) fn findings(seen: &Findings) -> Vec<Finding> {
    let mut all = Vec::new();
    if seen.has_failed {
        let text = "A receive worker has ended by itself, and the daemon stops. Its log says why; please report it.";
        all.push(Findings::problem("worker_failed", "A worker has failed").says(text));
    }
    if seen.is_stopping {
        let text = "It received a signal to stop: what waits is delivered until NETFLOW_SHUTDOWN_TIMEOUT has passed.";
        all.push(Findings::notice("stopping", "The daemon is stopping").says(text));
    }
    all.extend(arrival(seen));
    all.extend(backend(seen));
    if let Some(relayed) = &seen.relay {
        all.extend(relay::findings(seen, relayed));
    }
    if seen.spool_fails {
        let text = "The log says why: a full disk, or a permission that was removed. Until it can be written again, spans \
                    wait in memory (NETFLOW_QUEUE_SIZE).";
        all.push(Findings::problem("spool_fails", "The spool can't be written").says(text));
    }
    all.extend(kernel_drops(seen));
    if seen.refused_recently > 0 && seen.decoded > 0 {
        let title = format!(
            "{} could not be read in the last minute",
            number_of(seen.refused_recently, "datagram")
        );
        all.push(
            Findings::notice("refused", title)
                .says(format!("Since the start: {}.", reasons(seen)))
                .says_all(strangers(seen))
                .run(REJECTED, rejected(seen)),
        );
    }
    all
}

/// At most one of what keeps flows from coming.
fn arrival(seen: &Findings) -> Option<Finding> {
    if seen.datagrams == 0 {
        return Some(match seen.kafka {
            Some(kafka) => kafka.nothing_arrives(seen),
            None => nothing_arrives(seen),
        });
    }
    if seen.relay.is_some() {
        return silence(seen);
    }
    if seen.decoded == 0 {
        let title = match seen.datagrams {
            1 => "One datagram arrived, and it could not be read".to_owned(),
            datagrams => format!("{datagrams} datagrams arrived, and none could be read"),
        };
        return Some(
            Findings::problem("none_readable", title)
                .says(format!("{}.", reasons(seen)))
                .says_all(strangers(seen))
                .says(
                    "NetFlow v1, v5, v7, v9, IPFIX and sFlow v5 are understood. Another program may be sending to this \
                     port, or the exporter may be set to another format.",
                )
                .run(REJECTED, rejected(seen)),
        );
    }
    if seen.flows == 0 && seen.sets_waiting > 0 {
        return Some(
            Findings::problem("awaits_templates", "Data is here, but not the templates that describe it")
                .says(format!(
                    "{} of data waiting. NetFlow v9 and IPFIX data means nothing without its template, and the \
                     exporter alone decides when to send that: by default after up to half an hour.",
                    number_of(seen.sets_waiting, "Set")
                ))
                .says(
                    "Nothing is lost: up to 256 KiB of each exporter waits for up to 31 minutes and is then decoded with its \
                     own times. Set the exporter's template interval to one minute. The table of exporters shows \
                     which exporter has to send which template.",
                ),
        );
    }
    if seen.flows == 0 {
        return Some(
            Findings::notice("no_flows", "Datagrams are understood, but no flow record has arrived yet")
                .says(
                    "So far only templates and options data have arrived. An exporter reports a flow when the flow ends or \
                     the active timeout expires: with a timeout of 60 s, within a minute of traffic.",
                ),
        );
    }
    silence(seen)
}

fn silence(seen: &Findings) -> Option<Finding> {
    let silent = seen.silent_for.filter(|seconds| *seconds >= SILENCE);
    silent.map(|seconds| {
        Findings::notice("silence", format!("No datagram for {seconds} s"))
            .says("Exporters send when there is traffic. If there is traffic, look for what has changed on the way.")
            .run("Do datagrams reach this machine?", tcpdump(seen))
    })
}

fn nothing_arrives(seen: &Findings) -> Finding {
    let addresses: Vec<String> = seen.listening.iter().map(SocketAddr::to_string).collect();
    let mut finding =
        Findings::problem("nothing_received", "Nothing has arrived yet").says(format!(
            "Listening for {} on UDP {}. No datagram has arrived, and the kernel dropped {}.",
            duration(seen.uptime_seconds),
            addresses.join(", "),
            if seen.kernel_drops == 0 {
                "none".to_owned()
            } else {
                seen.kernel_drops.to_string()
            },
        ));
    if !seen.listening.is_empty()
        && seen
            .listening
            .iter()
            .all(|address| address.ip().is_loopback())
    {
        finding = finding.says(
            "Only this machine can reach a loopback address: for routers, set NETFLOW_LISTEN_HOST=0.0.0.0, or :: for \
             IPv6 too.",
        );
    }
    let port = seen.listening.first().map_or(2055, SocketAddr::port);
    finding
        .says(format!(
            "Set the exporter to send to this machine's address and port {port}, with an active timeout of 60 s and \
             a template interval of one minute. Then find out where its datagrams stop:"
        ))
        .run("Do they reach this machine? If not, look at the exporter, the route, and firewalls on the way.", tcpdump(seen))
        .run("Does this machine's own firewall let them in?", "sudo nft list ruleset | grep -n udp")
        .run("Does the daemon work? Ten flow records without a router:", format!("{} send --to {} --count 10", program::name(), near(seen)))
}

fn backend(seen: &Findings) -> Option<Finding> {
    let error = seen.last_error.clone();
    let place = seen.endpoint.as_deref().unwrap_or("the backend");
    let share = seen.queued_octets * 100 / seen.queue_limit.max(1);
    if seen.backend_away {
        let title = format!("{place} is not accepting spans");
        let waits = if seen.dropped_recently > 0 {
            format!(
                "The queue is full; dropped in the last minute: {}.",
                number_of(seen.dropped_recently, "flow span")
            )
        } else {
            format!(
                "Nothing is lost so far. Waiting: {}; the queue is {share} % full.",
                number_of(seen.waiting, "flow span")
            )
        };
        let mut finding = Findings::problem("backend_away", title);
        finding.text.extend(error);
        return Some(finding.says(waits).run(
            "Try it once, with the daemon's settings:",
            format!("{} config check --connect", program::name()),
        ));
    }
    if seen.rejected_recently > 0 {
        let title = format!(
            "{place} rejected {} in the last minute",
            number_of(seen.rejected_recently, "flow span")
        );
        let mut finding = Findings::problem("backend_refuses", title);
        finding.text.extend(error);
        return Some(
            finding.says("The backend rejected them permanently, so they are not retried."),
        );
    }
    if seen.dropped_recently > 0 {
        let title = format!(
            "Dropped in the last minute: {}",
            number_of(seen.dropped_recently, "flow span")
        );
        let mut finding = Findings::problem("dropped", title);
        finding.text.extend(error);
        return Some(finding.says(format!(
            "The queue is {share} % full. If the backend is slow, raise NETFLOW_QUEUE_SIZE or \
             NETFLOW_EXPORT_CONCURRENCY."
        )));
    }
    None
}

fn kernel_drops(seen: &Findings) -> Option<Finding> {
    if seen.kernel_drops_recently == 0 {
        return None;
    }
    let title = format!(
        "The kernel dropped {} in the last minute, before the daemon could read them",
        number_of(seen.kernel_drops_recently, "datagram")
    );
    let finding = Findings::problem("kernel_drops", title);
    let asked = seen.buffer_requested;
    Some(if seen.buffer_granted < asked {
        finding
            .says(format!(
                "Receive buffers are {} bytes instead of {asked}: the kernel's limit is lower.",
                seen.buffer_granted
            ))
            .run(
                "Raise the limit until the next boot; then restart the daemon:",
                format!("sudo sysctl -w net.core.rmem_max={asked}"),
            )
    } else {
        finding.says("Raise NETFLOW_RECEIVE_BUFFER, and net.core.rmem_max with it; or NETFLOW_WORKERS, if several exporters are busy.")
    })
}

/// Such as `12 were too short, 3 had an unknown version`; `All 20 had an unknown version` for one reason.
fn reasons(seen: &Findings) -> String {
    let refused = seen.refused.iter().filter(|(_, number)| *number > 0);
    let parts: Vec<String> = refused
        .map(|(reason, number)| format!("{number} {reason}"))
        .collect();
    match &parts[..] {
        [] => "They were cut off".to_owned(),
        [only] => match only.strip_prefix("1 ") {
            Some(what) => format!("It {}", what.replacen("were", "was", 1)),
            None => format!("All {only}"),
        },
        parts => parts.join(", "),
    }
}

/// A sentence for each sender of something else.
fn strangers(seen: &Findings) -> Vec<String> {
    let each = seen.strangers.iter().map(|(address, what)| {
        let (name, remedy) = (what.name(), what.remedy());
        format!("What {address} sends looks like {name}: {remedy}.")
    });
    each.collect()
}

fn tcpdump(seen: &Findings) -> String {
    let mut ports: Vec<u16> = seen.listening.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<String> = ports
        .iter()
        .map(|port| format!("udp port {port}"))
        .collect();
    format!("sudo tcpdump -ni any '{}'", ports.join(" or "))
}

const REJECTED: &str = "What they are, and why they can't be read:";

/// Reads the last rejected datagrams, at the address where this server is.
fn rejected(seen: &Findings) -> String {
    let admin = seen
        .admin
        .map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9464)), reachable);
    let program = program::name();
    format!("curl -s '{admin}/api/rejected?format=hex' | {program} decode -")
}

/// An address of the daemon that this machine can send to.
fn near(seen: &Findings) -> SocketAddr {
    let address = seen.listening.first().copied();
    address.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 2055)), reachable)
}

/// Such as `1 datagram` and `12 datagrams`.
fn number_of(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests;
