//! A record as a line of JSON, and a request as one of OTLP/JSON.

use std::io::{self, Write};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use netflow_translate::Name;
use otlp_wire::UnixNanos;
use otlp_wire::json::{self, JsonError};
use otlp_wire::messages::{AnyValue, KeyValue, any_value::Value};
use otlp_wire::text::hex;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::records::{Record, value};
use super::summary::FileSummary;

pub(super) const START: &str = key(Name::FlowStart);
pub(super) const END: &str = key(Name::FlowEnd);

/// Records are shown under the names of `NETFLOW_SEMCONV=netflow`.
pub(super) const fn key(name: Name) -> &'static str {
    match name.netflow() {
        Some(key) => key,
        None => "",
    }
}

/// Writes a record and a line feed. `files` are named if there are several.
pub(super) fn write_record(
    record: &Record<'_>,
    files: Option<&[FileSummary]>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let attributes = &record.span.attributes;
    let (start, end) = told_times(attributes);
    let (protocol, version) = protocol(attributes);
    let line = Line {
        file: files
            .zip(record.origin)
            .and_then(|(files, origin)| files.get(origin.file))
            .map(|file| file.name.as_str()),
        frame: record.origin.map(|origin| origin.frame),
        received: record.origin.and_then(|origin| origin.received).map(utc),
        exporter: record.has_source.then_some(record.source.ip()),
        port: record.has_source.then_some(record.source.port()),
        agent: record
            .resource
            .and_then(|resource| value(&resource.attributes, key(Name::ExporterAgent)))
            .map(Shown),
        protocol,
        version,
        domain: record.domain,
        start: start.map(utc),
        end: end.map(utc),
        start_unix_nano: start.map(|at| at.0),
        end_unix_nano: end.map(|at| at.0),
        attributes: Attributes(attributes),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// Start and end as they were exported.
pub(super) fn told_times(attributes: &[KeyValue]) -> (Option<UnixNanos>, Option<UnixNanos>) {
    let told = |key| value(attributes, key).and_then(nanos);
    (told(START), told(END))
}

/// Writes an encoded request as OTLP/JSON and a line feed. The outer error is of the output.
pub(super) fn write_request(
    request: &[u8],
    out: &mut dyn Write,
) -> io::Result<Result<(), JsonError>> {
    let mut line = Vec::with_capacity(request.len() * 4);
    if let Err(error) = json::write_request(request, &mut line) {
        return Ok(Err(error));
    }
    line.push(b'\n');
    out.write_all(&line).map(Ok)
}

/// What protocol a record came by, and its version.
pub(super) fn protocol(attributes: &[KeyValue]) -> (&'static str, Option<i64>) {
    match super::records::int(attributes, "netflow.version") {
        Some(10) => ("ipfix", Some(10)),
        Some(version) => ("netflow", Some(version)),
        None => ("sflow", super::records::int(attributes, "sflow.version")),
    }
}

/// In the order of its members. What isn't known is left out.
#[derive(serde::Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frame: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exporter: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Shown<'a>>,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_unix_nano: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_unix_nano: Option<u64>,
    attributes: Attributes<'a>,
}

/// All but those that stand before them in the line.
struct Attributes<'a>(&'a [KeyValue]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for attribute in self.0 {
            if !matches!(
                Name::of(&attribute.key),
                Some(Name::FlowStart | Name::FlowEnd)
            ) {
                map.serialize_entry(&attribute.key, &ShownAny(attribute.value.as_ref()))?;
            }
        }
        map.end()
    }
}

/// A value as JSON has it; octets in hexadecimal.
struct Shown<'a>(&'a Value);

pub(super) struct ShownAny<'a>(pub(super) Option<&'a AnyValue>);

impl Serialize for ShownAny<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.and_then(|any| any.value.as_ref()) {
            Some(value) => Shown(value).serialize(serializer),
            None => serializer.serialize_none(),
        }
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::StringValue(text) => serializer.serialize_str(text),
            Value::BoolValue(flag) => serializer.serialize_bool(*flag),
            Value::IntValue(number) => serializer.serialize_i64(*number),
            // JSON has no others; these are the words of protobuf's JSON form.
            Value::DoubleValue(number) if number.is_nan() => serializer.serialize_str("NaN"),
            Value::DoubleValue(number) if number.is_infinite() => {
                serializer.serialize_str(if *number > 0.0 {
                    "Infinity"
                } else {
                    "-Infinity"
                })
            }
            Value::DoubleValue(number) => serializer.serialize_f64(*number),
            Value::BytesValue(octets) => serializer.serialize_str(&hex(octets)),
            Value::ArrayValue(array) => {
                let mut list = serializer.serialize_seq(Some(array.values.len()))?;
                for value in &array.values {
                    list.serialize_element(&ShownAny(Some(value)))?;
                }
                list.end()
            }
            Value::KvlistValue(members) => {
                let mut map = serializer.serialize_map(Some(members.values.len()))?;
                for member in &members.values {
                    map.serialize_entry(&member.key, &ShownAny(member.value.as_ref()))?;
                }
                map.end()
            }
        }
    }
}

/// RFC 3339 with as many digits as it takes.
pub(super) fn utc(at: UnixNanos) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(at.0);
    match at.0 % 1_000_000_000 {
        0 => humantime::format_rfc3339_seconds(time).to_string(),
        nanos if nanos % 1_000_000 == 0 => humantime::format_rfc3339_millis(time).to_string(),
        nanos if nanos % 1_000 == 0 => humantime::format_rfc3339_micros(time).to_string(),
        _ => humantime::format_rfc3339_nanos(time).to_string(),
    }
}

/// A number of nanoseconds; those past 2^63 are text in OTLP.
pub(super) fn nanos(value: &Value) -> Option<UnixNanos> {
    match value {
        Value::IntValue(nanos) => u64::try_from(*nanos).ok().map(UnixNanos),
        Value::StringValue(text) => text.parse().ok().map(UnixNanos),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use otlp_wire::messages::{ArrayValue, KeyValueList};

    use super::*;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    #[test]
    fn values_are_plain_json() {
        let member = KeyValue {
            key: "inner".to_owned(),
            value: Some(any(Value::BytesValue(vec![0, 0xab]))),
        };
        let list = Value::ArrayValue(ArrayValue {
            values: vec![
                any(Value::IntValue(i64::MAX)),
                any(Value::BoolValue(true)),
                any(Value::DoubleValue(0.5)),
                any(Value::DoubleValue(f64::NEG_INFINITY)),
                any(Value::StringValue("\"\n".to_owned())),
                AnyValue::default(),
                any(Value::KvlistValue(KeyValueList {
                    values: vec![member],
                })),
            ],
        });
        assert_eq!(
            serde_json::to_string(&Shown(&list)).unwrap(),
            r#"[9223372036854775807,true,0.5,"-Infinity","\"\n",null,{"inner":"00ab"}]"#
        );
    }

    #[test]
    fn times_have_as_many_digits_as_they_need() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_500_000_000, "1970-01-01T00:00:01.500Z"),
            (1_000, "1970-01-01T00:00:00.000001Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(utc(UnixNanos(nanos)), text);
        }
    }
}
