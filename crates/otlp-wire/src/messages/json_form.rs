//! What OTLP/JSON writes otherwise than serde: ids are hexadecimal, 64-bit integers text (as text or as numbers they
//! are read), octets base64 (OTLP specification, "JSON Protobuf Encoding").

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::value::{AnyValue, ArrayValue, KeyValueList, any_value::Value};
use crate::text::hex;

pub(super) fn hex_of_id<S: Serializer>(id: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(id))
}

pub(super) fn id_from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    from_hex(&text)
        .ok_or_else(|| de::Error::custom("an id is an even number of hexadecimal digits"))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let octets = pairs
        .iter()
        .map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8));
    rest.is_empty().then(|| octets.collect()).flatten()
}

pub(super) fn text_of_u64<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

pub(super) fn text_of_i64<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

pub(super) fn texts_of_u64s<S: Serializer>(
    numbers: &[u64],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(numbers.iter().map(u64::to_string))
}

pub(super) fn u64_from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(Integer).and_then(|number| {
        u64::try_from(number)
            .map_err(|_| de::Error::custom("a number from 0 to 2^64 - 1 is expected"))
    })
}

/// A 64-bit integer, as text or as a number.
struct Integer;

impl Visitor<'_> for Integer {
    type Value = i128;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an integer, as text or as a number")
    }

    fn visit_u64<E>(self, number: u64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<i128, E> {
        text.parse().map_err(E::custom)
    }
}

/// An [`AnyValue`] as JSON has it: at most one member counts.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct AnyValueForm {
    string_value: Option<String>,
    bool_value: Option<bool>,
    int_value: Option<Int64>,
    double_value: Option<Double>,
    array_value: Option<ArrayValue>,
    kvlist_value: Option<KeyValueList>,
    bytes_value: Option<Octets>,
}

impl From<AnyValueForm> for AnyValue {
    fn from(form: AnyValueForm) -> Self {
        let text = form.string_value.map(Value::StringValue);
        let value = text
            .or(form.bool_value.map(Value::BoolValue))
            .or(form.int_value.map(|number| Value::IntValue(number.0)))
            .or(form.double_value.map(|number| Value::DoubleValue(number.0)))
            .or(form.array_value.map(Value::ArrayValue))
            .or(form.kvlist_value.map(Value::KvlistValue))
            .or(form.bytes_value.map(|octets| Value::BytesValue(octets.0)));
        Self { value }
    }
}

struct Int64(i64);

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(Integer)?;
        let number = i64::try_from(number);
        number
            .map(Self)
            .map_err(|_| de::Error::custom("a number of 64 bits is expected"))
    }
}

/// JSON has no number for NaN and the infinities: they are words.
struct Double(f64);

impl Serialize for Double {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number_or_word(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = f64;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number, or one as text")
            }

            fn visit_f64<E>(self, number: f64) -> Result<f64, E> {
                Ok(number)
            }

            fn visit_u64<E>(self, number: u64) -> Result<f64, E> {
                Ok(number as f64)
            }

            fn visit_i64<E>(self, number: i64) -> Result<f64, E> {
                Ok(number as f64)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Number).map(Self)
    }
}

struct Octets(Vec<u8>);

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map(Self).map_err(de::Error::custom)
    }
}

impl Serialize for AnyValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(value) = &self.value {
            match value {
                Value::StringValue(text) => map.serialize_entry("stringValue", text),
                Value::BoolValue(flag) => map.serialize_entry("boolValue", flag),
                Value::IntValue(number) => map.serialize_entry("intValue", &number.to_string()),
                Value::DoubleValue(number) => map.serialize_entry("doubleValue", &Double(*number)),
                Value::ArrayValue(list) => map.serialize_entry("arrayValue", list),
                Value::KvlistValue(list) => map.serialize_entry("kvlistValue", list),
                Value::BytesValue(octets) => {
                    map.serialize_entry("bytesValue", &BASE64.encode(octets))
                }
            }?;
        }
        map.end()
    }
}

pub(super) fn number_or_word<S: Serializer>(
    number: &f64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match *number {
        number if number.is_finite() => serializer.serialize_f64(number),
        number if number.is_nan() => serializer.serialize_str("NaN"),
        number if number > 0.0 => serializer.serialize_str("Infinity"),
        _ => serializer.serialize_str("-Infinity"),
    }
}
