//! Decoding alone: datagrams in, each field of each record looked at. Records a second of one core.
//!
//! 30-record v5 datagrams, 28-record v9 and IPFIX IPv4, 14-record IPFIX IPv6, 20 IPFIX records of variable length,
//! and a datagram of 20 templates that are known already.

use std::time::Instant;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use netflow_wire::write::{Field, IpfixHeader, MessageWriter, V5Header, V5Record, V9Header, v5};
use netflow_wire::{
    DataRecords, DataSet, Decoder, Event, Limits, Message, Session, Template, Version, Visitor,
    unsigned,
};

fn main() {
    divan::main();
}

/// Adds up what it sees.
#[derive(Default)]
struct Sum {
    records: usize,
    value: u64,
    templates: usize,
}

impl Sum {
    fn records(&mut self, template: &Template, body: &[u8], offset: usize) {
        let mut records = DataRecords::new(template, body, offset);
        while let Some(Ok((record, locations))) = records.next() {
            self.records += 1;
            for at in locations {
                self.value = self.value.wrapping_add(unsigned(at.of(record)));
            }
        }
    }
}

impl Visitor<()> for Sum {
    fn compile(&mut self, _: &Template) {}

    fn data(&mut self, set: &DataSet<'_, ()>) {
        self.records(set.template, set.body, set.offset);
    }

    fn event(&mut self, event: Event) {
        if let Event::Template { .. } = event {
            self.templates += 1;
        }
    }
}

/// Reads the last of `datagrams` over and over, the others once before.
fn run(bencher: Bencher<'_, '_>, datagrams: &[Vec<u8>], items: usize) {
    let (limits, now) = (Limits::default(), Instant::now());
    let mut decoder: Decoder<(), ()> = Decoder::default();
    let built_in = Version::V5.built_in_template().expect("v5 has one");
    let mut read = |octets: &[u8], sum: &mut Sum| {
        let message = Message::parse(octets).expect("a message");
        if message.header.version == Version::V5 {
            let body = message.fixed_records(&built_in);
            sum.records(&built_in, body, message.body_offset());
        } else {
            decoder.read(Session::udp(2055), &message, &(), now, &limits, sum);
        }
    };
    let (last, before) = datagrams.split_last().expect("some");
    for octets in before {
        read(octets, &mut Sum::default());
    }
    let mut once = Sum::default();
    read(last, &mut once);
    assert_eq!(once.records + once.templates, items);
    let repeats = 100;
    bencher
        .counter(ItemsCount::new(items * repeats))
        .counter(BytesCount::new(last.len() * repeats))
        .bench_local(|| {
            let mut sum = Sum::default();
            for _ in 0..repeats {
                read(black_box(last), &mut sum);
            }
            sum.value
        });
}

const COMMON: [Field; 11] = [
    Field::new(7, 2),
    Field::new(11, 2),
    Field::new(4, 1),
    Field::new(1, 8),
    Field::new(2, 8),
    Field::new(10, 4),
    Field::new(14, 4),
    Field::new(16, 4),
    Field::new(17, 4),
    Field::new(22, 4),
    Field::new(21, 4),
];

/// A datagram with the template, and one of `records` records, all octets of which are `7`.
fn templated(
    message: impl Fn() -> MessageWriter,
    fields: &[Field],
    records: usize,
) -> [Vec<u8>; 2] {
    let octets: usize = fields.iter().map(|field| usize::from(field.length)).sum();
    let mut template = message();
    template.template(256, fields);
    let mut data = message();
    data.declare(256, fields).data_set(256, |set| {
        for _ in 0..records {
            set.raw(&vec![7; octets]);
        }
    });
    [template, data].map(|mut message| message.finish().expect("fits"))
}

fn v9() -> MessageWriter {
    MessageWriter::v9(V9Header::default())
}

fn ipfix() -> MessageWriter {
    MessageWriter::ipfix(IpfixHeader::default())
}

fn fields(addresses: [Field; 3]) -> Vec<Field> {
    addresses.into_iter().chain(COMMON).collect()
}

const V4: [Field; 3] = [Field::new(8, 4), Field::new(12, 4), Field::new(15, 4)];
const V6: [Field; 3] = [Field::new(27, 16), Field::new(28, 16), Field::new(62, 16)];

#[divan::bench]
fn netflow_v5(bencher: Bencher<'_, '_>) {
    let datagram = v5(&V5Header::default(), &[V5Record::default(); 30]).expect("fits");
    run(bencher, &[datagram], 30);
}

#[divan::bench]
fn netflow_v9(bencher: Bencher<'_, '_>) {
    run(bencher, &templated(v9, &fields(V4), 24), 24);
}

#[divan::bench]
fn ipfix_ipv4(bencher: Bencher<'_, '_>) {
    run(bencher, &templated(ipfix, &fields(V4), 24), 24);
}

#[divan::bench]
fn ipfix_ipv6(bencher: Bencher<'_, '_>) {
    run(bencher, &templated(ipfix, &fields(V6), 14), 14);
}

#[divan::bench]
fn ipfix_variable(bencher: Bencher<'_, '_>) {
    let fields = [fields(V4), vec![Field::variable(371)]].concat();
    let fixed: usize = fields[..14]
        .iter()
        .map(|field| usize::from(field.length))
        .sum();
    let mut template = ipfix();
    template.template(256, &fields);
    let mut data = ipfix();
    data.declare(256, &fields).data_set(256, |set| {
        for _ in 0..20 {
            set.raw(&vec![7; fixed]).raw(b"\x08somebody");
        }
    });
    let datagrams = [template, data].map(|mut message| message.finish().expect("fits"));
    run(bencher, &datagrams, 20);
}

#[divan::bench]
fn ipfix_templates_again(bencher: Bencher<'_, '_>) {
    let fields = fields(V4);
    let templates: Vec<_> = (256..276).map(|id| (id, &fields[..])).collect();
    let mut message = ipfix();
    message.templates(&templates);
    let datagram = message.finish().expect("fits");
    run(bencher, &[datagram.clone(), datagram], 20);
}
