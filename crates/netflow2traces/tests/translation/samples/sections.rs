//! Elements that hold the front of a packet (RFC 5477, section 8.5).

use netflow_wire::write::{Field, IpfixHeader, MessageWriter, Record};
use netflow2traces::config::AttributeLevel;

use super::{FRAME, Shown, assert_attributes, configuration, flows, take, translator};

/// The span of one record.
fn span(fields: &[Field], record: impl FnOnce(&mut Record)) -> Shown {
    let header = IpfixHeader {
        export_time: 1_700_000_000,
        ..IpfixHeader::default()
    };
    let octets = MessageWriter::ipfix(header)
        .template(256, fields)
        .data_set(256, |set| {
            set.record(record);
        })
        .finish()
        .expect("fits");
    let mut translator = translator(&configuration(AttributeLevel::Standard));
    take(&mut translator, &octets);
    let mut spans = flows(&mut translator);
    assert_eq!(spans.len(), 1);
    spans.remove(0)
}

#[test]
fn a_frame_gives_what_the_record_lacks() {
    let fields = [
        Field::new(312, 2),
        Field::new(12, 4), // destination: the record's own
        Field::variable(315),
    ];
    let span = span(&fields, |record| {
        record.u16(1518).ipv4([203, 0, 113, 9]).variable(&FRAME);
    });
    assert_attributes(
        &span.attributes,
        &[
            ("netflow.version", "10"),
            ("source.address", "192.0.2.10"),
            ("source.port", "51000"),
            ("destination.address", "203.0.113.9"),
            ("destination.port", "443"),
            ("network.transport", "tcp"),
            ("network.protocol.number", "6"),
            ("network.type", "ipv4"),
            ("netflow.flow.bytes", "1518"),
            ("netflow.flow.packets", "1"),
            ("netflow.flow.estimated.bytes", "1518"),
            ("netflow.flow.estimated.packets", "1"),
            ("netflow.tcp_flags", "18"),
            ("netflow.tos", "40"),
            ("netflow.vlan.input", "30"),
            ("netflow.src_mac", "02:00:00:00:00:01"),
            ("netflow.dst_mac", "02:00:00:00:00:02"),
        ],
    );
}

#[test]
fn an_ip_section_and_counters_of_the_record() {
    let fields = [Field::new(1, 4), Field::new(313, 34)];
    let span = span(&fields, |record| {
        record.u32(7).bytes(&FRAME[18..]);
    });
    let attributes = &span.attributes;
    assert_eq!(attributes["netflow.flow.bytes"], "7");
    assert_eq!(attributes["destination.address"], "198.51.100.20");
    assert!(!attributes.contains_key("netflow.src_mac"));
}

#[test]
fn a_section_from_elsewhere_is_left_alone() {
    let fields = [Field::new(409, 2), Field::new(315, 52)];
    let elsewhere = span(&fields, |record| {
        record.u16(14).bytes(&FRAME);
    });
    assert_attributes(&elsewhere.attributes, &[("netflow.version", "10")]);
    // 802.11, by dataLinkFrameType.
    let fields = [Field::new(408, 2), Field::new(315, 52)];
    let wireless = span(&fields, |record| {
        record.u16(2).bytes(&FRAME);
    });
    assert_attributes(&wireless.attributes, &[("netflow.version", "10")]);
}
