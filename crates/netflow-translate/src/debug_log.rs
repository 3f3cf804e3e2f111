//! `LOG_LEVEL=DEBUG`: what was understood of datagrams and of flows, a bounded number of lines a second.
//! Flows are shown as their finished spans say them, so that the log can't differ from them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use otlp_wire::{ResourceFront, json};
use serde_json::Value;
use tracing::{Level, debug};

use crate::counters::RateLimit;
use crate::exporter::Arrival;
use crate::flow::work::Read;

const SECOND: Duration = Duration::from_secs(1);
/// Of each worker.
const DATAGRAMS_A_SECOND: u32 = 10;
/// As many as a full v5 datagram has.
const FLOWS_A_SECOND: u32 = 30;

/// Whether lines at DEBUG are written at all. To be asked before anything is put together for them.
#[inline]
pub(crate) fn is_on() -> bool {
    tracing::enabled!(Level::DEBUG)
}

/// The limits of one worker.
#[derive(Debug)]
pub(crate) struct DebugLog {
    understood: RateLimit,
    rejected: RateLimit,
    flows: RateLimit,
}

impl Default for DebugLog {
    fn default() -> Self {
        Self {
            understood: RateLimit::new(DATAGRAMS_A_SECOND, SECOND),
            rejected: RateLimit::new(DATAGRAMS_A_SECOND, SECOND),
            flows: RateLimit::new(FLOWS_A_SECOND, SECOND),
        }
    }
}

impl DebugLog {
    /// A datagram was read, its flows before.
    #[cold]
    pub(crate) fn understood(
        &mut self,
        exporter: &str,
        agent: Option<IpAddr>,
        read: &Read,
        now: Instant,
    ) {
        let Some(suppressed) = self.understood.admit(now).map(if_any) else {
            return;
        };
        let Read {
            arrival,
            said,
            outcome,
            ..
        } = read;
        debug!(
            exporter,
            agent = agent.map(tracing::field::display),
            port = arrival.session.port,
            transport = arrival.session.transport.as_str(),
            protocol = said.protocol.as_str(),
            bytes = arrival.octets,
            domain = said.domain,
            sequence = said.sequence,
            flows = outcome.flows,
            options = outcome.options,
            templates = outcome.templates,
            waiting = outcome.waiting,
            counters = outcome.counters,
            others = outcome.others,
            lost = read.lost,
            problem = outcome.problem.map(tracing::field::display),
            suppressed,
            "datagram understood"
        );
    }

    /// A datagram could not be used.
    #[cold]
    pub(crate) fn rejected(
        &mut self,
        exporter: IpAddr,
        arrival: &Arrival,
        error: &impl std::fmt::Display,
        now: Instant,
    ) {
        if let Some(suppressed) = self.rejected.admit(now) {
            let Arrival {
                session, octets, ..
            } = arrival;
            let (port, transport) = (session.port, session.transport.as_str());
            let suppressed = if_any(suppressed);
            debug!(%exporter, port, transport, bytes = octets, %error, suppressed, "datagram rejected");
        }
    }

    /// So many spans of flows were written, as `spans` has them one after another.
    #[cold]
    pub(crate) fn flows(
        &mut self,
        front: &ResourceFront,
        spans: &[u8],
        count: usize,
        now: Instant,
    ) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let (shown, mut suppressed) = self.flows.admit_of(count, now);
        if shown == 0 {
            return;
        }
        let mut request = Vec::with_capacity(front.octets().len() + spans.len());
        front.push_before(&mut request, spans.len());
        request.extend_from_slice(spans);
        let mut lines = Vec::new();
        if let Err(error) = json::write_span_lines(&request, &mut lines) {
            debug!(%error, "flows can't be shown");
            return;
        }
        let lines = lines.split(|octet| *octet == b'\n');
        for line in lines.take(shown as usize) {
            let span: Value = serde_json::from_slice(line).unwrap_or_default();
            debug!(
                exporter = exporter(&span),
                start = %time(&span["startTimeUnixNano"]),
                end = %time(&span["endTimeUnixNano"]),
                attributes = %attributes(&span["attributes"]),
                suppressed = if_any(std::mem::take(&mut suppressed)),
                "flow understood"
            );
        }
    }
}

/// Lines held back are worth a field only when there are any.
fn if_any(suppressed: u64) -> Option<u64> {
    (suppressed > 0).then_some(suppressed)
}

fn exporter(span: &Value) -> Option<&str> {
    let attributes = span["resource"]["attributes"].as_array()?;
    let address = attributes
        .iter()
        .find(|attribute| attribute["key"] == "netflow.exporter.address")?;
    address["value"]["stringValue"].as_str()
}

/// A time of OTLP/JSON as RFC 3339.
fn time(nanos: &Value) -> impl std::fmt::Display {
    let nanos = nanos.as_str().and_then(|text| text.parse().ok());
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(nanos.unwrap_or(0)));
    humantime::format_rfc3339_nanos(time.unwrap_or(SystemTime::UNIX_EPOCH))
}

/// `source.address=10.1.2.3 source.port=2000 …`, in the order of the span.
fn attributes(attributes: &Value) -> String {
    let mut text = String::new();
    for attribute in attributes.as_array().into_iter().flatten() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(attribute["key"].as_str().unwrap_or_default());
        text.push('=');
        push_value(&mut text, &attribute["value"]);
    }
    text
}

/// A value of OTLP/JSON. Text that could be taken for something else is quoted.
fn push_value(text: &mut String, value: &Value) {
    let plain = |value: &str| {
        let is_plain = |octet: u8| octet.is_ascii_graphic() && !b"\"=[,]".contains(&octet);
        !value.is_empty() && value.bytes().all(is_plain)
    };
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else {
        text.push_str("none");
        return;
    };
    match (kind.as_str(), value) {
        ("arrayValue", list) => {
            text.push('[');
            let values = list["values"].as_array().into_iter().flatten();
            for (at, value) in values.enumerate() {
                if at > 0 {
                    text.push(',');
                }
                push_value(text, value);
            }
            text.push(']');
        }
        ("stringValue", Value::String(value)) if !plain(value) => {
            let _infallible = write!(text, "{value:?}");
        }
        (_, Value::String(value)) => text.push_str(value),
        (_, value) => {
            let _infallible = write!(text, "{value}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn attributes_read_as_keys_and_values() {
        let text = |value| json!({"stringValue": value});
        let list = json!({"arrayValue": {"values": [text("a b"), {"doubleValue": 0.5}]}});
        let given = json!([
            {"key": "source.port", "value": {"intValue": "443"}},
            {"key": "source.address", "value": text("2001:db8::1")},
            {"key": "netflow.time.suspect", "value": {"boolValue": true}},
            {"key": "netflow.user", "value": text("O\"Neill = x\n")},
            {"key": "empty", "value": text("")},
            {"key": "list", "value": list},
            {"key": "nothing", "value": {}},
        ]);
        assert_eq!(
            super::attributes(&given),
            "source.port=443 source.address=2001:db8::1 netflow.time.suspect=true \
             netflow.user=\"O\\\"Neill = x\\n\" empty=\"\" list=[\"a b\",0.5] nothing=none"
        );
    }
}
