//! The comparer of records and spans finds every difference that matters, and no other.

use serde_json::{Value, json};

use crate::flows::compare::compare;
use crate::flows::expected::{CORE, Expected, Record};
use crate::flows::spans::FlowSpan;

fn expected(records: Value) -> Expected {
    serde_json::from_value(json!({ "records": records })).expect("a list of records")
}

fn record() -> Value {
    json!({
        "version": 9, "src_addr": "192.0.2.1", "dst_addr": "192.0.2.2", "src_port": 40000,
        "dst_port": 53, "protocol": 17, "bytes": 84, "packets": 1, "next_hop": "0.0.0.0",
        "input_if": 1, "output_if": 2, "src_as": 0, "dst_as": 0, "tcp_flags": 0,
        "start_time_unix_nano": 1_700_000_000_000_000_000_u64, "datagram": 1
    })
}

fn span(record: &Value) -> FlowSpan {
    let mut fields: Record = serde_json::from_value(record.clone()).expect("a record is an object");
    fields.remove("datagram");
    FlowSpan {
        fields,
        scaled: false,
    }
}

fn with(record: &Value, field: &str, value: impl Into<Value>) -> Value {
    let mut record = record.clone();
    record[field] = value.into();
    record
}

#[test]
fn equal_records_meet_in_any_order() {
    let (one, other) = (record(), with(&record(), "src_port", 40001));
    let spans = [span(&other), span(&one)];
    compare(&expected(json!([one, other])), &spans).unwrap();
}

#[test]
fn any_changed_field_is_a_difference() {
    let whole = record();
    for (field, value) in whole.as_object().unwrap() {
        if field == "datagram" {
            continue;
        }
        let changed = match value.as_u64() {
            Some(number) => Value::from(number + 2_000),
            None => Value::from("198.51.100.9"),
        };
        let spans = [span(&with(&whole, field, changed))];
        let report = compare(&expected(json!([whole])), &spans).unwrap_err();
        assert!(report.contains(field.as_str()), "{field}: {report}");
    }
}

#[test]
fn only_core_fields_must_be_there() {
    let whole = record();
    for field in whole
        .as_object()
        .unwrap()
        .keys()
        .filter(|field| *field != "datagram")
    {
        let mut lacking = span(&whole);
        lacking.fields.remove(field);
        let met = compare(&expected(json!([whole])), &[lacking]).is_ok();
        assert_eq!(met, !CORE.contains(&field.as_str()), "{field}");
    }
}

#[test]
fn missing_and_additional_spans_are_reported() {
    let whole = record();
    assert!(
        compare(&expected(json!([whole])), &[])
            .unwrap_err()
            .contains("no span left")
    );
    let twice = [span(&whole), span(&whole)];
    assert!(
        compare(&expected(json!([whole])), &twice)
            .unwrap_err()
            .contains("too many")
    );
    compare(&expected(json!([whole, whole])), &twice).unwrap();
    assert!(compare(&expected(json!([whole, whole])), &twice[..1]).is_err());
}

#[test]
fn optional_records_may_be_met_or_not() {
    let whole = record();
    let expected: Expected =
        serde_json::from_value(json!({ "records": [], "optional_records": [whole] })).unwrap();
    compare(&expected, &[]).unwrap();
    compare(&expected, &[span(&whole)]).unwrap();
    assert!(compare(&expected, &[span(&whole), span(&whole)]).is_err());
}

#[test]
fn hostile_input_bounds_the_output() {
    let hostile: Expected = serde_json::from_value(
        json!({ "strict": false, "records": [], "totals": { "bytes": 1200 } }),
    )
    .unwrap();
    let span = span(&record());
    compare(&hostile, &vec![span.clone(); 300]).unwrap();
    assert!(compare(&hostile, &vec![span; 301]).is_err());
}

#[test]
fn alternatives_are_all_acceptable_but_a_zero_address_is_none() {
    let mut dual = with(&record(), "src_addr", "::");
    dual["alts"] = json!({ "src_addr": ["::", "192.0.2.1"], "protocol": [17, 4] });
    let expected = expected(json!([dual]));
    compare(&expected, &[span(&with(&record(), "protocol", 4))]).unwrap();
    assert!(compare(&expected, &[span(&with(&record(), "src_addr", "::"))]).is_err());
}

#[test]
fn other_counters_stand_in_where_the_usual_ones_are_absent() {
    let mut total = record();
    total.as_object_mut().unwrap().remove("bytes");
    total["bytes_total"] = 84.into();
    let expected = expected(json!([total]));
    compare(&expected, &[span(&record())]).unwrap();
    let mut none = span(&record());
    none.fields.remove("bytes");
    compare(&expected, &[none]).unwrap();
    assert!(compare(&expected, &[span(&with(&record(), "bytes", 83))]).is_err());
}

#[test]
fn times_agree_within_the_rounding_of_fractions() {
    let expected = expected(json!([record()]));
    let at = |nanos: u64| with(&record(), "start_time_unix_nano", nanos);
    compare(&expected, &[span(&at(1_700_000_000_000_001_999))]).unwrap();
    assert!(compare(&expected, &[span(&at(1_700_000_000_000_002_000))]).is_err());
}

#[test]
fn scaled_counters_are_multiples() {
    let expected = expected(json!([record()]));
    let mut scaled = span(&with(&record(), "bytes", 8_400));
    assert!(compare(&expected, std::slice::from_ref(&scaled)).is_err());
    scaled.scaled = true;
    compare(&expected, &[scaled]).unwrap();
}
