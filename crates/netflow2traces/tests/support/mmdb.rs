//! Small databases of MaxMind's format, written from its public specification (maxmind.github.io/MaxMind-DB): version 2.0,
//! a tree of IPv6 with IPv4 below `::/96`, records of 32 bits.

use ipnet::IpNet;

/// What separates the tree from the data.
const SEPARATOR: usize = 16;

/// A value of a record.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Text(&'static str),
    Number(u32),
    Map(Vec<(&'static str, Self)>),
}

/// A branch of a node.
#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(usize),
    Record(usize),
}

/// A country as MaxMind's databases have it.
pub(crate) fn country(code: &'static str) -> Data {
    Data::Map(vec![(
        "country",
        Data::Map(vec![("iso_code", Data::Text(code))]),
    )])
}

/// An autonomous system as MaxMind's databases have it.
pub(crate) fn system(number: u32, organization: &'static str) -> Data {
    Data::Map(vec![
        ("autonomous_system_number", Data::Number(number)),
        ("autonomous_system_organization", Data::Text(organization)),
    ])
}

/// A database of these networks; longer prefixes win.
pub(crate) fn database(networks: &[(&str, Data)]) -> Vec<u8> {
    let parsed = networks.iter().zip(0..).map(|((network, _), record)| {
        let network: IpNet = network.parse().expect("a network");
        (network, record)
    });
    let mut parsed: Vec<(IpNet, usize)> = parsed.collect();
    parsed.sort_by_key(|(network, _)| network.prefix_len());
    let mut nodes = vec![[Branch::Nothing; 2]];
    for (network, record) in parsed {
        let (bits, length) = match network {
            IpNet::V4(network) => {
                let bits = u128::from(network.network().to_bits());
                (bits, 96 + u32::from(network.prefix_len()))
            }
            IpNet::V6(network) => (network.network().to_bits(), u32::from(network.prefix_len())),
        };
        insert(&mut nodes, bits, length, record);
    }
    let mut data = Vec::new();
    let mut offsets = Vec::new();
    for (_, record) in networks {
        offsets.push(data.len());
        write(record, &mut data);
    }
    let count = nodes.len();
    let mut octets = Vec::new();
    for branch in nodes.iter().flatten() {
        let value = match branch {
            Branch::Nothing => count,
            Branch::Node(node) => *node,
            Branch::Record(record) => count + SEPARATOR + offsets[*record],
        };
        octets.extend(u32::try_from(value).expect("it is small").to_be_bytes());
    }
    octets.extend([0; SEPARATOR]);
    octets.extend(data);
    octets.extend(b"\xab\xcd\xefMaxMind.com");
    metadata(u32::try_from(count).expect("it is small"), &mut octets);
    octets
}

fn insert(nodes: &mut Vec<[Branch; 2]>, bits: u128, length: u32, record: usize) {
    let mut at = 0;
    for depth in 0..length {
        let side = usize::from(bits >> (127 - depth) & 1 == 1);
        if depth + 1 == length {
            nodes[at][side] = Branch::Record(record);
            return;
        }
        at = match nodes[at][side] {
            Branch::Node(node) => node,
            // What holds for the whole holds for both halves.
            whole => {
                nodes.push([whole; 2]);
                nodes[at][side] = Branch::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
}

fn metadata(nodes: u32, out: &mut Vec<u8>) {
    control(7, 9, out);
    for (key, number) in [
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
        ("ip_version", 6),
        ("record_size", 32),
    ] {
        text(key, out);
        // Of 16 bits.
        control(5, 2, out);
        out.extend(u16::to_be_bytes(number));
    }
    text("node_count", out);
    write(&Data::Number(nodes), out);
    text("build_epoch", out);
    // Of 64 bits, which is an extended type.
    out.extend([8, 2]);
    out.extend(1_700_000_000_u64.to_be_bytes());
    text("database_type", out);
    text("Test", out);
    text("languages", out);
    // An empty array, which is an extended type.
    out.extend([0, 4]);
    text("description", out);
    write(&Data::Map(vec![("en", Data::Text("made for a test"))]), out);
}

fn write(value: &Data, out: &mut Vec<u8>) {
    match value {
        Data::Text(value) => text(value, out),
        Data::Number(number) => {
            control(6, 4, out);
            out.extend(number.to_be_bytes());
        }
        Data::Map(entries) => {
            control(7, entries.len(), out);
            for (key, value) in entries {
                text(key, out);
                write(value, out);
            }
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    control(2, text.len(), out);
    out.extend(text.as_bytes());
}

/// Type and length.
fn control(kind: u8, length: usize, out: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(short) if short < 29 => out.push(kind << 5 | short),
        _ => {
            let rest = u8::try_from(length - 29).expect("texts of tests are short");
            out.extend([kind << 5 | 29, rest]);
        }
    }
}
