//! Invented flows: the generator's turns to the socket, at the pace asked for.

use std::time::Instant;

use anyhow::Context as _;

use super::generator::Generator;
use super::outlet::Outlet;
use super::pace::Pace;
use super::progress::{Goal, Progress};
use super::stop::Stop;
use super::totals::{Sent, Totals};
use super::{GenerateOptions, Options, address_of, has_addresses};
use crate::traffic::unix_millis;

/// # Errors
/// When there is no way to the target.
pub(super) fn run(
    options: &Options,
    generate: &GenerateOptions,
    stop: &Stop,
) -> anyhow::Result<Totals> {
    let target = options.target;
    let mut socket =
        Outlet::open(options, None).with_context(|| format!("can't send to {target}"))?;
    let has_addresses = has_addresses(target);
    let sources = (0..).map(|number| has_addresses.then(|| address_of(number)));
    let mut generator = Generator::new(generate, sources, unix_millis())?;
    let name = |number| match has_addresses {
        true => address_of(number).to_string(),
        false => format!("domain {}", number + 1),
    };
    let mut totals = Totals {
        by_exporter: (0..generate.exporters)
            .map(|number| Sent {
                name: name(number),
                ..Sent::default()
            })
            .collect(),
        counts_flows: true,
        transport: options.transport.clone(),
        ..Totals::default()
    };
    let started = Instant::now();
    let end = options.duration.map(|duration| started + duration);
    let goal = match (generate.count, options.duration) {
        (Some(count), _) => Goal::Units(count),
        (None, Some(duration)) => Goal::Time(duration),
        (None, None) => Goal::Endless,
    };
    let mut progress = Progress::new(goal, "flow records", options.quiet, started);
    let mut pace = Pace::new(generate.rate, started);
    let mut flows = 0;
    while !stop.is_asked() {
        let now = Instant::now();
        progress.show(flows, now);
        let due = pace.due(flows).unwrap_or(now);
        if end.is_some_and(|end| due.max(now) >= end) {
            // What was sent last has its time too.
            if let Some(end) = end {
                stop.wait(end.saturating_duration_since(now));
            }
            break;
        }
        if let Some(wait) = pace.wait(flows, now) {
            if stop.wait(wait.min(progress.patience())) {
                break;
            }
            continue;
        }
        let Some(turn) = generator.next(unix_millis())? else {
            break;
        };
        if let Err(error) = socket.send(turn.octets, turn.segment, turn.source) {
            totals.failure = Some(format!("{target} could not be sent to: {error}"));
            break;
        }
        if socket.has_refused() {
            progress.nobody_listens(target);
        }
        flows += turn.flows;
        totals.template_datagrams += u64::from(turn.is_template);
        if let Some(sent) = totals.by_exporter.get_mut(turn.exporter) {
            sent.datagrams += turn.datagrams;
            sent.octets += turn.octets.len() as u64;
            sent.flows += turn.flows;
        }
    }
    progress.end();
    totals.elapsed = started.elapsed();
    totals.missed = pace.missed();
    totals.refused = socket.refused();
    Ok(totals)
}
