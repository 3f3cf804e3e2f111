//! Datagrams as devices send them, and what is right then: each line of `testdata/habits.jsonl` is a case.
//!
//! `datagrams` are sent from 192.0.2.1: `octets` in hexadecimal, `after` seconds later than 2023-11-14 22:13:20 UTC (0 without
//! it), from `port` (2055). `flows` are the flow spans in order: `attributes` must be there, `absent` must not; `start` and
//! `end` are nanoseconds since 1970; `suspect` is `netflow.time.suspect`. `lost` is the sum of `netflow.lost`.

use std::time::Duration;

use netflow2traces::config::AttributeLevel;
use serde_json::Value;

use super::rig::{NANOS, Span, rig_with, spans};

const CASES: &str = include_str!("../../../../testdata/habits.jsonl");

#[test]
fn every_case_is_decoded_as_its_line_says() {
    let mut failures = Vec::new();
    for line in CASES.lines() {
        let case: Value = serde_json::from_str(line).expect("JSON");
        if let Err(why) = judge(&case) {
            failures.push(format!("{}: {why}", case["case"]));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn judge(case: &Value) -> Result<(), String> {
    let mut rig = rig_with(|config| {
        config.attributes = match case["level"].as_str() {
            Some("standard") => AttributeLevel::Standard,
            _ => AttributeLevel::All,
        };
    });
    let mut all = Vec::new();
    let mut passed = 0;
    for datagram in case["datagrams"].as_array().expect("datagrams") {
        let after = datagram["after"].as_u64().unwrap_or(0);
        rig.pass(Duration::from_secs(after.saturating_sub(passed)));
        passed = after;
        rig.received_at = NANOS + after * 1_000_000_000;
        let octets = octets(datagram["octets"].as_str().expect("octets"));
        let port = datagram["port"].as_u64().unwrap_or(2055);
        rig.take(&format!("192.0.2.1:{port}"), &octets);
        all.extend(rig.flush().iter().flat_map(spans));
    }
    let lost = all
        .iter()
        .filter_map(|span| span.get("netflow.lost").as_u64());
    let lost: u64 = lost.sum();
    if let Some(expected) = case["lost"].as_u64()
        && lost != expected
    {
        return Err(format!("{lost} lost, not {expected}"));
    }
    all.retain(|span| span.name == "netflow.flow");
    let flows = case["flows"].as_array().expect("flows");
    if all.len() != flows.len() {
        return Err(format!("{} flows, not {}", all.len(), flows.len()));
    }
    let mut pairs = all.iter().zip(flows);
    pairs.try_for_each(|(span, expected)| compare(span, expected))
}

fn compare(span: &Span, expected: &Value) -> Result<(), String> {
    for (key, value) in expected["attributes"].as_object().into_iter().flatten() {
        if span.get(key) != value {
            return Err(format!("{key} is {}, not {value}", span.get(key)));
        }
    }
    for key in expected["absent"].as_array().into_iter().flatten() {
        let key = key.as_str().expect("a key");
        if !span.get(key).is_null() {
            return Err(format!("{key} is there: {}", span.get(key)));
        }
    }
    for (key, found) in [("start", span.start), ("end", span.end)] {
        if let Some(time) = expected[key].as_u64()
            && time != found
        {
            return Err(format!("it has the {key} {found}, not {time}"));
        }
    }
    let is_suspect = span.get("netflow.time.suspect") == true;
    match expected["suspect"].as_bool() {
        Some(suspect) if suspect != is_suspect => Err(format!("suspect is {is_suspect}")),
        _ => Ok(()),
    }
}

fn octets(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let octet = |pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16);
    pairs
        .map(|pair| octet(pair).expect("hexadecimal"))
        .collect()
}
