//! What the demo says when the first traces are there: lines that can be pasted into a shell.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use otlp_wire::messages::any_value::Value;
use otlp_wire::text::hex;
use tokio::time::Instant;

use super::store::{StoredTrace, TraceStore, attribute};

const FLOW_SPAN: &str = "netflow.flow";
const EXPORTER: &str = "netflow.exporter.address";
const PORT: &str = "destination.port";
const VERSION: &str = "netflow.version";

/// Ports that a reader knows, first choice first.
const WELL_KNOWN_PORTS: [i64; 3] = [443, 53, 22];

/// Waits until this many exporters have a trace with flows in the store, at most for `patience`, and
/// returns the newest such trace of each; fewer, or none, if patience ran out.
pub async fn first_traces(
    store: &TraceStore,
    exporters: usize,
    patience: Duration,
) -> Vec<Arc<StoredTrace>> {
    let deadline = Instant::now() + patience;
    let mut changes = store.subscribe();
    loop {
        changes.mark_unchanged();
        let traces = newest_by_exporter(store);
        // The sender lives as long as `store`, so that an error here is the deadline's.
        if traces.len() >= exporters
            || tokio::time::timeout_at(deadline, changes.changed())
                .await
                .is_err()
        {
            return traces;
        }
    }
}

/// The text for stdout: how to fetch a trace and to search, with ids and values of these traces. `api` is an address that
/// a client on this machine can use.
#[must_use]
pub fn announcement(api: SocketAddr, traces: &[Arc<StoredTrace>]) -> String {
    let url = format!("http://{api}");
    let mut text = String::from("Traces are there. From another terminal:\n\n");
    let mut line = |what: &str, command: String| {
        let _infallible = writeln!(text, "  # {what}\n  {command}\n");
    };
    if let Some(trace) = traces.first() {
        line(
            "one trace",
            format!("curl -s {url}/api/traces/{}", hex(&trace.id)),
        );
    }
    let search = format!("curl -sG {url}/api/search --data-urlencode");
    match traces.iter().find_map(example) {
        Some((port, exporter)) => {
            line(
                "traces with flows to a port",
                format!("{search} 'tags={PORT}={port}'"),
            );
            let query =
                format!("{{ span.{PORT} = {port} && resource.{EXPORTER} = \"{exporter}\" }}");
            line(
                "the same in TraceQL, of one exporter",
                format!("{search} 'q={query}'"),
            );
        }
        None => line("the last traces", format!("{search} 'limit=5'")),
    }
    if !traces.is_empty() {
        text.push_str("The newest trace of each exporter:\n\n");
        let exporters: Vec<String> = traces.iter().map(|trace| exporter(trace)).collect();
        let width = exporters.iter().map(String::len).max().unwrap_or(0);
        for (trace, exporter) in traces.iter().zip(&exporters) {
            let id = hex(&trace.id);
            let flows = flows(trace);
            let version = version(trace);
            let _infallible = writeln!(
                text,
                "  {id}  {exporter:width$}  {version:10}  {flows:3} flows"
            );
        }
        text.push('\n');
    }
    let _infallible = writeln!(
        text,
        "Grafana reads them too: a Tempo data source with URL {url}"
    );
    text
}

/// In the order of their addresses.
fn newest_by_exporter(store: &TraceStore) -> Vec<Arc<StoredTrace>> {
    let mut found: Vec<(String, Arc<StoredTrace>)> = Vec::new();
    for trace in store.newest_first() {
        let exporter = exporter(&trace);
        let known = found.iter().any(|(known, _)| *known == exporter);
        if !known && trace.root().is_some() && flows(&trace) > 0 {
            found.push((exporter, trace));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.into_iter().map(|(_, trace)| trace).collect()
}

fn exporter(trace: &StoredTrace) -> String {
    let first = trace.batches.first();
    match first.and_then(|batch| attribute(&batch.origin.resource.attributes, EXPORTER)) {
        Some(Value::StringValue(address)) => address.clone(),
        _ => "unknown".to_owned(),
    }
}

fn flows(trace: &StoredTrace) -> usize {
    trace
        .spans()
        .filter(|(_, span)| span.name == FLOW_SPAN)
        .count()
}

fn version(trace: &StoredTrace) -> String {
    let mut versions = trace
        .spans()
        .filter_map(|(_, span)| attribute(&span.attributes, VERSION));
    match versions.next() {
        Some(Value::IntValue(10)) => "IPFIX".to_owned(),
        Some(Value::IntValue(version)) => format!("NetFlow v{version}"),
        _ => String::new(),
    }
}

/// A destination port of a flow and its exporter.
fn example(trace: &Arc<StoredTrace>) -> Option<(i64, String)> {
    let ports: Vec<i64> = trace
        .spans()
        .filter_map(|(_, span)| match attribute(&span.attributes, PORT) {
            Some(Value::IntValue(port)) => Some(*port),
            _ => None,
        })
        .collect();
    let known = WELL_KNOWN_PORTS.iter().find(|port| ports.contains(port));
    let port = known.or_else(|| ports.iter().min())?;
    Some((*port, exporter(trace)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use otlp_wire::messages::{AnyValue, KeyValue, Resource, ResourceSpans, ScopeSpans, Span};

    use super::super::store::StoreLimits;
    use super::*;

    fn key_value(key: &str, value: Value) -> KeyValue {
        let value = Some(AnyValue { value: Some(value) });
        KeyValue {
            key: key.to_owned(),
            value,
        }
    }

    fn request(trace: u8, exporter: &str, version: i64, ports: &[i64]) -> Vec<ResourceSpans> {
        let root = Span {
            name: "netflow.export".to_owned(),
            ..Span::default()
        };
        let flows = ports.iter().map(|port| Span {
            name: FLOW_SPAN.to_owned(),
            parent_span_id: vec![1; 8],
            attributes: vec![
                key_value(VERSION, Value::IntValue(version)),
                key_value(PORT, Value::IntValue(*port)),
            ],
            ..Span::default()
        });
        let spans = std::iter::once(root).chain(flows).map(|span| Span {
            trace_id: vec![trace; 16],
            span_id: vec![1; 8],
            ..span
        });
        let exporter = key_value(EXPORTER, Value::StringValue(exporter.to_owned()));
        vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![exporter],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans: spans.collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }]
    }

    #[tokio::test]
    async fn lines_can_be_pasted() {
        let store = TraceStore::new(StoreLimits::default());
        store.insert(request(1, "127.10.0.3", 10, &[51_000, 22, 443]));
        store.insert(request(2, "127.10.0.1", 5, &[51_000, 53]));
        store.insert(request(3, "127.10.0.1", 5, &[]));
        let traces = first_traces(&store, 2, Duration::from_secs(10)).await;
        let api = SocketAddr::from((Ipv4Addr::LOCALHOST, 3200));
        let expected = r#"Traces are there. From another terminal:

  # one trace
  curl -s http://127.0.0.1:3200/api/traces/02020202020202020202020202020202

  # traces with flows to a port
  curl -sG http://127.0.0.1:3200/api/search --data-urlencode 'tags=destination.port=53'

  # the same in TraceQL, of one exporter
  curl -sG http://127.0.0.1:3200/api/search --data-urlencode 'q={ span.destination.port = 53 && resource.netflow.exporter.address = "127.10.0.1" }'

The newest trace of each exporter:

  02020202020202020202020202020202  127.10.0.1  NetFlow v5    2 flows
  01010101010101010101010101010101  127.10.0.3  IPFIX         3 flows

Grafana reads them too: a Tempo data source with URL http://127.0.0.1:3200
"#;
        assert_eq!(announcement(api, &traces), expected);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_wanted_exporters_or_with_patience() {
        let store = TraceStore::new(StoreLimits::default());
        assert!(first_traces(&store, 1, Duration::ZERO).await.is_empty());
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { first_traces(&store, 2, Duration::from_secs(30)).await.len() }
        });
        store.insert(request(1, "10.0.0.1", 5, &[53]));
        store.insert(request(2, "10.0.0.2", 9, &[53]));
        assert_eq!(waiting.await.unwrap(), 2);
    }

    #[test]
    fn nothing_special_is_said_without_flows() {
        let text = announcement(SocketAddr::from((Ipv4Addr::LOCALHOST, 80)), &[]);
        assert!(
            text.contains("'limit=5'") && !text.contains("newest trace"),
            "{text}"
        );
    }
}
