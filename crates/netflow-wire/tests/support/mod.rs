//! An exporter's decoding session as a test sees it: datagrams in, rows and events out.

#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses its part of it"
)]

use std::time::{Duration, Instant};

use netflow_wire::{
    DataRecords, DataSet, Decoder, Event, Limits, Message, MessageError, SetError, Template,
    Transport, Version, Visitor,
};

/// A record as it was decoded: where it belongs, and the octets of each field.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Row {
    pub(crate) domain: u32,
    pub(crate) template_id: u16,
    pub(crate) is_options: bool,
    pub(crate) values: Vec<Vec<u8>>,
}

/// Everything that a visitor received.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) rows: Vec<Row>,
    pub(crate) events: Vec<Event>,
    /// Of Sets, and of records within them.
    pub(crate) bad: Vec<SetError>,
    /// Calls of the visitor.
    pub(crate) calls: usize,
    /// Records, whether or not their rows are kept.
    pub(crate) records: usize,
    /// Of them, those that were read with the message itself.
    pub(crate) at_once: usize,
    /// Records are only counted.
    pub(crate) counts_only: bool,
}

impl Seen {
    fn read(&mut self, template: &Template, domain: u32, offset: usize, body: &[u8]) {
        let mut records = DataRecords::new(template, body, offset);
        while let Some(record) = records.next() {
            match record {
                Err(error) => self.bad.push(error),
                Ok((record, locations)) => {
                    assert_eq!(locations.len(), template.fields.len());
                    self.records += 1;
                    if self.counts_only {
                        continue;
                    }
                    self.rows.push(Row {
                        domain,
                        template_id: template.id,
                        is_options: template.scope_fields.is_some(),
                        values: locations.iter().map(|at| at.of(record).to_vec()).collect(),
                    });
                }
            }
        }
    }
}

impl Visitor<()> for Seen {
    fn compile(&mut self, _: &Template) {
        self.calls += 1;
    }

    fn data(&mut self, set: &DataSet<'_, ()>) {
        self.calls += 1;
        let domain = set.header.observation_domain;
        self.read(set.template, domain, set.offset, set.body);
    }

    fn event(&mut self, event: Event) {
        self.calls += 1;
        match event {
            Event::BadSet(error) => self.bad.push(error),
            event => self.events.push(event),
        }
    }
}

/// A decoder with its limits and a clock that stands still unless set.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) decoder: Decoder<(), ()>,
    pub(crate) limits: Limits,
    pub(crate) now: Instant,
    pub(crate) counts_only: bool,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            decoder: Decoder::default(),
            limits: Limits::default(),
            now: Instant::now(),
            counts_only: false,
        }
    }
}

impl Session {
    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// A datagram from one port of the exporter, and the Sets that it made ready.
    pub(crate) fn datagram_from(&mut self, port: u16, octets: &[u8]) -> Result<Seen, MessageError> {
        self.message_in(Transport::Udp, port, octets)
    }

    /// A message of one session of the exporter, and the Sets that it made ready.
    pub(crate) fn message_in(
        &mut self,
        transport: Transport,
        port: u16,
        octets: &[u8],
    ) -> Result<Seen, MessageError> {
        let mut seen = Seen {
            counts_only: self.counts_only,
            ..Seen::default()
        };
        let message = Message::parse(octets)?;
        match message.header.version.built_in_template() {
            Some(template) => {
                let body = message.fixed_records(&template);
                seen.read(
                    &template,
                    message.header.observation_domain,
                    message.body_offset(),
                    body,
                );
            }
            None => {
                let (now, limits) = (self.now, &self.limits);
                let session = netflow_wire::Session { transport, port };
                self.decoder
                    .read(session, &message, &(), now, limits, &mut seen);
                seen.at_once = seen.records;
                while let Some(set) = self.decoder.next_ready(now, limits) {
                    self.decoder.read_held(&set, now, limits, &mut seen);
                }
            }
        }
        Ok(seen)
    }

    /// A datagram whose header is good.
    pub(crate) fn datagram(&mut self, octets: &[u8]) -> Seen {
        self.datagram_from(2055, octets).expect("a good header")
    }
}

/// The rows of a message of a fixed version.
pub(crate) fn fixed_rows(octets: &[u8]) -> Vec<Row> {
    Session::default().datagram(octets).rows
}

/// An empty message of v9 or IPFIX in a domain.
pub(crate) fn writer(version: Version, domain: u32) -> netflow_wire::write::MessageWriter {
    use netflow_wire::write::{IpfixHeader, MessageWriter, V9Header};
    let mut writer = match version {
        Version::Ipfix => MessageWriter::ipfix(IpfixHeader {
            observation_domain: domain,
            export_time: 1_700_000_000,
            ..IpfixHeader::default()
        }),
        _ => MessageWriter::v9(V9Header {
            source_id: domain,
            unix_secs: 1_700_000_000,
            ..V9Header::default()
        }),
    };
    writer.align(1);
    writer
}

/// Numbers that look random and are the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn octets(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}
