//! Captures without flow export, and files that are no captures: what they hold is named.

use std::process::Command;

use tempfile::TempDir;

use super::{capture, decode, decode_stdin, written};

fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[0; 12][..], &ether_type.to_be_bytes(), payload].concat()
}

fn ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(total.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 9]);
    packet.extend(payload);
    ethernet(0x0800, &packet)
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let header = [source, destination, length, 0]
        .map(u16::to_be_bytes)
        .concat();
    ip(17, &[&header, payload].concat())
}

fn tcp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let ports = [source, destination].map(u16::to_be_bytes).concat();
    let rest = [0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x18, 0, 0, 0, 0, 0, 0];
    ip(6, &[&ports, &rest[..], payload].concat())
}

/// A TCP segment with a sequence number and flags.
pub(super) fn segment(sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut octets = [40_000_u16, 4_739].map(u16::to_be_bytes).concat();
    octets.extend(sequence.to_be_bytes());
    octets.extend([0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    octets.extend(payload);
    ip(6, &octets)
}

pub(super) fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1]
        .map(u32::to_le_bytes)
        .concat();
    for frame in frames {
        let length = frame.len() as u32;
        file.extend(
            [1_700_000_000, 0, length, length]
                .map(u32::to_le_bytes)
                .concat(),
        );
        file.extend(frame);
    }
    file
}

#[test]
fn what_a_capture_holds_instead_of_flows_is_named() {
    let v8 = [&[0, 8, 0, 1][..], &[0; 18], &[5], &[0; 33]].concat();
    for (frame, named) in [
        (
            udp(514, 514, b"<34>Oct 11 22:14:15 router: x"),
            "syslog: 2 packets, first frame 1 from 192.0.2.1:514",
        ),
        (
            udp(9, 162, b"\x30\x26\x02\x01\x01\x04\x06public"),
            "SNMP: 2 packets",
        ),
        (udp(9, 2055, &v8), "NetFlow v8: 2 packets"),
        (
            udp(9, 6343, &[0, 0, 0, 4, 0, 0, 0, 1, 192, 0, 2, 1]),
            "sFlow v4 or older: 2 packets",
        ),
        (
            udp(9, 53, &[0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]),
            "DNS: 2 packets",
        ),
        (
            udp(9, 4242, b"something"),
            "unknown datagrams to UDP port 4242: 2 packets",
        ),
        (
            tcp(40_000, 80, b"GET / HTTP/1.1\r\n"),
            "HTTP: 2 packets, first frame 1",
        ),
        (tcp(443, 40_000, b""), "TLS: 2 packets"),
        (
            tcp(40_000, 4739, b"\0\x0a\0\x10"),
            "IPFIX over TCP, of which no message begins in a segment of the capture: 2 packets",
        ),
        (tcp(22, 40_000, b"x"), "TCP port 22: 2 packets"),
        (ip(1, &[8, 0, 0, 0]), "ICMP: 2 packets"),
        (ethernet(0x0806, &[0; 28]), "ARP: 2 packets"),
        (
            ethernet(38, &[0; 38]),
            "802.3 frames such as spanning tree or CDP: 2 packets",
        ),
    ] {
        let ended = decode_stdin(["-"], &pcap(&[frame.clone(), frame]));
        ended.tells(
            2,
            "nothing to decode: no NetFlow, IPFIX or sFlow was found; the capture contains:\n",
        );
        ended.tells(2, named);
        assert!(ended.stdout.is_empty());
    }
    decode_stdin(["-"], &pcap(&[])).tells(
        2,
        "nothing to decode: no NetFlow, IPFIX or sFlow was found\n",
    );
}

#[test]
fn packets_that_can_not_be_read_have_their_reason_also_where_nothing_is_decoded() {
    let v5 = udp(9, 2055, &[&[0, 5, 0, 1][..], &[0; 68]].concat());
    let mut wireless = pcap(&[v5.clone(), v5.clone()]);
    wireless[20] = 105;
    decode_stdin(["-"], &wireless).tells(
        2,
        "not read:\n  packets with link type 105, which is not supported: 2, first frame 1\n",
    );
    // Of each packet only the beginning was captured.
    let mut cut = pcap(&[]);
    cut.extend([0; 8]);
    cut.extend(20_u32.to_le_bytes());
    cut.extend(u32::try_from(v5.len()).unwrap().to_le_bytes());
    cut.extend(&v5[..20]);
    decode_stdin(["-"], &cut).tells(
        2,
        "capture with a larger snapshot length): 1, first frame 1",
    );
}

#[test]
fn flows_beside_other_traffic_are_decoded_and_the_rest_is_named() {
    let v1 = [&[0, 1, 0, 0][..], &[0; 12]].concat();
    let file = pcap(&[udp(1, 2055, &v1), udp(514, 514, b"<34>x")]);
    let ended = decode_stdin(["-"], &file);
    ended.tells(
        1,
        "datagrams that are not flow messages (--port excludes other traffic): 1\n",
    );
    ended.tells(1, "the capture also contains: syslog (1)");
    decode_stdin(["--port", "2055", "-"], &file).tells(0, "excluded by --port: 1 UDP payload");
}

#[test]
fn a_text_file_is_called_that() {
    let folder = TempDir::new().unwrap();
    let name = written(&folder, "notes.txt", b"Things to do today:\n- sleep\n");
    let ended = decode([&*name]);
    ended.tells(
        2,
        "notes.txt: it is a text file, not a capture; it begins with \"Things to do today:\"\n",
    );
    assert!(
        !ended.stderr.contains("nothing to decode"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_capture_without_a_command_gets_a_hint() {
    for name in [&*capture("softflowd-v5"), "absent.pcapng", "Absent.PCAP.gz"] {
        let ended = Command::new(env!("CARGO_BIN_EXE_netflow2traces"))
            .arg(name)
            .env_clear()
            .output()
            .unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        let hint = format!("tip: to see what is in a capture: netflow2traces decode {name}\n");
        assert!(stderr.contains(&hint), "{stderr}");
        assert_eq!(ended.status.code(), Some(2));
    }
    let ended = Command::new(env!("CARGO_BIN_EXE_netflow2traces"))
        .arg("frobnicate")
        .env_clear()
        .output()
        .unwrap();
    assert!(!String::from_utf8(ended.stderr).unwrap().contains("capture"));
}
