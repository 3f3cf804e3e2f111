//! Exporters that read a rule their own way, and what comes of it.

use netflow_wire::write::Field;

use super::rig::{NANOS, SECONDS, f, ipfix, options, record, rig, v9};

/// RFC 6759, section 4: engine 20 (PANA-L7-PEN), four octets of enterprise number, three of selector.
#[test]
fn applications_of_a_vendors_own_engine_have_names() {
    let mut rig = rig();
    let id = [20, 0, 0, 0x22, 0x12, 0, 1, 0x55];
    rig.spans(&options(
        ipfix(1),
        &[f(95, 8)],
        &[Field::variable(96)],
        |r| {
            r.bytes(&id).variable(b"backup");
        },
    ));
    let span = rig.flow(&record(ipfix(1), &[f(8, 4), f(95, 8)], |r| {
        r.ipv4([192, 0, 2, 1]).bytes(&id);
    }));
    assert_eq!(span.get("netflow.application.name"), "backup");
}

/// Elements 154 to 157 are NTP time-stamps (RFC 7011, section 6.1.9); some exporters put microseconds or
/// nanoseconds since 1970 there, which as NTP would be more than a century off.
#[test]
fn counts_since_1970_in_place_of_ntp_are_seen() {
    let at = u64::from(SECONDS - 5);
    for (start, end, unit) in [(154, 155, 1_000_000), (156, 157, 1_000_000_000)] {
        let span = rig().flow(&record(ipfix(1), &[f(8, 4), f(start, 8), f(end, 8)], |r| {
            r.ipv4([192, 0, 2, 1])
                .u64(at * unit + 7)
                .u64((at + 2) * unit);
        }));
        let nanos = 1_000_000_000 / unit;
        assert_eq!(span.start, NANOS - 5_000_000_000 + 7 * nanos, "{start}");
        assert_eq!(span.end, NANOS - 3_000_000_000, "{end}");
        assert!(span.get("netflow.time.suspect").is_null());
    }
}

#[test]
fn ntp_stays_ntp_however_old() {
    // An hour, and ten years before the export: the exported times are kept as they are.
    for (ago, suspect) in [(3_600, false), (315_360_000, true)] {
        let seconds = u64::from(SECONDS) - ago;
        let span = rig().flow(&record(ipfix(1), &[f(8, 4), f(154, 8), f(155, 8)], |r| {
            let ntp = (seconds + 2_208_988_800) << 32;
            r.ipv4([192, 0, 2, 1]).u64(ntp).u64(ntp);
        }));
        assert_eq!(span.get("netflow.time.suspect") == true, suspect);
        if suspect {
            assert_eq!(
                span.get("netflow.flow.end_unix_nano"),
                seconds * 1_000_000_000
            );
        } else {
            assert_eq!(span.end, seconds * 1_000_000_000);
        }
    }
}

/// RFC 3954 knows five types of scope; above them exporters put field types.
#[test]
fn a_v9_scope_may_be_a_field_type() {
    let mut rig = rig();
    rig.spans(&options(v9(1), &[f(10, 4)], &[f(82, 8)], |r| {
        r.u32(3).text("Gi0/3", 8);
    }));
    rig.spans(&options(v9(1), &[f(234, 4)], &[f(236, 8)], |r| {
        r.u32(12).text("red", 8);
    }));
    let span = rig.flow(&record(v9(1), &[f(8, 4), f(10, 4), f(234, 4)], |r| {
        r.ipv4([192, 0, 2, 1]).u32(3).u32(12);
    }));
    assert_eq!(span.get("netflow.interface.input.name"), "Gi0/3");
    assert_eq!(span.get("netflow.vrf.input.name"), "red");
}

/// Type and code in the sampled packet, and a port that isn't theirs: no protocol says that it is.
#[test]
fn icmp_of_a_section_stands_where_the_record_has_a_port_but_no_protocol() {
    let packet = [
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, 3, 4, 0, 0, 0, 0,
        0, 0,
    ];
    let span = rig().flow(&record(ipfix(1), &[f(11, 2), f(313, 28)], |r| {
        r.u16(0).bytes(&packet);
    }));
    assert_eq!(span.get("netflow.icmp.type"), 3);
    assert_eq!(span.get("netflow.icmp.code"), 4);
    assert_eq!(span.get("network.transport"), "icmp");
    // With a protocol the record's own port has them.
    let span = rig().flow(&record(ipfix(1), &[f(4, 1), f(11, 2), f(313, 28)], |r| {
        r.u8(1).u16(0x0800).bytes(&packet);
    }));
    assert_eq!(span.get("netflow.icmp.type"), 8);
    assert_eq!(span.get("netflow.icmp.code"), 0);
}
