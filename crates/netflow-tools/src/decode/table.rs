//! Records as a table for people.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use otlp_wire::messages::{KeyValue, any_value::Value};

use super::output::told_times;
use super::records::{Record, int, value};

/// Rows that are looked at for the widths of columns before the first is shown.
const FIRST_ROWS: usize = 256;

const COLUMNS: usize = 8;
const TITLES: [&str; COLUMNS] = [
    "START (UTC)",
    "DURATION",
    "PROTO",
    "SOURCE",
    "DESTINATION",
    "PACKETS",
    "BYTES",
    "EXPORTER",
];
/// Columns of numbers, which end at one place.
const RIGHT: [bool; COLUMNS] = [false, true, false, false, false, true, true, false];

/// Lines of columns; a column gets wider when it must, and stays so.
pub(super) struct Table {
    widths: [usize; COLUMNS],
    waiting: Vec<[String; COLUMNS]>,
    has_begun: bool,
    /// Every row leaves at once.
    is_live: bool,
}

impl Table {
    pub(super) fn new(is_live: bool) -> Self {
        Self {
            widths: TITLES.map(str::len),
            waiting: Vec::new(),
            has_begun: false,
            is_live,
        }
    }

    pub(super) fn record(&mut self, record: &Record<'_>, out: &mut dyn Write) -> io::Result<()> {
        let row = row(record);
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.chars().count());
        }
        if self.has_begun {
            return self.write(&row, out);
        }
        self.waiting.push(row);
        if self.is_live || self.waiting.len() >= FIRST_ROWS {
            return self.end(out);
        }
        Ok(())
    }

    /// Shows what waits.
    pub(super) fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        if !self.has_begun && !waiting.is_empty() {
            self.has_begun = true;
            self.write(&TITLES.map(str::to_owned), out)?;
        }
        waiting.iter().try_for_each(|row| self.write(row, out))
    }

    fn write(&self, row: &[String; COLUMNS], out: &mut dyn Write) -> io::Result<()> {
        let cells: Vec<(&str, usize, bool)> = row
            .iter()
            .zip(self.widths)
            .zip(RIGHT)
            .map(|((cell, width), is_right)| (cell.as_str(), width, is_right))
            .collect();
        out.write_all(line(&cells).as_bytes())
    }
}

/// Cells with their widths, two blanks between them, and no blanks at the end.
pub(super) fn line(cells: &[(&str, usize, bool)]) -> String {
    let mut text = String::with_capacity(128);
    for (cell, width, is_right) in cells {
        let width = *width;
        // Nothing can go wrong with a string.
        let _ = match is_right {
            true => write!(text, "{cell:>width$}  "),
            false => write!(text, "{cell:<width$}  "),
        };
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn row(record: &Record<'_>) -> [String; COLUMNS] {
    let attributes = &record.span.attributes;
    let (start, end) = told_times(attributes);
    let start_text = start.map(|start| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(start.0);
        let text = humantime::format_rfc3339_millis(time).to_string();
        text.trim_end_matches('Z').replace('T', " ")
    });
    let duration = start
        .zip(end)
        .map(|(start, end)| seconds(end.0.saturating_sub(start.0)));
    let count = |key| int(attributes, key).map(|count| amount(count as u128));
    let cells = [
        start_text,
        duration,
        text(attributes, "network.transport"),
        endpoint(attributes, "source"),
        endpoint(attributes, "destination"),
        count("netflow.flow.packets"),
        count("netflow.flow.bytes"),
        record.has_source.then(|| record.source.ip().to_string()),
    ];
    cells.map(|cell| cell.unwrap_or_else(|| "-".to_owned()))
}

fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    match value(attributes, key)? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// Address and port, as a URL has them; of ICMP the destination is type and code.
fn endpoint(attributes: &[KeyValue], end: &str) -> Option<String> {
    let address = text(attributes, &format!("{end}.address"))?;
    let icmp = |part| int(attributes, &format!("netflow.icmp.{part}"));
    if let (Some(kind), Some(code)) = (icmp("type"), icmp("code"))
        && matches!(
            int(attributes, "network.protocol.number"),
            None | Some(1 | 58)
        )
    {
        return Some(match end {
            "destination" => format!("{address} ({kind}/{code})"),
            _ => address,
        });
    }
    Some(match int(attributes, &format!("{end}.port")) {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address,
    })
}

/// `0.007 s`.
fn seconds(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    format!("{}.{:03} s", millis / 1_000, millis % 1_000)
}

/// Whole up to six digits, else three or four digits and a unit of thousands.
pub(super) fn amount(count: u128) -> String {
    if count < 1_000_000 {
        return count.to_string();
    }
    let units = [("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    let unit = units
        .iter()
        .rev()
        .find(|(_, exponent)| count >= 10_u128.pow(*exponent));
    let (name, exponent) = unit.copied().unwrap_or(("M", 6));
    let tenths = count / 10_u128.pow(exponent - 1);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (count, text) in [
            (0, "0"),
            (999_999, "999999"),
            (1_000_000, "1.0 M"),
            (1_999_999, "1.9 M"),
            (12_345_678_901, "12.3 G"),
            (u128::from(u64::MAX), "18.4 E"),
        ] {
            assert_eq!(amount(count), text);
        }
    }

    #[test]
    fn durations_are_seconds() {
        assert_eq!(seconds(0), "0.000 s");
        assert_eq!(seconds(61_234_567_890), "61.234 s");
    }

    #[test]
    fn lines_have_no_blanks_at_their_end() {
        assert_eq!(
            line(&[("a", 3, false), ("1", 3, true), ("b", 4, false)]),
            "a      1  b\n"
        );
    }
}
