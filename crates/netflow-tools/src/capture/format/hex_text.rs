//! Text of hexadecimal octets, a datagram a line, as they are sent in bug reports.
//!
//! Blanks, colons and a leading `0x` are let pass; `#` begins a comment. The frame's number is the line's.

use std::io::Read;

use super::{Layer, Packet};
use crate::capture::error::CaptureError;
use crate::capture::input::Input;

/// Digits and blanks of the longest datagram, and room for a comment.
const MAX_LINE: usize = 4 * 65_536;

/// By the first octets: nothing but what such a text may hold.
pub(super) fn is_text(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"0x").unwrap_or(head);
    let end = text.iter().position(|octet| *octet == b'#');
    text.iter()
        .take(end.unwrap_or(text.len()))
        .all(|octet| octet.is_ascii_hexdigit() || is_between(*octet))
        && text.iter().all(|octet| !is_control(*octet))
}

/// By the first octets: text of any kind, in UTF-8 or with the mark of UTF-16.
pub(super) fn is_other_text(head: &[u8]) -> bool {
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return true;
    }
    let is_utf8 = match str::from_utf8(head) {
        Ok(_) => true,
        // A character that continues beyond the examined part.
        Err(error) => error.error_len().is_none(),
    };
    is_utf8
        && head
            .iter()
            .all(|octet| !is_control(*octet) && *octet != 0x7f)
}

/// Too much else for a mistake among hexadecimal octets.
fn is_prose(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let is_other = |octet: &&u8| !octet.is_ascii_hexdigit() && !is_between(**octet);
    4 * line.iter().filter(is_other).count() >= line.len()
}

fn is_between(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n' | b':')
}

fn is_control(octet: u8) -> bool {
    octet < b' ' && !is_between(octet)
}

#[derive(Debug, Default)]
pub(in crate::capture) struct HexText {
    line: Vec<u8>,
    number: u64,
    /// Some line was a datagram.
    has_any: bool,
}

impl HexText {
    pub(super) fn next<R: Read>(
        &mut self,
        input: &mut Input<R>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Packet>, CaptureError> {
        loop {
            self.line.clear();
            if !input.line(MAX_LINE, &mut self.line)? {
                return Ok(None);
            }
            self.number += 1;
            if self.line.len() >= MAX_LINE {
                return Err(CaptureError::damaged(format!(
                    "line {} is longer than a datagram",
                    self.number
                )));
            }
            if !unhex(&self.line, buffer) {
                if !self.has_any && is_prose(&self.line) {
                    return Err(CaptureError::text(&self.line));
                }
                return Err(CaptureError::damaged(format!(
                    "line {} is not hexadecimal text",
                    self.number
                )));
            }
            if !buffer.is_empty() {
                self.has_any = true;
                return Ok(Some(Packet {
                    layer: Layer::Message,
                    number: Some(self.number),
                    at: None,
                    original_octets: buffer.len(),
                }));
            }
        }
    }
}

/// Appends the octets of a line; `false` if it is something else.
fn unhex(line: &[u8], into: &mut Vec<u8>) -> bool {
    let line = line.trim_ascii();
    let line = line.strip_prefix(b"0x").unwrap_or(line);
    let mut high: Option<u8> = None;
    for octet in line.iter().take_while(|octet| **octet != b'#') {
        match (char::from(*octet).to_digit(16), high) {
            (Some(digit), None) => high = Some(digit as u8),
            (Some(digit), Some(first)) => {
                into.push(first << 4 | digit as u8);
                high = None;
            }
            (None, None) if is_between(*octet) => {}
            (None, _) => return false,
        }
    }
    high.is_none()
}
