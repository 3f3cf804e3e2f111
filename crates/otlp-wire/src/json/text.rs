//! Octets and numbers in, JSON tokens out (RFC 8259, and protobuf's JSON mapping).

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::controls::is_steering;
use crate::text::{put_decimal, put_hex};

/// A quoted string. Invalid UTF-8 becomes U+FFFD.
///
/// Beside what JSON demands, characters that steer a terminal or reorder a line are escaped ([`is_steering`]): a line
/// stays one line for every reader.
pub(super) fn push_string(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(b'"');
    let plain = octets
        .iter()
        .position(|&octet| !is_plain(octet))
        .unwrap_or(octets.len());
    let (plain, rest) = octets.split_at_checked(plain).unwrap_or((octets, &[]));
    out.extend_from_slice(plain);
    for chunk in rest.utf8_chunks() {
        push_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

/// Whether an octet stands for itself in a JSON string; others are looked at as characters.
fn is_plain(octet: u8) -> bool {
    matches!(octet, b' '..=b'~') && octet != b'"' && octet != b'\\'
}

fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for run in text.split_inclusive(needs_escape) {
        let mut plain = run.chars();
        match plain.next_back() {
            Some(last) if needs_escape(last) => {
                out.extend_from_slice(plain.as_str().as_bytes());
                push_escape(out, last);
            }
            _ => out.extend_from_slice(run.as_bytes()),
        }
    }
}

fn needs_escape(c: char) -> bool {
    c < ' ' || matches!(c, '"' | '\\') || is_steering(c)
}

fn push_escape(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        // All others that are escaped lie in the Basic Multilingual Plane: four digits.
        _ => push_display(out, format_args!("\\u{:04x}", u32::from(c))),
    }
}

/// A number as such: 32-bit integers and enums.
pub(super) fn push_number(out: &mut Vec<u8>, value: impl Into<i64>) {
    push_signed(out, value.into());
}

/// A 64-bit integer: protobuf's JSON form quotes it, as many readers hold numbers as doubles.
pub(super) fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.push(b'"');
    push_decimal(out, value);
    out.push(b'"');
}

/// A signed 64-bit integer, quoted as [`push_u64`].
pub(super) fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.push(b'"');
    push_signed(out, value);
    out.push(b'"');
}

fn push_signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    push_decimal(out, value.unsigned_abs());
}

fn push_decimal(out: &mut Vec<u8>, value: u64) {
    let mut room = [0; 20];
    let length = put_decimal(&mut room, value);
    out.extend_from_slice(room.get(..length).unwrap_or_default());
}

/// A double: the shortest digits that read back as the same, or one of protobuf's three names.
pub(super) fn push_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value.is_infinite() {
        let name: &[u8] = if value > 0.0 {
            b"\"Infinity\""
        } else {
            b"\"-Infinity\""
        };
        out.extend_from_slice(name);
    } else {
        // `Debug` takes an exponent for very large and very small values, `Display` hundreds of zeros.
        push_display(out, format_args!("{value:?}"));
    }
}

pub(super) fn push_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// A trace or span id: lower-case hexadecimal, where protobuf's JSON form would take base64 (OTLP
/// specification, "JSON Protobuf Encoding").
pub(super) fn push_hex(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(b'"');
    for chunk in octets.chunks(16) {
        let mut room = [0; 32];
        let length = put_hex(&mut room, chunk);
        out.extend_from_slice(room.get(..length).unwrap_or_default());
    }
    out.push(b'"');
}

/// Octets as padded standard base64.
pub(super) fn push_base64(out: &mut Vec<u8>, octets: &[u8]) {
    // 57 octets give 76 characters without padding: a chunk at a time needs no allocation.
    out.push(b'"');
    for chunk in octets.chunks(57) {
        let mut text = [0; 76];
        let length = STANDARD.encode_slice(chunk, &mut text).unwrap_or(0);
        out.extend_from_slice(text.get(..length).unwrap_or_default());
    }
    out.push(b'"');
}

fn push_display(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .unwrap_or_else(|_| unreachable!("writing to a Vec can't fail"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn string(octets: &[u8]) -> String {
        written(|out| push_string(out, octets))
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(string(b""), r#""""#);
        assert_eq!(string(b"plain ~"), r#""plain ~""#);
        assert_eq!(string(b"a\"b\\c\nd\re\tf"), r#""a\"b\\c\nd\re\tf""#);
        assert_eq!(
            string(b"\x00\x08\x0c\x1b\x1f\x7f"),
            r#""\u0000\u0008\u000c\u001b\u001f\u007f""#
        );
        assert_eq!(
            string("é🦀\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{2067}ü".as_bytes()),
            r#""é🦀\u0085\u009b\u2028\u2029\u202e\u2067ü""#
        );
    }

    #[test]
    fn every_character_reads_back() {
        let all: String = (0..=char::MAX as u32).filter_map(char::from_u32).collect();
        let json = string(all.as_bytes());
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), all);
        assert!(!json.contains(|c: char| c.is_control() || is_steering(c)));
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        for octets in [
            &b"\xff"[..],
            b"a\xc3",
            b"\xe2\x82z",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80\n",
        ] {
            let json = string(octets);
            assert_eq!(
                serde_json::from_str::<String>(&json).unwrap(),
                String::from_utf8_lossy(octets)
            );
        }
    }

    #[test]
    fn doubles_read_back() {
        for value in [
            0.0,
            -0.0,
            1.0,
            0.1,
            -1.5e300,
            5e-324,
            f64::MAX,
            f64::MIN_POSITIVE,
            1e16,
        ] {
            let json = written(|out| push_f64(out, value));
            assert!(serde_json::from_str::<f64>(&json).is_ok());
            // serde_json's own reading may be off by the last bit.
            let back: f64 = json.parse().unwrap();
            assert_eq!(back.to_bits(), value.to_bits(), "{json}");
        }
        assert_eq!(written(|out| push_f64(out, f64::NAN)), r#""NaN""#);
        assert_eq!(written(|out| push_f64(out, f64::INFINITY)), r#""Infinity""#);
        assert_eq!(
            written(|out| push_f64(out, f64::NEG_INFINITY)),
            r#""-Infinity""#
        );
    }

    #[test]
    fn integers_are_whole_at_their_limits() {
        assert_eq!(written(|out| push_number(out, i32::MIN)), "-2147483648");
        assert_eq!(written(|out| push_number(out, u32::MAX)), "4294967295");
        assert_eq!(
            written(|out| push_i64(out, i64::MIN)),
            r#""-9223372036854775808""#
        );
        assert_eq!(
            written(|out| push_u64(out, u64::MAX)),
            r#""18446744073709551615""#
        );
        assert_eq!(written(|out| push_u64(out, 0)), r#""0""#);
    }

    #[test]
    fn octets_are_hexadecimal_or_base64() {
        assert_eq!(
            written(|out| push_hex(out, &[0x00, 0x9a, 0xff])),
            r#""009aff""#
        );
        for length in 0..200_u8 {
            let octets: Vec<u8> = (0..length).collect();
            let json = written(|out| push_base64(out, &octets));
            assert_eq!(json, format!("\"{}\"", STANDARD.encode(&octets)));
        }
    }
}
