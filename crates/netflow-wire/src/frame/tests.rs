use proptest::prelude::*;

use super::*;

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
const LINKS: [LinkType; 4] = [
    LinkType::Ethernet,
    LinkType::Ppp,
    LinkType::Mpls,
    LinkType::Ip,
];

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = 20 + payload.len() as u16;
    let mut octets = vec![0x45, 0x28];
    octets.extend_from_slice(&length.to_be_bytes());
    octets.extend_from_slice(&[0, 1, 0, 0, 61, protocol, 0, 0]);
    octets.extend_from_slice(&[192, 0, 2, 1, 198, 51, 100, 2]);
    octets.extend_from_slice(payload);
    octets
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = vec![0x62, 0x81, 0x23, 0x45];
    octets.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    octets.extend_from_slice(&[next, 64]);
    octets.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    octets.extend_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    octets.extend_from_slice(payload);
    octets
}

fn ethernet(tags: &[u8], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut octets = MACS.to_vec();
    octets.extend_from_slice(tags);
    octets.extend_from_slice(&ethertype.to_be_bytes());
    octets.extend_from_slice(payload);
    octets
}

/// Ports 51000 and 443, sequence and acknowledgement, 5 words, SYN and ACK.
const TCP: [u8; 14] = [0xc7, 0x38, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12];
/// Ports 51000 and 53, length, checksum.
const UDP: [u8; 8] = [0xc7, 0x38, 0, 53, 0, 8, 0, 0];

fn read(link: LinkType, octets: &[u8]) -> Packet {
    Frame::read(link, octets).packet.expect("a packet")
}

#[test]
fn ethernet_ipv4_tcp() {
    let frame = Frame::read(LinkType::Ethernet, &ethernet(&[], 0x0800, &ipv4(6, &TCP)));
    let macs = frame.macs.unwrap();
    assert_eq!(macs.source, [2, 0, 0, 0, 0, 1]);
    assert_eq!(macs.destination, [2, 0, 0, 0, 0, 2]);
    assert_eq!(frame.ethertype, Some(0x0800));
    assert!(frame.vlans.as_slice().is_empty());
    let packet = frame.packet.unwrap();
    assert_eq!(packet.source.to_string(), "192.0.2.1");
    assert_eq!(packet.destination.to_string(), "198.51.100.2");
    assert_eq!(
        (packet.protocol, packet.tos, packet.ttl),
        (6, 0x28, Some(61))
    );
    assert_eq!(packet.length, 34);
    assert_eq!(packet.fragment_offset, None);
    assert_eq!(packet.transport.ports, Some([51000, 443]));
    assert_eq!(packet.transport.tcp_flags, Some(0x12));
    assert_eq!(frame.tunnel, None);
}

#[test]
fn the_outermost_tags_are_kept() {
    let tags = [
        0x88, 0xa8, 0x20, 100, // 802.1ad, priority 1, service VLAN 100
        0x81, 0x00, 0x00, 200, // 802.1Q, customer VLAN 200
        0x81, 0x00, 0x00, 30, // a third one
    ];
    let frame = Frame::read(
        LinkType::Ethernet,
        &ethernet(&tags, 0x0800, &ipv4(17, &UDP)),
    );
    assert_eq!(frame.vlans.as_slice(), [100, 200]);
    assert_eq!(frame.packet.unwrap().transport.ports, Some([51000, 53]));
}

#[test]
fn snap_and_ppp_lead_to_ip() {
    let mut snap = vec![0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    snap.extend_from_slice(&ipv4(17, &UDP));
    let octets = ethernet(&[], snap.len() as u16, &snap);
    assert_eq!(read(LinkType::Ethernet, &octets).protocol, 17);
    let plain_llc = ethernet(&[], 3, &[0x42, 0x42, 3]);
    assert_eq!(Frame::read(LinkType::Ethernet, &plain_llc).packet, None);

    for front in [&[0xff, 3, 0, 0x57][..], &[0, 0x57], &[0x57]] {
        let octets = [front, &ipv6(17, &UDP)].concat();
        assert_eq!(read(LinkType::Ppp, &octets).protocol, 17, "{front:?}");
    }
    let mut pppoe = vec![0x11, 0, 0, 7, 0, 30, 0, 0x21];
    pppoe.extend_from_slice(&ipv4(17, &UDP));
    let octets = ethernet(&[], 0x8864, &pppoe);
    assert_eq!(read(LinkType::Ethernet, &octets).protocol, 17);
}

#[test]
fn labels_lead_to_ip() {
    let stack = [0x00, 0x01, 0x00, 0x40, 0x00, 0x02, 0x01, 0x40]; // 16, then 32 at the bottom
    let octets = [&stack[..], &ipv6(6, &TCP)].concat();
    let frame = Frame::read(LinkType::Mpls, &octets);
    assert_eq!(frame.labels.as_slice(), [16, 32]);
    assert_eq!(frame.packet.unwrap().transport.tcp_flags, Some(0x12));

    let endless = [0, 0, 0, 0].repeat(1000);
    let frame = Frame::read(LinkType::Mpls, &endless);
    assert_eq!(frame.labels.as_slice().len(), MAX_LABELS);
}

/// Ethernet over MPLS: behind the bottom of the stack a control word or none, then the customer's frame.
#[test]
fn a_pseudowire_of_ethernet_leads_to_its_packet() {
    let stack = [0x49, 0x3e, 0xc0, 0x3e, 0x00, 0x01, 0x11, 0x40]; // 300012, then 17 at the bottom
    let tag = [0x81, 0, 0, 101];
    for control_word in [&[][..], &[0, 0, 0, 0], &[0, 0, 1, 2]] {
        for tags in [&[][..], &tag] {
            let customer = ethernet(tags, 0x86dd, &ipv6(17, &UDP));
            let payload = [&stack[..], control_word, &customer].concat();
            let octets = ethernet(&[0x81, 0, 0, 5], 0x8847, &payload);
            let frame = Frame::read(LinkType::Ethernet, &octets);
            assert_eq!(frame.packet.unwrap().transport.ports, Some([51000, 53]));
            // Tags and EtherType are those outside.
            assert_eq!(frame.vlans.as_slice(), [5]);
            assert_eq!(frame.ethertype, Some(0x8847));
            assert_eq!(frame.labels.as_slice(), [300_012, 17]);
            for end in 0..octets.len() {
                let frame = Frame::read(LinkType::Ethernet, &octets[..end]);
                let ports = frame.packet.and_then(|packet| packet.transport.ports);
                assert!(matches!(ports, None | Some([51000, 53])), "{end}");
            }
        }
    }
    // What isn't Ethernet, or not with IP, gives no packet: EtherType and version must agree.
    for payload in [
        [&[0, 0, 0, 0][..], &MACS].concat(),
        [&[0, 0, 0, 0][..], &ethernet(&[], 0x0800, &ipv6(6, &TCP))].concat(),
        [&[0x10, 0, 0, 0x21][..], &ipv4(6, &TCP)].concat(),
    ] {
        let octets = [&stack[..], &payload].concat();
        assert_eq!(Frame::read(LinkType::Mpls, &octets).packet, None);
    }
}

#[test]
fn backbones_and_metadata_lead_to_ip() {
    let customer = ethernet(&[], 0x0800, &ipv4(6, &TCP));
    // 802.1ah: backbone VLAN 9, then the service's identifier.
    let backbone = [&[0, 0, 0x12, 0x34][..], &customer].concat();
    let octets = ethernet(&[0x88, 0xa8, 0, 9], 0x88e7, &backbone);
    let frame = Frame::read(LinkType::Ethernet, &octets);
    assert_eq!(frame.packet.unwrap().transport.ports, Some([51000, 443]));
    assert_eq!(frame.vlans.as_slice(), [9]);

    // Version 1, one word: security group 100; then IPv4.
    let metadata = [&[1, 1, 0, 1, 0, 100, 8, 0][..], &ipv4(6, &TCP)].concat();
    let octets = ethernet(&[], 0x8909, &metadata);
    let ports = read(LinkType::Ethernet, &octets).transport.ports;
    assert_eq!(ports, Some([51000, 443]));
    // Metadata of metadata is left alone.
    let endless = ethernet(&[], 0x8909, &[1, 0, 0x89, 0x09].repeat(500));
    assert_eq!(Frame::read(LinkType::Ethernet, &endless).packet, None);
}

#[test]
fn a_sample_may_end_anywhere() {
    let octets = ethernet(&[0x81, 0, 0, 5], 0x86dd, &ipv6(6, &TCP));
    for end in 0..octets.len() {
        let frame = Frame::read(LinkType::Ethernet, &octets[..end]);
        assert_eq!(frame.macs.is_some(), end >= 12);
        assert_eq!(frame.vlans.as_slice().len(), usize::from(end >= 16));
        assert_eq!(frame.packet.is_some(), end >= 58);
        if let Some(packet) = frame.packet {
            assert_eq!(packet.transport.ports.is_some(), end >= 62);
            assert_eq!(packet.transport.tcp_flags, None);
        }
    }
}

#[test]
fn options_are_stepped_over_and_padding_is_no_transport() {
    let mut options = ipv4(17, &[7, 4, 4, 0]); // Record Route, empty
    options[0] = 0x46;
    options[3] = 32;
    options.extend_from_slice(&UDP);
    assert_eq!(
        read(LinkType::Ip, &options).transport.ports,
        Some([51000, 53])
    );
    let mut padded = ipv4(17, &[]);
    padded.extend_from_slice(&[0; 26]);
    assert_eq!(read(LinkType::Ip, &padded).transport.ports, None);
    let mut short_header = ipv4(17, &UDP);
    short_header[0] = 0x44;
    assert_eq!(read(LinkType::Ip, &short_header).transport.ports, None);
}

#[test]
fn only_the_first_fragment_has_a_transport() {
    let mut first = ipv4(17, &UDP);
    first[6] = 0x20; // more fragments
    let packet = read(LinkType::Ip, &first);
    assert_eq!(packet.fragment_offset, Some(0));
    assert_eq!(packet.transport.ports, Some([51000, 53]));
    let mut later = ipv4(17, &UDP);
    later[7] = 185;
    let packet = read(LinkType::Ip, &later);
    assert_eq!(packet.fragment_offset, Some(185));
    assert_eq!(packet.transport.ports, None);

    // IPv6: a Fragment header with offset 8, then what would be ports.
    let fragment = [&[17, 0, 0, 0x41, 0, 0, 0, 1][..], &UDP].concat();
    let packet = read(LinkType::Ip, &ipv6(44, &fragment));
    assert_eq!((packet.protocol, packet.fragment_offset), (17, Some(8)));
    assert_eq!(packet.transport.ports, None);
}

#[test]
fn extension_headers_are_followed() {
    let chain = [
        &[60, 0, 1, 4, 0, 0, 0, 0][..], // Hop-by-Hop, 8 octets
        &[51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // Destination options, 16
        &[58, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // Authentication, 12
        &[128, 0, 0, 0],                // echo request
    ]
    .concat();
    let packet = read(LinkType::Ip, &ipv6(0, &chain));
    assert_eq!(
        (packet.protocol, packet.transport.icmp),
        (58, Some([128, 0]))
    );
    assert_eq!((packet.tos, packet.flow_label), (0x28, Some(0x12345)));
    assert_eq!(packet.length, 80);

    // A chain without end is cut at the bound.
    let endless = [60, 0, 0, 0, 0, 0, 0, 0].repeat(100);
    let packet = read(LinkType::Ip, &ipv6(60, &endless));
    assert_eq!(
        (packet.protocol, packet.transport),
        (60, Transport::default())
    );
}

#[test]
fn one_tunnel_is_looked_into() {
    let inner = ipv4(6, &TCP);
    let six = ipv6(17, &UDP);
    let tcp = Some([51000, 443]);
    let udp = Some([51000, 53]);
    let vxlan = |payload: &[u8]| {
        let header = [
            0xc0, 0, 0x12, 0xb5, 0, 0, 0, 0, // UDP to 4789
            0x08, 0, 0, 0, 0, 0x13, 0x88, 0, // VNI 5000
        ];
        ipv4(17, &[&header[..], &ethernet(&[], 0x0800, payload)].concat())
    };
    let geneve = [
        &[0xc0, 0, 0x17, 0xc1, 0, 0, 0, 0][..],      // UDP to 6081
        &[1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 4], // one word of options, VNI 7
        &ethernet(&[], 0x86dd, &six),
    ]
    .concat();
    let gre_key = [&[0x20, 0, 0x86, 0xdd, 0, 0, 0, 9][..], &six].concat();
    let cases = [
        (ipv4(4, &inner), TunnelKind::IpInIp, None, tcp),
        (ipv4(41, &six), TunnelKind::SixInFour, None, udp),
        (ipv6(4, &inner), TunnelKind::FourInSix, None, tcp),
        (ipv6(41, &six), TunnelKind::SixInSix, None, udp),
        (ipv4(47, &gre_key), TunnelKind::Gre, Some(9), udp),
        (vxlan(&inner), TunnelKind::Vxlan, Some(5000), tcp),
        (ipv6(17, &geneve), TunnelKind::Geneve, Some(7), udp),
    ];
    for (octets, kind, id, ports) in cases {
        let frame = Frame::read(LinkType::Ip, &octets);
        let tunnel = frame.tunnel.unwrap();
        assert_eq!((tunnel.kind, tunnel.id), (kind, id));
        assert_eq!(tunnel.packet.unwrap().transport.ports, ports, "{kind:?}");
    }
    // PPTP's GRE isn't followed.
    assert_eq!(
        Frame::read(LinkType::Ip, &ipv4(47, &[0x30, 1, 0x88, 0x0b])).tunnel,
        None
    );
}

#[test]
fn vxlan_on_the_port_of_linux_has_nothing_set_but_its_flag() {
    let vxlan = |port: u16, header: [u8; 8]| {
        let [high, low] = port.to_be_bytes();
        let udp = [0xc0, 0, high, low, 0, 0, 0, 0];
        let carried = ethernet(&[], 0x0800, &ipv4(6, &TCP));
        let octets = ipv4(17, &[&udp[..], &header, &carried].concat());
        let tunnel = Frame::read(LinkType::Ip, &octets).tunnel;
        tunnel.map(|tunnel| (tunnel.kind, tunnel.id))
    };
    let plain = Some((TunnelKind::Vxlan, Some(5000)));
    assert_eq!(vxlan(8472, [8, 0, 0, 0, 0, 0x13, 0x88, 0]), plain);
    for header in [
        [0, 0, 0, 0, 0, 0x13, 0x88, 0],
        [0x88, 0, 0, 0, 0, 0x13, 0x88, 0],
        [8, 0, 1, 0, 0, 0x13, 0x88, 0],
        [8, 0, 0, 0, 0, 0x13, 0x88, 1],
    ] {
        assert_eq!(vxlan(8472, header), None, "{header:?}");
    }
    // Group policies use reserved bits on the port that is VXLAN's own.
    assert_eq!(vxlan(4789, [0x88, 0, 0, 7, 0, 0x13, 0x88, 0]), plain);
    assert_eq!(vxlan(4789, [0, 0, 0, 0, 0, 0x13, 0x88, 0]), None);
}

#[test]
fn a_frame_is_as_long_as_its_headers_say_at_least() {
    let mut packet = ipv4(6, &TCP);
    packet[2..4].copy_from_slice(&1500_u16.to_be_bytes());
    let least = |link, octets: &[u8]| Frame::read(link, octets).least_octets();
    assert_eq!(least(LinkType::Ip, &packet), Some(1500));
    assert_eq!(
        least(LinkType::Ethernet, &ethernet(&[], 0x0800, &packet)),
        Some(1514)
    );
    let tagged = ethernet(&[0x81, 0, 0, 5], 0x0800, &packet);
    assert_eq!(least(LinkType::Ethernet, &tagged), Some(1518));
    assert_eq!(
        least(LinkType::Ethernet, &ethernet(&[], 0x0806, &packet)),
        None
    );
}

proptest! {
    #[test]
    fn any_octets_are_read(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        for link in LINKS {
            let frame = Frame::read(link, &octets);
            // An IP header has 20 octets at least.
            prop_assert!(frame.packet.is_none() || octets.len() >= 20);
        }
    }

    #[test]
    fn changed_and_cut_frames_are_read(
        at in 0_usize..140,
        value in any::<u8>(),
        end in 0_usize..140,
    ) {
        let chain = [&[44, 0, 1, 4, 0, 0, 0, 0][..], &[41, 0, 0, 0, 0, 0, 0, 1], &ipv6(6, &TCP)].concat();
        let mut octets = ethernet(&[0x81, 0, 0, 5], 0x86dd, &ipv6(0, &chain));
        if let Some(octet) = octets.get_mut(at) {
            *octet = value;
        }
        let end = end.min(octets.len());
        let whole = Frame::read(LinkType::Ethernet, &octets);
        let cut = Frame::read(LinkType::Ethernet, &octets[..end]);
        // A shorter sample never says more.
        prop_assert!(cut.packet.is_none() || whole.packet.is_some());
        prop_assert!(cut.tunnel.is_none() || whole.tunnel.is_some());
    }
}
