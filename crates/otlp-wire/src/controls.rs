//! Characters in texts from the network that steer a terminal or show a line in another order than it has, beside the
//! ASCII control characters below U+0020, which JSON escapes anyway.

use std::io::{self, Write};

/// DEL, the C1 control characters (U+0080 to U+009F), line and paragraph separators, and the controls of the
/// bidirectional algorithm (Unicode Standard Annex #9, section 2).
#[must_use]
pub const fn is_steering(c: char) -> bool {
    matches!(
        c,
        '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{206f}'
    )
}

/// Appends UTF-8 text with each such character as `\uXXXX`, which inside a JSON string means the same. Octets that are no
/// UTF-8 stay.
pub fn push_escaped(out: &mut Vec<u8>, mut octets: &[u8]) {
    while let Some(at) = octets.iter().position(|octet| begins(*octet)) {
        let (plain, rest) = octets.split_at(at);
        out.extend_from_slice(plain);
        let length = match rest {
            [0xe2, ..] => 3,
            [0x7f, ..] => 1,
            _ => 2,
        };
        let (character, after) = rest.split_at(length.min(rest.len()));
        let steering = std::str::from_utf8(character).ok();
        let steering = steering.and_then(|text| text.chars().next());
        if let Some(steering) = steering.filter(|c| is_steering(*c)) {
            // Writing to memory doesn't fail.
            let _ = write!(out, "\\u{:04x}", u32::from(steering));
            octets = after;
        } else {
            out.extend_from_slice(&rest[..1]);
            octets = &rest[1..];
        }
    }
    out.extend_from_slice(octets);
}

/// Whether an octet may begin such a character.
const fn begins(octet: u8) -> bool {
    matches!(octet, 0x7f | 0xc2 | 0xd8 | 0xe2)
}

/// A writer of lines with these characters escaped. A character may be written in pieces.
#[derive(Debug)]
pub struct Escaped<W: Write> {
    out: W,
    /// ESC and its like are escaped too, all but line break and tab: not for JSON, which has its own way.
    ascii: bool,
    /// The beginning of a character whose rest wasn't written yet.
    begun: Vec<u8>,
    line: Vec<u8>,
}

impl<W: Write> Escaped<W> {
    /// For JSON.
    pub const fn json(out: W) -> Self {
        Self::new(out, false)
    }

    /// For any other text.
    pub const fn plain(out: W) -> Self {
        Self::new(out, true)
    }

    const fn new(out: W, ascii: bool) -> Self {
        Self {
            out,
            ascii,
            begun: Vec::new(),
            line: Vec::new(),
        }
    }
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let may_steer = |octet: &u8| begins(*octet) || (self.ascii && is_ascii_steering(*octet));
        if self.begun.is_empty() && !octets.iter().any(may_steer) {
            self.out.write_all(octets)?;
            return Ok(octets.len());
        }
        self.begun.extend_from_slice(octets);
        let tail = unfinished(&self.begun);
        let whole = self.begun.len() - tail;
        self.line.clear();
        push_escaped(&mut self.line, &self.begun[..whole]);
        self.begun.drain(..whole);
        if self.ascii && self.line.iter().any(|octet| is_ascii_steering(*octet)) {
            let mut line = Vec::with_capacity(self.line.len() + 32);
            for octet in &self.line {
                if is_ascii_steering(*octet) {
                    write!(line, "\\u{octet:04x}")?;
                } else {
                    line.push(*octet);
                }
            }
            self.line = line;
        }
        self.out.write_all(&self.line)?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Drop for Escaped<W> {
    fn drop(&mut self) {
        // The beginning of a character with nothing behind it: as such it steers nothing.
        let _ = self.out.write_all(&self.begun);
    }
}

/// Octets at the end that may be the beginning of such a character.
fn unfinished(octets: &[u8]) -> usize {
    match octets {
        [.., 0xe2, 0x80 | 0x81] => 2,
        [.., 0xc2 | 0xd8 | 0xe2] => 1,
        _ => 0,
    }
}

const fn is_ascii_steering(octet: u8) -> bool {
    octet < b' ' && !matches!(octet, b'\n' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: &str = "a\u{7f}é\u{9b}31m\u{202e}b\u{2066}🦀\u{61c}ؠâ\u{200f}\u{2029}\u{206f}.";
    const SHOWN: &str = "a\\u007fé\\u009b31m\\u202eb\\u2066🦀\\u061cؠâ\\u200f\\u2029\\u206f.";

    fn pieces(size: usize, plain: bool, text: &[u8]) -> String {
        let mut out = Vec::new();
        let mut writer = if plain {
            Escaped::plain(&mut out)
        } else {
            Escaped::json(&mut out)
        };
        for piece in text.chunks(size) {
            writer.write_all(piece).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_steers_is_escaped_however_it_is_written() {
        for size in 1..=NASTY.len() {
            assert_eq!(pieces(size, false, NASTY.as_bytes()), SHOWN, "{size}");
        }
        let mut out = Vec::new();
        push_escaped(&mut out, NASTY.as_bytes());
        assert_eq!(out, SHOWN.as_bytes());
    }

    #[test]
    fn plain_text_keeps_its_lines_and_nothing_else_below_a_blank() {
        assert_eq!(
            pieces(3, true, b"\x1b[31m\tred\r\n"),
            "\\u001b[31m\tred\\u000d\n"
        );
        assert_eq!(pieces(3, false, b"\x1b[31m\r\n"), "\x1b[31m\r\n");
    }

    #[test]
    fn every_other_character_stays() {
        let all = (' '..=char::MAX).filter(|c| !is_steering(*c));
        let all: String = all.collect();
        assert_eq!(pieces(4096, true, all.as_bytes()), all);
    }

    #[test]
    fn what_is_no_utf8_stays() {
        let mut out = Vec::new();
        let odd = b"\xff\xc2\xe2\x80\xe2\x80x\xd8";
        push_escaped(&mut out, odd);
        assert_eq!(out, odd);
        let mut out = Vec::new();
        Escaped::json(&mut out).write_all(odd).unwrap();
        assert_eq!(out, odd);
    }
}
