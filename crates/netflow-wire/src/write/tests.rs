//! v9 and IPFIX messages against octets from their layouts.

use super::*;

#[test]
fn v9_packet_is_laid_out_as_rfc_3954_says() {
    let header = V9Header {
        sys_uptime_ms: 0x0001_0203,
        unix_secs: 0x6500_0001,
        sequence: 7,
        source_id: 99,
        count: None,
    };
    let octets = MessageWriter::v9(header)
        .template(256, &[Field::new(8, 4), Field::new(4, 1)])
        .options_template(257, &[Field::new(2, 4)], &[Field::new(82, 5)])
        .data_set(256, |set| {
            set.record(|r| {
                r.ipv4([192, 0, 2, 1]).u8(6);
            })
            .record(|r| {
                r.ipv4([192, 0, 2, 2]).u8(17);
            });
        })
        .data_set(257, |set| {
            set.record(|r| {
                r.u32(3).text("Gi0/3", 5);
            });
        })
        .finish()
        .unwrap();
    #[rustfmt::skip]
    let expected = [
        0, 9, 0, 5, // version, count: two templates and three records
        0, 1, 2, 3, // sysUpTime
        0x65, 0, 0, 1, // UNIX Secs
        0, 0, 0, 7, 0, 0, 0, 99, // Sequence Number, Source ID
        0, 0, 0, 16, // FlowSet ID 0, length
        1, 0, 0, 2, // Template ID 256, Field Count
        0, 8, 0, 4, 0, 4, 0, 1, // IPV4_SRC_ADDR, PROTOCOL
        0, 1, 0, 20, // FlowSet ID 1, length with padding
        1, 1, 0, 4, 0, 4, // Template ID 257, Option Scope Length, Option Length
        0, 2, 0, 4, // scope Interface
        0, 82, 0, 5, // IF_NAME
        0, 0, // padding
        1, 0, 0, 16, // FlowSet ID 256, length with padding
        192, 0, 2, 1, 6, 192, 0, 2, 2, 17, 0, 0,
        1, 1, 0, 16, // FlowSet ID 257, length with padding
        0, 0, 0, 3, b'G', b'i', b'0', b'/', b'3', 0, 0, 0,
    ];
    assert_eq!(octets, expected);
}

#[test]
fn ipfix_message_is_laid_out_as_rfc_7011_says() {
    let header = IpfixHeader {
        export_time: 0x6500_0001,
        sequence: 7,
        observation_domain: 99,
        length: None,
    };
    let mut writer = MessageWriter::ipfix(header);
    writer
        .template(
            256,
            &[Field::new(1, 8), Field::reverse(1, 4), Field::variable(96)],
        )
        .options_template(257, &[Field::new(10, 4)], &[Field::variable(82)])
        .data_set(256, |set| {
            set.record(|r| {
                r.u64(5).u32(6).variable(b"dns");
            });
        });
    assert_eq!(writer.data_records(), 1);
    let octets = writer.finish().unwrap();
    #[rustfmt::skip]
    let expected = [
        0, 10, 0, 78, // version, length
        0x65, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 99, // Export Time, Sequence, Domain
        0, 2, 0, 24, // Set ID 2, length
        1, 0, 0, 3, // Template ID, Field Count
        0, 1, 0, 8,
        0x80, 1, 0, 4, 0, 0, 0x72, 0x79, // enterprise bit, 29305
        0, 96, 0xff, 0xff, // variable length
        0, 3, 0, 18, // Set ID 3, length
        1, 1, 0, 2, 0, 1, // Template ID, Field Count, Scope Field Count
        0, 10, 0, 4, 0, 82, 0xff, 0xff,
        1, 0, 0, 20, // Set ID 256, length
        0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 6, 3, b'd', b'n', b's',
    ];
    assert_eq!(octets, expected);
}

#[test]
fn withdrawals_have_no_fields() {
    let octets = MessageWriter::ipfix(IpfixHeader::default())
        .withdraw(256)
        .withdraw_options(3)
        .finish()
        .unwrap();
    assert_eq!(
        octets.get(16..),
        Some([0, 2, 0, 8, 1, 0, 0, 0, 0, 3, 0, 8, 0, 3, 0, 0].as_slice())
    );
    let error = MessageWriter::v9(V9Header::default())
        .withdraw(256)
        .finish();
    assert_eq!(
        error,
        Err(WriteError::NotInV9 {
            what: "template withdrawal"
        })
    );
}

#[test]
fn records_are_held_against_their_template() {
    let fields = [Field::new(7, 2), Field::variable(96)];
    let build = |record: fn(&mut Record)| {
        MessageWriter::ipfix(IpfixHeader::default())
            .declare(300, &fields)
            .data_set(300, |set| {
                set.record(record);
            })
            .finish()
    };
    assert!(
        build(|r| {
            r.u16(1).variable(b"x");
        })
        .is_ok()
    );
    assert_eq!(
        build(|r| {
            r.u16(1);
        }),
        Err(WriteError::FieldCount {
            template_id: 300,
            expected: 2,
            written: 1
        })
    );
    assert_eq!(
        build(|r| {
            r.u32(1).variable(b"x");
        }),
        Err(WriteError::FieldLength {
            template_id: 300,
            field: 0,
            expected: 2,
            written: 4
        })
    );
    assert_eq!(
        build(|r| {
            r.u16(1).bytes(b"x");
        }),
        Err(WriteError::FieldLength {
            template_id: 300,
            field: 1,
            expected: VARIABLE_LENGTH,
            written: 1
        })
    );
}

#[test]
fn what_is_wrong_can_be_said_on_purpose() {
    let header = IpfixHeader {
        length: Some(9),
        ..IpfixHeader::default()
    };
    let octets = MessageWriter::ipfix(header)
        .raw_set(5, Some(3), &[1, 2])
        .raw(&[0xff])
        .data_set(999, |set| {
            set.raw(&[8]).padding(2);
        })
        .finish()
        .unwrap();
    assert_eq!(octets.get(2..4), Some([0, 9].as_slice()));
    let sets = [0, 5, 0, 3, 1, 2, 0xff, 3, 0xe7, 0, 7, 8, 0, 0];
    assert_eq!(octets.get(16..), Some(sets.as_slice()));
}

#[test]
fn bounds_of_the_length_fields_are_kept() {
    let long = vec![0; 65_600];
    let set = |set: &mut SetWriter<'_>| {
        set.raw(&long);
    };
    let error = MessageWriter::v9(V9Header::default())
        .data_set(256, set)
        .finish();
    assert_eq!(
        error,
        Err(WriteError::SetTooLong {
            set_id: 256,
            octets: 65_604
        })
    );
    let error = MessageWriter::ipfix(IpfixHeader::default())
        .raw(&long)
        .finish();
    assert_eq!(error, Err(WriteError::MessageTooLong { octets: 65_616 }));
    let error = MessageWriter::ipfix(IpfixHeader::default())
        .data_set(2, |_| {})
        .finish();
    assert_eq!(error, Err(WriteError::ReservedId { id: 2 }));
    let error = MessageWriter::v9(V9Header::default())
        .template(256, &[Field::reverse(1, 4)])
        .finish();
    assert_eq!(
        error,
        Err(WriteError::NotInV9 {
            what: "enterprise elements"
        })
    );
    let many = vec![Field::new(1, 0); 70_000];
    let error = MessageWriter::ipfix(IpfixHeader::default())
        .template(256, &many)
        .finish();
    assert_eq!(
        error,
        Err(WriteError::TooManyFields {
            template_id: 256,
            fields: 70_000
        })
    );
}
