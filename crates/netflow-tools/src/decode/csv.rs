//! Records as comma-separated values, with the names of the columns in the first line.

use std::io::{self, Write};

use super::fields::{Field, plain, push_csv, times};
use super::records::Record;
use super::summary::FileSummary;

/// Columns behind `start` and `end`; those of attributes have the attribute's name.
const ATTRIBUTES: &[&str] = &[
    "source.address",
    "source.port",
    "destination.address",
    "destination.port",
    "network.transport",
    "netflow.flow.bytes",
    "netflow.flow.packets",
    "netflow.tcp_flags",
    "netflow.tos",
    "netflow.icmp.type",
    "netflow.icmp.code",
    "netflow.interface.input",
    "netflow.interface.output",
    "network.io.direction",
    "netflow.src_as",
    "netflow.dst_as",
    "netflow.src_mask",
    "netflow.dst_mask",
    "netflow.nexthop",
    "netflow.vlan.input",
    "netflow.vlan.output",
    "netflow.sampling.interval",
];

pub(super) struct Csv {
    fields: Vec<Field>,
    has_begun: bool,
}

impl Csv {
    pub(super) fn new() -> Self {
        let attributes = ATTRIBUTES
            .iter()
            .map(|key| Field::Attribute((*key).to_owned()));
        Self {
            fields: [Field::File, Field::Exporter, Field::Domain, Field::Protocol]
                .into_iter()
                .chain([Field::Attribute("netflow.version".to_owned())])
                .chain(attributes)
                .collect(),
            has_begun: false,
        }
    }

    pub(super) fn record(
        &mut self,
        record: &Record<'_>,
        files: &[FileSummary],
        out: &mut dyn Write,
    ) -> io::Result<()> {
        self.begin(out)?;
        let (start, end) = times(record);
        let mut line = String::with_capacity(256);
        push_csv(&start.unwrap_or_default(), &mut line);
        line.push(',');
        push_csv(&end.unwrap_or_default(), &mut line);
        for field in &self.fields {
            line.push(',');
            push_csv(&plain(&field.json(record, files)), &mut line);
        }
        line.push('\n');
        out.write_all(line.as_bytes())
    }

    /// The first line, also where there is no record.
    pub(super) fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.has_begun {
            return Ok(());
        }
        self.has_begun = true;
        let names: Vec<&str> = self.fields.iter().map(Field::name).collect();
        writeln!(out, "start,end,{}", names.join(","))
    }
}
