//! `--top N --by FIELDS`: totals of records that have the same values, the largest first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};

use otlp_wire::messages::any_value::Value;

use super::fields::{Field, plain, push_csv};
use super::records::{Record, int, value};
use super::summary::FileSummary;
use super::table::{amount, line};

/// Combinations of values that are counted separately; the records of others are summed in one line.
const MAX_GROUPS: usize = 1_000_000;

/// What was added up.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Sums {
    bytes: u128,
    packets: u128,
    flows: u64,
}

impl Sums {
    fn add(&mut self, more: Self) {
        self.bytes += more.bytes;
        self.packets += more.packets;
        self.flows += more.flows;
    }
}

pub(super) struct Top {
    fields: Vec<Field>,
    count: usize,
    /// By the values as JSON, with line feeds between them.
    groups: HashMap<String, Sums>,
    /// Of values that there was no room for.
    others: Sums,
    all: Sums,
    /// Records of which not every packet was counted.
    sampled: u64,
}

/// How totals are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    Table,
    Csv,
    Json,
}

impl Top {
    pub(super) fn new(count: usize, fields: &[Field]) -> Self {
        Self {
            fields: fields.to_vec(),
            count,
            groups: HashMap::new(),
            others: Sums::default(),
            all: Sums::default(),
            sampled: 0,
        }
    }

    pub(super) fn record(&mut self, record: &Record<'_>, files: &[FileSummary]) {
        let (sums, is_sampled) = sums(record);
        self.sampled += u64::from(is_sampled);
        self.all.add(sums);
        let mut key = String::new();
        for field in &self.fields {
            key.push_str(&field.json(record, files));
            key.push('\n');
        }
        if let Some(group) = self.groups.get_mut(&key) {
            group.add(sums);
        } else if self.groups.len() < MAX_GROUPS {
            self.groups.insert(key, sums);
        } else {
            self.others.add(sums);
        }
    }

    /// The largest by bytes; of equal ones those of more packets, then of more flows.
    fn largest(&self) -> Vec<(&str, Sums)> {
        let mut all: Vec<(&str, Sums)> = self
            .groups
            .iter()
            .map(|(key, sums)| (key.as_str(), *sums))
            .collect();
        let order = |group: &(&str, Sums)| (Reverse(group.1), group.0.to_owned());
        all.sort_by_cached_key(order);
        all.truncate(self.count);
        all
    }

    pub(super) fn write(&self, style: Style, out: &mut dyn Write) -> io::Result<()> {
        let largest = self.largest();
        match style {
            Style::Table => self.write_table(&largest, out),
            Style::Csv => {
                let names: Vec<&str> = self.fields.iter().map(Field::name).collect();
                writeln!(out, "{},flows,packets,bytes", names.join(","))?;
                for (key, sums) in largest {
                    let mut line = String::new();
                    for value in key.lines() {
                        push_csv(&plain(value), &mut line);
                        line.push(',');
                    }
                    writeln!(out, "{line}{},{},{}", sums.flows, sums.packets, sums.bytes)?;
                }
                Ok(())
            }
            Style::Json => {
                for (key, sums) in largest {
                    let named = self.fields.iter().zip(key.lines());
                    let members: Vec<String> = named
                        .map(|(field, value)| {
                            format!("{}:{value}", serde_json::Value::from(field.name()))
                        })
                        .collect();
                    writeln!(
                        out,
                        "{{{},\"flows\":{},\"packets\":{},\"bytes\":{}}}",
                        members.join(","),
                        sums.flows,
                        sums.packets,
                        sums.bytes
                    )?;
                }
                Ok(())
            }
        }
    }

    fn write_table(&self, largest: &[(&str, Sums)], out: &mut dyn Write) -> io::Result<()> {
        let mut rows: Vec<Vec<String>> = Vec::with_capacity(largest.len() + 1);
        let mut head: Vec<String> = self.fields.iter().map(Field::title).collect();
        head.extend(["FLOWS", "PACKETS", "BYTES", "SHARE"].map(str::to_owned));
        rows.push(head);
        for (key, sums) in largest {
            let mut row: Vec<String> = key
                .lines()
                .map(|value| match plain(value) {
                    empty if empty.is_empty() => "-".to_owned(),
                    value => value,
                })
                .collect();
            row.extend([
                amount(u128::from(sums.flows)),
                amount(sums.packets),
                amount(sums.bytes),
                share(sums.bytes, self.all.bytes),
            ]);
            rows.push(row);
        }
        let columns = self.fields.len() + 4;
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &rows {
            let cells: Vec<_> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| (cell.as_str(), *width, column >= self.fields.len()))
                .collect();
            out.write_all(line(&cells).as_bytes())?;
        }
        Ok(())
    }

    /// Lines for the summary.
    pub(super) fn notes(&self) -> String {
        let shown = self.largest().len();
        let mut text = format!(
            "top: {shown} of {} totals, of {} bytes in {} packets in all\n",
            self.groups.len(),
            self.all.bytes,
            self.all.packets,
        );
        if self.sampled > 0 {
            text.push_str(&format!(
                "note: sampled records, whose bytes and packets are estimates (count times sampling interval): {}\n",
                self.sampled
            ));
        }
        if self.others.flows > 0 {
            text.push_str(&format!(
                "note: {} records with other values are in no total: only {MAX_GROUPS} totals are kept\n",
                self.others.flows
            ));
        }
        text
    }
}

fn share(part: u128, all: u128) -> String {
    match (part * 1_000).checked_div(all) {
        Some(thousandths) => format!("{}.{} %", thousandths / 10, thousandths % 10),
        None => "-".to_owned(),
    }
}

/// What a record adds; and whether that is an estimate.
fn sums(record: &Record<'_>) -> (Sums, bool) {
    let attributes = &record.span.attributes;
    let interval = int(attributes, "netflow.sampling.interval");
    let count = |key| {
        let count: u64 = match value(attributes, key) {
            Some(Value::IntValue(count)) => u64::try_from(*count).unwrap_or(0),
            // Counts past 2^63 are text in OTLP.
            Some(Value::StringValue(text)) => text.parse().unwrap_or(0),
            _ => 0,
        };
        u128::from(count)
    };
    let sums = Sums {
        bytes: count("netflow.flow.estimated.bytes"),
        packets: count("netflow.flow.estimated.packets"),
        flows: 1,
    };
    (sums, interval.is_some_and(|interval| interval > 1))
}
