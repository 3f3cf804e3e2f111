//! `docs/attributes.md` is what the table of attributes makes it, and has every attribute that spans have.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Instant;

use netflow_wire::write::{Field, IpfixHeader, MessageWriter, V5Header, V5Record, v5};
use netflow2traces::config::{self, Machine, Purpose, Sources};
use netflow2traces::translate::reference::attributes_reference;
use netflow2traces::translate::sflow_reference::sflow_reference;
use netflow2traces::translate::{Datagram, Ids, Name, Translator};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use otlp_wire::UnixNanos;
use prost::Message as _;

const NOW: u32 = 1_700_000_000;

#[test]
fn the_reference_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/attributes.md");
    let text = attributes_reference();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "docs/attributes.md is stale: run UPDATE_GENERATED=1 cargo test -p netflow2traces --test \
         reference"
    );
}

#[test]
fn the_tables_of_sflow_are_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/sflow.md");
    let found = std::fs::read_to_string(&path).unwrap();
    let text = sflow_reference(&found);
    assert_eq!(text.matches("<!-- generated table: ").count(), 5);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, &text).unwrap();
    } else {
        assert!(
            found == text,
            "docs/sflow.md is stale: run UPDATE_GENERATED=1 cargo test -p netflow2traces --test reference"
        );
    }
}

#[test]
fn every_attribute_of_a_span_is_in_the_reference() {
    let reference = attributes_reference();
    let attributes = attributes_of_spans();
    for expected in [
        "netflow.lost",
        "netflow.templates",
        "netflow.sets.waiting",
        "netflow.sampling.scaled",
        "netflow.time.suspect",
        "netflow.flow.start_unix_nano",
        "network.protocol.number",
        "service.name",
    ] {
        assert!(attributes.contains(expected), "{expected}: {attributes:?}");
    }
    for attribute in attributes {
        assert!(
            reference.contains(&format!("`{attribute}`")),
            "{attribute} is missing in docs/attributes.md"
        );
    }
}

#[test]
fn every_name_is_in_the_reference_as_each_schema_spells_it() {
    let reference = attributes_reference() + include_str!("../../../../docs/sflow.md");
    let label = |key: &str| key.starts_with("netflow.mpls.label.");
    for name in Name::ALL {
        for key in [name.netflow(), name.flow()].into_iter().flatten() {
            assert!(
                reference.contains(&format!("`{key}`")) || label(key),
                "{key} is missing in docs/attributes.md and docs/sflow.md"
            );
        }
    }
}

/// Keys of the resources and spans of datagrams with as many kinds of them as possible.
fn attributes_of_spans() -> BTreeSet<String> {
    let mut translator = Translator::new(&config(), || UnixNanos(NOW_NANOS), Ids::new([7; 32]));
    let start = Instant::now();
    for octets in datagrams() {
        let datagram = Datagram {
            octets: &octets,
            source: "192.0.2.1:2055".parse().expect("an address"),
            received_at: UnixNanos(NOW_NANOS),
        };
        translator.on_datagram(&datagram, start);
    }
    translator.flush();
    let mut keys = BTreeSet::new();
    while let Some(batch) = translator.poll_batch(start) {
        let request = ExportTraceServiceRequest::decode(batch.octets).expect("well-formed");
        for resource in request.resource_spans {
            let attributes = resource.resource.into_iter().flat_map(|r| r.attributes);
            keys.extend(attributes.map(|attribute| attribute.key));
            let spans = resource.scope_spans.into_iter().flat_map(|s| s.spans);
            let attributes = spans.flat_map(|span| span.attributes);
            keys.extend(attributes.map(|attribute| attribute.key));
        }
    }
    keys
}

const NOW_NANOS: u64 = NOW as u64 * 1_000_000_000;

fn config() -> config::Translate {
    let environment = [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("NETFLOW_SCALE_SAMPLED", "true"),
    ];
    let machine = Machine {
        cores: 1,
        memory: config::memory::Available::default(),
        host_name: Some("collector".to_owned()),
        instance_id: "an id".to_owned(),
    };
    let sources = Sources::collect(vec![], &environment);
    let loaded = config::load(Purpose::Run, &sources, &machine).expect("defaults are sound");
    loaded.config.translate
}

/// v5 with a gap in its sequence; IPFIX data before its template, with the template, with times that can't be;
/// and garbage.
fn datagrams() -> Vec<Vec<u8>> {
    let v5 = |sequence| {
        let record = V5Record {
            source: Ipv4Addr::new(192, 0, 2, 7),
            protocol: 6,
            packets: 1,
            octets: 64,
            ..V5Record::default()
        };
        let header = V5Header {
            sys_uptime_ms: 1_000,
            unix_secs: NOW,
            flow_sequence: sequence,
            sampling_mode: 1,
            sampling_interval: 100,
            ..V5Header::default()
        };
        v5(&header, &[record]).expect("fits")
    };
    let template = [Field::new(4, 1), Field::new(152, 8), Field::new(153, 8)];
    let header = IpfixHeader {
        export_time: NOW,
        ..IpfixHeader::default()
    };
    let ipfix = |templates: &[Field]| {
        let mut writer = MessageWriter::ipfix(header);
        if !templates.is_empty() {
            writer.template(256, templates);
        }
        writer
            .data_set(256, |set| {
                set.record(|record| {
                    record.u8(17).u64(2_000).u64(1_000);
                });
            })
            .finish()
            .expect("fits")
    };
    vec![
        v5(0),
        v5(10),
        ipfix(&[]),
        ipfix(&template),
        b"not a flow record at all".to_vec(),
    ]
}
