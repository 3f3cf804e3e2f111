//! One sFlow datagram, and one sampled header: every sample and record lies within the octets, nothing is
//! allocated, and a datagram or header that was cut never says what the whole doesn't.

use netflow_wire::frame::{Frame, LinkType, MAX_LABELS, MAX_VLANS, Packet};
use netflow_wire::sflow::{Datagram, FlowRecord, FlowSample, Sample, discard_reason};

use super::memory::peak_of;

const LINKS: [LinkType; 4] = [
    LinkType::Ethernet,
    LinkType::Ppp,
    LinkType::Mpls,
    LinkType::Ip,
];

/// What stands in front of a sample or record: its format and length.
const FRONT: usize = 8;

/// A datagram if it begins like one, else a header behind an octet that names the link.
pub fn run(input: &[u8]) {
    let ((), most) = peak_of(|| {
        if Datagram::is_sflow(input) {
            datagram(input);
        } else if let Some((link, octets)) = input.split_first() {
            header(LINKS[usize::from(link & 3)], octets);
        }
    });
    assert_eq!(most, 0, "reading allocates");
}

fn datagram(input: &[u8]) {
    let Ok(whole) = Datagram::parse(input) else {
        return;
    };
    let (mut samples, mut records, mut octets) = (0, 0, 0);
    for sample in whole.samples() {
        samples += 1;
        match sample {
            Ok(Sample::Flow(flow)) => records += flow_sample(input, &flow, &mut octets),
            Ok(Sample::Counters(counters)) => records += counters.records().count(),
            _ => {}
        }
    }
    assert!(samples <= whole.header.samples as usize);
    // And one error for what goes past the end.
    assert!(samples <= input.len() / FRONT + 1, "{samples} samples");
    assert!(
        records <= input.len() / FRONT + samples,
        "{records} records"
    );
    assert!(octets <= input.len(), "records overlap");
    for end in [input.len() / 2, input.len() * 7 / 8] {
        let Ok(cut) = Datagram::parse(&input[..end]) else {
            continue;
        };
        assert_eq!(cut.header, whole.header);
        let mut same = whole.samples();
        for sample in cut.samples() {
            let beside = same.next().expect("the whole has as many");
            match (sample, beside) {
                (Ok(sample), Ok(beside)) => assert!(is_same(&sample, &beside)),
                (Err(cut), Err(whole)) => {
                    assert!(cut == whole || cut.reason() == "truncated_sample");
                }
                (Ok(_), Err(error)) => unreachable!("only the cut datagram is good: {error}"),
                (Err(error), Ok(_)) => assert_eq!(error.reason(), "truncated_sample"),
            }
        }
    }
}

/// Whether two samples were read of the same octets.
fn is_same(left: &Sample<'_>, right: &Sample<'_>) -> bool {
    match (left, right) {
        (Sample::Flow(left), Sample::Flow(right)) => {
            left.kind == right.kind
                && (left.sequence, left.source) == (right.sequence, right.source)
                && (left.input, left.output) == (right.input, right.output)
                && left.records().count() == right.records().count()
        }
        (Sample::Counters(left), Sample::Counters(right)) => {
            (left.sequence, left.source) == (right.sequence, right.source)
                && left.records().eq(right.records())
        }
        (
            Sample::Other { enterprise, format },
            Sample::Other {
                enterprise: other,
                format: beside,
            },
        ) => (enterprise, format) == (other, beside),
        _ => false,
    }
}

/// The records of a sample; their octets are added to `octets`.
fn flow_sample(input: &[u8], flow: &FlowSample<'_>, octets: &mut usize) -> usize {
    let mut records = 0;
    if let Some(reason) = flow.reason {
        assert_ne!(discard_reason(reason), Some(""));
    }
    let range = input.as_ptr_range();
    let mut take = |part: &[u8]| {
        let part_range = part.as_ptr_range();
        assert!(range.start <= part_range.start && part_range.end <= range.end);
        *octets += part.len();
    };
    for record in flow.records() {
        records += 1;
        match record {
            Ok(FlowRecord::RawHeader(header)) => {
                take(header.octets);
                if let Some(link) = header.link() {
                    self::header(link, header.octets);
                } else {
                    assert_eq!(header.frame(), Frame::default());
                }
            }
            Ok(FlowRecord::User(user)) => {
                take(user.source);
                take(user.destination);
            }
            Ok(FlowRecord::Url(url)) => {
                take(url.url);
                take(url.host);
            }
            Ok(FlowRecord::Mpls(mpls)) => {
                assert!(mpls.input.as_slice().len() <= MAX_LABELS);
                assert!(mpls.output.as_slice().len() <= MAX_LABELS);
            }
            Ok(FlowRecord::Other { octets, .. }) => take(octets),
            Ok(_) => {}
            Err(error) => assert!(!error.reason().is_empty()),
        }
    }
    records
}

fn header(link: LinkType, octets: &[u8]) {
    let whole = Frame::read(link, octets);
    check(&whole, octets.len());
    for end in [octets.len() / 2, octets.len().saturating_sub(1)] {
        let cut = Frame::read(link, &octets[..end]);
        check(&cut, end);
        assert!(cut.macs.is_none() || cut.macs == whole.macs);
        assert!(whole.vlans.as_slice().starts_with(cut.vlans.as_slice()));
        if let Some(packet) = cut.packet {
            let beside = whole.packet.expect("a shorter header never says more");
            same_packet(&packet, &beside);
        }
        if let Some(tunnel) = cut.tunnel {
            let beside = whole.tunnel.expect("a shorter header never says more");
            assert_eq!(tunnel.kind, beside.kind);
            assert!(tunnel.id.is_none() || tunnel.id == beside.id);
            assert!(tunnel.packet.is_none() || beside.packet.is_some());
        }
    }
}

fn same_packet(cut: &Packet, whole: &Packet) {
    assert_eq!(
        (cut.source, cut.destination),
        (whole.source, whole.destination)
    );
    assert_eq!((cut.tos, cut.length), (whole.tos, whole.length));
    let (cut, whole) = (cut.transport, whole.transport);
    assert!(cut.ports.is_none() || cut.ports == whole.ports);
    assert!(cut.tcp_flags.is_none() || cut.tcp_flags == whole.tcp_flags);
    assert!(cut.icmp.is_none() || cut.icmp == whole.icmp);
}

fn check(frame: &Frame, octets: usize) {
    assert!(frame.macs.is_none() || octets >= 12);
    assert!(frame.vlans.as_slice().len() <= MAX_VLANS);
    assert!(frame.labels.as_slice().len() <= MAX_LABELS.min(octets / 4));
    let Some(packet) = frame.packet else {
        assert_eq!(frame.tunnel, None, "a tunnel in nothing");
        return;
    };
    assert!(octets >= 20, "an IP header in {octets} octets");
    for packet in [Some(packet), frame.tunnel.and_then(|tunnel| tunnel.packet)]
        .into_iter()
        .flatten()
    {
        assert_eq!(packet.source.is_ipv4(), packet.destination.is_ipv4());
        assert!(packet.flow_label.is_none() || packet.source.is_ipv6());
        let transport = packet.transport;
        assert!(transport.tcp_flags.is_none() || packet.protocol == 6);
        assert!(transport.ports.is_none() || transport.icmp.is_none());
        let is_later = packet.fragment_offset.is_some_and(|offset| offset > 0);
        assert!(!is_later || transport == netflow_wire::frame::Transport::default());
    }
}
