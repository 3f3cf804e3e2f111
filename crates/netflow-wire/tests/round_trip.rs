//! What `write` writes is what the decoder reads, in every version and in whatever pieces it comes.

mod support;

use std::net::Ipv4Addr;

use netflow_wire::ie;
use netflow_wire::write::{
    Field, MessageWriter, V1Header, V1Record, V5Header, V5Record, V7Header, V7Record,
    VARIABLE_LENGTH, WriteError, v1, v5, v7,
};
use netflow_wire::{
    Event, FieldSpecifier, Learning, Message, TemplateKey, V9_SCOPE, Version, unsigned,
};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{Numbers, Row, Session, fixed_rows, writer};

/// A template under test.
#[derive(Clone, Debug)]
struct Spec {
    id: u16,
    scope: Vec<Field>,
    fields: Vec<Field>,
}

/// Templates, and Data Sets as (index of the template, seeds of the records).
#[derive(Clone, Debug)]
struct Script {
    version: Version,
    domain: u32,
    templates: Vec<Spec>,
    sets: Vec<(usize, Vec<u64>)>,
    /// For padding and order.
    seed: u64,
}

impl Spec {
    fn all(&self) -> impl Iterator<Item = &Field> {
        self.scope.iter().chain(&self.fields)
    }

    fn define(&self, message: &mut MessageWriter) {
        if self.scope.is_empty() {
            message.template(self.id, &self.fields);
        } else {
            message.options_template(self.id, &self.scope, &self.fields);
        }
    }

    fn declare(&self, message: &mut MessageWriter) {
        let all: Vec<_> = self.all().copied().collect();
        message.declare(self.id, &all);
    }

    /// Octets of the shortest record.
    fn shortest(&self) -> usize {
        let octets = |field: &Field| match field.length {
            VARIABLE_LENGTH => 1,
            length => usize::from(length),
        };
        self.all().map(octets).sum()
    }

    /// The record that a seed stands for.
    fn values(&self, seed: u64) -> Vec<Vec<u8>> {
        let mut numbers = Numbers(seed);
        self.all()
            .map(|field| {
                let len = match field.length {
                    // Every 16th is longer than a one-octet length can express.
                    VARIABLE_LENGTH if numbers.below(16) == 0 => 250 + numbers.below(60),
                    VARIABLE_LENGTH => numbers.below(20),
                    length => usize::from(length),
                };
                numbers.octets(len)
            })
            .collect()
    }

    fn row(&self, domain: u32, seed: u64) -> Row {
        Row {
            domain,
            template_id: self.id,
            is_options: !self.scope.is_empty(),
            values: self.values(seed),
        }
    }

    /// A Data Set with padding of any value, shorter than a record.
    fn data(&self, message: &mut MessageWriter, seeds: &[u64], padding: u64) {
        let mut numbers = Numbers(padding);
        let padding = numbers.below(self.shortest().min(8));
        let padding = numbers.octets(padding);
        message.data_set(self.id, |set| {
            for seed in seeds {
                set.record(|record| {
                    let values = self.values(*seed);
                    for (field, value) in self.all().zip(&values) {
                        match field.length {
                            VARIABLE_LENGTH if seed & 1 == 0 => record.variable_long(value),
                            VARIABLE_LENGTH => record.variable(value),
                            _ => record.bytes(value),
                        };
                    }
                });
            }
            set.raw(&padding);
        });
    }

    /// The fields as the decoder holds them.
    fn specifiers(&self, version: Version) -> Vec<FieldSpecifier> {
        let of = |field: &Field| {
            let (enterprise, element) = match version {
                Version::V9 => ie::of_v9(field.element),
                _ => (field.enterprise, field.element),
            };
            FieldSpecifier {
                enterprise,
                element,
                length: field.length,
            }
        };
        let scope = self.scope.iter().map(|field| match version {
            // RFC 3954, section 6.1, has five types of scope.
            Version::V9 if field.element <= 5 => FieldSpecifier {
                enterprise: V9_SCOPE,
                ..of(field)
            },
            _ => of(field),
        });
        scope.chain(self.fields.iter().map(of)).collect()
    }
}

impl Script {
    fn rows(&self) -> Vec<Row> {
        let rows = self.sets.iter().flat_map(|(template, seeds)| {
            let spec = &self.templates[*template];
            seeds.iter().map(|seed| spec.row(self.domain, *seed))
        });
        rows.collect()
    }

    fn message(&self) -> MessageWriter {
        let mut message = writer(self.version, self.domain);
        for spec in &self.templates {
            spec.declare(&mut message);
        }
        message
    }
}

fn field(version: Version) -> BoxedStrategy<Field> {
    // Reduced sizes, zero length, odd lengths; some longer than any element.
    let length = prop_oneof![8 => 1_u16..=16, 1 => Just(0_u16), 1 => 17_u16..=40];
    match version {
        Version::Ipfix => {
            let length = prop_oneof![5 => length, 1 => Just(VARIABLE_LENGTH)];
            let enterprise =
                prop_oneof![4 => Just(0_u32), 1 => Just(29305_u32), 1 => 1_u32..u32::MAX];
            (1_u16..0x8000, enterprise, length)
                .prop_map(|(element, enterprise, length)| {
                    Field::enterprise(enterprise, element, length)
                })
                .boxed()
        }
        _ => (1_u16.., length)
            .prop_map(|(element, length)| Field::new(element, length))
            .boxed(),
    }
}

fn spec(version: Version) -> impl Strategy<Value = Spec> {
    let fields = vec(field(version), 1..=60);
    let scope = prop_oneof![3 => Just(Vec::new()), 1 => vec(field(version), 1..=4)];
    (fields, scope)
        .prop_map(|(fields, scope)| Spec {
            id: 256,
            scope,
            fields,
        })
        .prop_filter("a record has octets", |spec| spec.shortest() > 0)
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V9), Just(Version::Ipfix)]
}

fn script() -> impl Strategy<Value = Script> {
    version().prop_flat_map(|version| {
        (vec(spec(version), 1..=5), any::<u32>(), any::<u64>()).prop_flat_map(
            move |(mut templates, domain, seed)| {
                let first = 256 + (seed % 60_000) as u16;
                for (spec, id) in templates.iter_mut().zip(first..) {
                    spec.id = id;
                }
                let sets = vec((0..templates.len(), vec(any::<u64>(), 1..=4)), 1..=6);
                sets.prop_map(move |sets| Script {
                    version,
                    domain,
                    templates: templates.clone(),
                    sets,
                    seed,
                })
            },
        )
    })
}

fn finish(message: &mut MessageWriter) -> Result<Vec<u8>, TestCaseError> {
    match message.finish() {
        Err(WriteError::MessageTooLong { .. } | WriteError::SetTooLong { .. }) => {
            Err(TestCaseError::reject("doesn't fit a datagram"))
        }
        written => written.map_err(|error| TestCaseError::fail(error.to_string())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn one_message_reads_back_as_it_was_written(script in script()) {
        let mut message = writer(script.version, script.domain);
        for spec in &script.templates {
            spec.define(&mut message);
        }
        for ((template, seeds), padding) in script.sets.iter().zip(script.seed..) {
            script.templates[*template].data(&mut message, seeds, padding);
        }
        let octets = finish(&mut message)?;
        let mut session = Session::default();
        let seen = session.datagram(&octets);
        prop_assert_eq!(&seen.rows, &script.rows());
        prop_assert!(seen.bad.is_empty(), "{:?}", seen.bad);
        for spec in &script.templates {
            let key = TemplateKey {
                session: netflow_wire::Session::udp(2055),
                version: script.version,
                domain: script.domain,
                id: spec.id,
            };
            let learnt = session.decoder.templates().iter().find(|(known, _)| **known == key);
            let (_, learnt) = learnt.expect("learnt");
            prop_assert_eq!(&*learnt.template.fields, &*spec.specifiers(script.version));
            let scope = (!spec.scope.is_empty()).then_some(spec.scope.len());
            prop_assert_eq!(learnt.template.scope_fields, scope);
        }
    }

    #[test]
    fn many_datagrams_give_the_records_of_one(script in script()) {
        let mut session = Session::default();
        let mut rows = Vec::new();
        for spec in &script.templates {
            let mut message = writer(script.version, script.domain);
            spec.define(&mut message);
            rows.extend(session.datagram(&finish(&mut message)?).rows);
        }
        for (template, seeds) in &script.sets {
            // Records of one Set come in a datagram each.
            for seed in seeds {
                let mut message = script.message();
                script.templates[*template].data(&mut message, &[*seed], script.seed);
                rows.extend(session.datagram(&finish(&mut message)?).rows);
            }
        }
        prop_assert_eq!(rows, script.rows());
    }

    /// In any order, the templates often after their data.
    #[test]
    fn order_of_datagrams_changes_no_record(script in script()) {
        let mut datagrams = Vec::new();
        for spec in &script.templates {
            let mut message = writer(script.version, script.domain);
            spec.define(&mut message);
            datagrams.push(finish(&mut message)?);
        }
        for (template, seeds) in &script.sets {
            let mut message = script.message();
            script.templates[*template].data(&mut message, seeds, script.seed);
            datagrams.push(finish(&mut message)?);
        }
        Numbers(script.seed).shuffle(&mut datagrams);
        let mut session = Session::default();
        let mut rows: Vec<_> = datagrams
            .iter()
            .flat_map(|octets| session.datagram(octets).rows)
            .collect();
        let mut expected = script.rows();
        rows.sort();
        expected.sort();
        prop_assert_eq!(rows, expected);
        prop_assert_eq!(session.decoder.waiting(), (0, 0));
    }

    /// Data in a message follows the definition before it; a template that comes behind its data in the
    /// same message still serves it.
    #[test]
    fn order_of_sets_in_a_message_is_free(script in script()) {
        let mut order: Vec<_> = (0..script.templates.len() + script.sets.len()).collect();
        Numbers(script.seed).shuffle(&mut order);
        let mut message = script.message();
        for index in order {
            match script.templates.get(index) {
                Some(spec) => spec.define(&mut message),
                None => {
                    let (template, seeds) = &script.sets[index - script.templates.len()];
                    script.templates[*template].data(&mut message, seeds, script.seed);
                }
            }
        }
        let mut rows = Session::default().datagram(&finish(&mut message)?).rows;
        let mut expected = script.rows();
        rows.sort();
        expected.sort();
        prop_assert_eq!(rows, expected);
    }

    #[test]
    fn data_follows_the_definition_that_holds_when_it_comes(
        (version, definitions) in version().prop_flat_map(|version| {
            (Just(version), vec(spec(version), 2..=4))
        }),
        seeds in vec(any::<u64>(), 1..=3),
        split in any::<bool>(),
    ) {
        let mut session = Session::default();
        let (mut rows, mut expected) = (Vec::new(), Vec::new());
        let mut message = writer(version, 7);
        for spec in &definitions {
            spec.define(&mut message);
            spec.data(&mut message, &seeds, 1);
            expected.extend(seeds.iter().map(|seed| spec.row(7, *seed)));
            if split {
                rows.extend(session.datagram(&finish(&mut message)?).rows);
                message = writer(version, 7);
            }
        }
        if !split {
            rows.extend(session.datagram(&finish(&mut message)?).rows);
        }
        prop_assert_eq!(rows, expected);
        prop_assert_eq!(session.decoder.templates().len(), 1);
    }

    /// The same Template ID means something else in each domain and from each port.
    #[test]
    fn domains_and_ports_keep_their_own_templates(
        (version, specs) in version().prop_flat_map(|version| {
            (Just(version), vec(spec(version), 4))
        }),
        seeds in vec(any::<u64>(), 1..=3),
    ) {
        let places = [(2055_u16, 1_u32), (2055, 2), (9995, 1), (9995, 2)];
        let mut session = Session::default();
        for (spec, (port, domain)) in specs.iter().zip(places) {
            let mut message = writer(version, domain);
            spec.define(&mut message);
            session.datagram_from(port, &finish(&mut message)?).expect("a header");
        }
        for (spec, (port, domain)) in specs.iter().zip(places) {
            let mut message = writer(version, domain);
            spec.declare(&mut message);
            spec.data(&mut message, &seeds, 3);
            let seen = session.datagram_from(port, &finish(&mut message)?).expect("a header");
            let expected: Vec<_> = seeds.iter().map(|seed| spec.row(domain, *seed)).collect();
            prop_assert_eq!(seen.rows, expected);
        }
    }

    #[test]
    fn a_template_sent_again_changes_nothing(script in script()) {
        let mut session = Session::default();
        for round in 0..3 {
            let mut message = writer(script.version, script.domain);
            for spec in &script.templates {
                spec.define(&mut message);
            }
            let seen = session.datagram(&finish(&mut message)?);
            let expected = if round == 0 { Learning::New } else { Learning::Refreshed };
            for event in seen.events {
                let Event::Template { learning, .. } = event else {
                    return Err(TestCaseError::fail(format!("{event:?}")));
                };
                prop_assert_eq!(learning, expected);
            }
        }
    }

    #[test]
    fn fixed_versions_read_back_as_they_were_written(
        flows in vec(flow(), 0..=30),
        times in any::<[u32; 4]>(),
        engine in any::<[u8; 2]>(),
        sampling in (0_u8..4, 0_u16..0x4000),
        rest in any::<(u8, u16, u32)>(),
    ) {
        let [sys_uptime_ms, unix_secs, nanos, flow_sequence] = times;
        let unix_nsecs = nanos % 1_000_000_000;
        let header = V5Header {
            sys_uptime_ms,
            unix_secs,
            unix_nsecs,
            flow_sequence,
            engine_type: engine[0],
            engine_id: engine[1],
            sampling_mode: sampling.0,
            sampling_interval: sampling.1,
            count: None,
        };
        let octets = v5(&header, &flows).expect("fits");
        let read = Message::parse(&octets).expect("a header").header;
        prop_assert_eq!(read.version, Version::V5);
        prop_assert_eq!(usize::from(read.count), flows.len());
        prop_assert_eq!(read.sys_uptime_ms, Some(sys_uptime_ms));
        prop_assert_eq!(
            read.export_time,
            u64::from(unix_secs) * 1_000_000_000 + u64::from(unix_nsecs)
        );
        prop_assert_eq!(read.sequence, Some(flow_sequence));
        prop_assert_eq!(read.observation_domain, u32::from(u16::from_be_bytes(engine)));
        let told = read.sampling.expect("v5 tells it");
        prop_assert_eq!((told.mode, told.interval), sampling);
        prop_assert_eq!(numbers(Version::V5, &octets), expected(&flows, Version::V5));

        let v7_flows: Vec<_> = flows
            .iter()
            .map(|flow| V7Record {
                flow: *flow,
                flags1: rest.0,
                flags2: rest.1,
                router: Ipv4Addr::from(rest.2),
            })
            .collect();
        let header = V7Header { sys_uptime_ms, unix_secs, unix_nsecs, flow_sequence, count: None };
        let octets = v7(&header, &v7_flows).expect("fits");
        prop_assert_eq!(numbers(Version::V7, &octets), expected(&flows, Version::V7));
        let read = Message::parse(&octets).expect("a header").header;
        prop_assert_eq!(read.sequence, Some(flow_sequence));

        let v1_flows: Vec<_> = flows.iter().map(as_v1).collect();
        let header = V1Header { sys_uptime_ms, unix_secs, unix_nsecs, count: None };
        let octets = v1(&header, &v1_flows).expect("fits");
        prop_assert_eq!(numbers(Version::V1, &octets), expected(&flows, Version::V1));
        let read = Message::parse(&octets).expect("a header").header;
        prop_assert_eq!((read.sequence, read.sys_uptime_ms), (None, Some(sys_uptime_ms)));
    }
}

fn flow() -> impl Strategy<Value = V5Record> {
    (
        any::<[u32; 3]>(),
        any::<[u16; 6]>(),
        any::<[u32; 4]>(),
        any::<[u8; 5]>(),
    )
        .prop_map(|(addresses, words, counts, octets)| V5Record {
            source: addresses[0].into(),
            destination: addresses[1].into(),
            next_hop: addresses[2].into(),
            input: words[0],
            output: words[1],
            packets: counts[0],
            octets: counts[1],
            first_ms: counts[2],
            last_ms: counts[3],
            source_port: words[2],
            destination_port: words[3],
            tcp_flags: octets[0],
            protocol: octets[1],
            tos: octets[2],
            source_as: words[4],
            destination_as: words[5],
            source_mask: octets[3],
            destination_mask: octets[4],
        })
}

fn as_v1(flow: &V5Record) -> V1Record {
    V1Record {
        source: flow.source,
        destination: flow.destination,
        next_hop: flow.next_hop,
        input: flow.input,
        output: flow.output,
        packets: flow.packets,
        octets: flow.octets,
        first_ms: flow.first_ms,
        last_ms: flow.last_ms,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        protocol: flow.protocol,
        tos: flow.tos,
        tcp_flags: flow.tcp_flags,
    }
}

/// Element and value of every field of a flow that the version has, in the order of the elements.
fn expected(flows: &[V5Record], version: Version) -> Vec<Vec<(u16, u64)>> {
    let of = |flow: &V5Record| {
        let mut fields = vec![
            (1, u64::from(flow.octets)),
            (2, u64::from(flow.packets)),
            (4, u64::from(flow.protocol)),
            (5, u64::from(flow.tos)),
            (6, u64::from(flow.tcp_flags)),
            (7, u64::from(flow.source_port)),
            (8, u64::from(u32::from(flow.source))),
            (10, u64::from(flow.input)),
            (11, u64::from(flow.destination_port)),
            (12, u64::from(u32::from(flow.destination))),
            (14, u64::from(flow.output)),
            (15, u64::from(u32::from(flow.next_hop))),
            (21, u64::from(flow.last_ms)),
            (22, u64::from(flow.first_ms)),
        ];
        if version != Version::V1 {
            fields.extend([
                (9, u64::from(flow.source_mask)),
                (13, u64::from(flow.destination_mask)),
                (16, u64::from(flow.source_as)),
                (17, u64::from(flow.destination_as)),
            ]);
        }
        fields.sort_unstable();
        fields
    };
    flows.iter().map(of).collect()
}

fn numbers(version: Version, octets: &[u8]) -> Vec<Vec<(u16, u64)>> {
    let template = version.built_in_template().expect("fixed");
    let of = |row: Row| {
        let mut fields: Vec<_> = template
            .fields
            .iter()
            .zip(&row.values)
            .filter(|(field, _)| field.element != 210)
            .map(|(field, value)| (field.element, unsigned(value)))
            .collect();
        fields.sort_unstable();
        fields
    };
    fixed_rows(octets).into_iter().map(of).collect()
}
