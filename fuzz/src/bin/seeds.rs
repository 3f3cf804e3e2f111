//! Writes the seeds of every target into `corpus/TARGET`: `cargo run --bin seeds --features seeds` in the fuzz folder.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use netflow_wire::sflow::{DataSource, FlowRecord, RawHeader};
use netflow_wire::write::{
    Field, IpfixHeader, ListSemantic, MessageWriter, SflowHeader, SflowSample, SflowWriter,
    V1Header, V1Record, V5Header, V5Record, V7Header, V7Record, V9Header, v1, v5, v7,
};
use netflow2traces::config::{self, Machine, Purpose, Sources};
use netflow2traces::translate::{Datagram, Ids, Translator};
use netflow2traces::deliver::spool::format::{
    EntryHeader, NOTE, NOTE_PLACES, Note, Position, SegmentHeader,
};
use netflow2traces_fuzz::sequence::{Step, push};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlp_wire::{EncodedBatch, UnixNanos};
use prost::Message as _;

const SECONDS: u32 = 1_700_000_000;
const UPTIME_MS: u32 = 1_000_000;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = root.join("corpus");
    let mut sequences = vec![hand_made()];
    for capture in ["softflowd-v5", "softflowd-v9", "softflowd-ipfix"] {
        let path = root.join(format!("../testdata/captures/{capture}.pcap"));
        // A few datagrams of each: the fuzzer makes its own of them.
        sequences.push(datagrams(&fs::read(path)?).into_iter().take(4).collect());
    }
    for (index, sequence) in sequences.iter().enumerate() {
        for (datagram, octets) in sequence.iter().enumerate() {
            write(&corpus, "message", &format!("{index}-{datagram}"), octets)?;
        }
        let mut steps = Vec::new();
        for octets in sequence {
            push(
                &mut steps,
                &Step {
                    port: 1,
                    seconds: 1,
                    flags: 0,
                    octets,
                },
            );
        }
        write(&corpus, "session", &index.to_string(), &steps)?;
        for (number, octets) in requests(sequence).iter().enumerate() {
            // Alone, and 16 times a little different.
            for choice in [0, 4 << 2 | 2] {
                let input = [&[choice][..], octets].concat();
                write(
                    &corpus,
                    "gzip",
                    &format!("{index}-{number}-{choice}"),
                    &input,
                )?;
            }
        }
        for choice in [0, 2, 4] {
            let input = [&[choice][..], &steps].concat();
            write(&corpus, "translate", &format!("{index}-{choice}"), &input)?;
        }
    }
    for (index, octets) in responses().iter().enumerate() {
        write(&corpus, "otlp_response", &index.to_string(), octets)?;
    }
    for (name, octets) in captures(&sequences)? {
        write(&corpus, "pcap", name, &octets)?;
    }
    write(&corpus, "sflow", "datagram", &sflow())?;
    for (index, octets) in headers().iter().enumerate() {
        write(&corpus, "sflow", &format!("header-{index}"), octets)?;
    }
    for (name, octets) in spool() {
        write(&corpus, "spool_segment", name, &octets)?;
    }
    Ok(())
}

/// What becomes of datagrams.
fn requests(datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let sources = Sources::collect(vec![], &[("OTEL_TRACES_EXPORTER", "none")]);
    let loaded = config::load(Purpose::Run, &sources, &Machine::read());
    let config = loaded.expect("defaults are sound").config.translate;
    let wall = || UnixNanos(u64::from(SECONDS) * 1_000_000_000);
    let mut translator = Translator::new(&config, wall, Ids::new([7; 32]));
    let now = Instant::now();
    for octets in datagrams {
        let datagram = Datagram {
            octets,
            source: SocketAddr::from(([192, 0, 2, 1], 2055)),
            received_at: wall(),
        };
        translator.on_datagram(&datagram, now);
    }
    translator.flush();
    std::iter::from_fn(|| translator.poll_batch(now))
        .map(|batch| batch.octets.to_vec())
        .collect()
}

/// A segment of three batches, a file with both notes, and batches to be cut and changed.
fn spool() -> [(&'static str, Vec<u8>); 3] {
    let segment = SegmentHeader { number: 7, salt: 8 };
    let mut file = segment.encode().to_vec();
    for octets in [&b"one"[..], b"", b"BTCH three"] {
        let batch = EncodedBatch {
            octets: octets.to_vec().into(),
            flow_spans: 1,
            work_spans: 3,
            oldest: UnixNanos(5),
            receipt: None,
        };
        let header = EntryHeader::of(&batch, UnixNanos(6)).expect("a short batch");
        file.extend(header.encode(&segment, file.len() as u64));
        file.extend(octets);
    }
    let mut notes = vec![0; NOTE_PLACES[1] as usize + NOTE];
    for sequence in [4, 5] {
        let settled = Position {
            segment: 7,
            offset: 32,
        };
        let note = Note { sequence, settled };
        let at = note.place() as usize;
        notes[at..at + NOTE].copy_from_slice(&note.encode());
    }
    let changes = [&[200, 0, 90, 0, 1][..], b"first\0second\0third"].concat();
    [("segment", file), ("notes", notes), ("changes", changes)]
}

fn write(corpus: &Path, target: &str, name: &str, octets: &[u8]) -> io::Result<()> {
    let folder = corpus.join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(format!("seed-{name}")), octets)
}

/// UDP payloads of a classic capture of IPv4 over Ethernet.
fn datagrams(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &file[24..];
    let mut found = Vec::new();
    while let Some(header) = rest.first_chunk::<16>() {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        found.push(rest[16 + 14 + 20 + 8..16 + length].to_vec());
        rest = &rest[16 + length..];
    }
    found
}

fn hand_made() -> Vec<Vec<u8>> {
    let flow = V5Record {
        source: [192, 0, 2, 1].into(),
        destination: [198, 51, 100, 2].into(),
        packets: 3,
        octets: 180,
        first_ms: UPTIME_MS - 900,
        last_ms: UPTIME_MS - 100,
        protocol: 1,
        destination_port: 0x0800,
        ..V5Record::default()
    };
    let header = V5Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: SECONDS,
        sampling_mode: 1,
        sampling_interval: 100,
        ..V5Header::default()
    };
    let v7_header = V7Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: SECONDS,
        ..V7Header::default()
    };
    let v1_header = V1Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: SECONDS,
        ..V1Header::default()
    };
    vec![
        v5(&header, &[flow, flow]).expect("fits"),
        v7(
            &v7_header,
            &[V7Record {
                flow,
                ..V7Record::default()
            }],
        )
        .expect("fits"),
        v1(&v1_header, &[V1Record::default()]).expect("fits"),
        v9(true),
        v9(false),
        ipfix(true),
        ipfix(false),
        ipfix_lists(),
        sflow(),
    ]
}

fn v9(with_templates: bool) -> Vec<u8> {
    let mut message = MessageWriter::v9(V9Header {
        sys_uptime_ms: UPTIME_MS,
        unix_secs: SECONDS,
        ..V9Header::default()
    });
    let fields = [
        (8, 4),
        (12, 4),
        (7, 2),
        (11, 2),
        (4, 1),
        (10, 2),
        (1, 4),
        (2, 4),
        (22, 4),
        (21, 4),
        (48, 1),
    ];
    let fields = fields.map(|(element, length)| Field::new(element, length));
    let scope = [Field::new(2, 2)];
    let options = [Field::new(82, 8), Field::new(48, 1), Field::new(50, 4)];
    if with_templates {
        message
            .template(256, &fields)
            .options_template(257, &scope, &options);
    } else {
        message
            .declare(256, &fields)
            .declare(257, &[&scope[..], &options].concat());
    }
    message
        .data_set(257, |set| {
            set.record(|record| {
                record.u16(3).text("Gi0/3", 8).u8(1).u32(128);
            });
        })
        .data_set(256, |set| {
            for port in [80, 443] {
                set.record(|record| {
                    record
                        .ipv4([192, 0, 2, 1])
                        .ipv4([198, 51, 100, 2])
                        .u16(50_000)
                        .u16(port);
                    record
                        .u8(6)
                        .u16(3)
                        .u32(1500)
                        .u32(2)
                        .u32(UPTIME_MS - 900)
                        .u32(UPTIME_MS)
                        .u8(1);
                });
            }
        });
    message.finish().expect("fits")
}

fn ipfix(with_templates: bool) -> Vec<u8> {
    let mut message = MessageWriter::ipfix(IpfixHeader {
        export_time: SECONDS,
        observation_domain: 7,
        ..IpfixHeader::default()
    });
    let fields = [
        Field::new(27, 16),
        Field::new(28, 16),
        Field::new(4, 1),
        Field::new(1, 3),
        Field::reverse(1, 4),
        Field::new(152, 8),
        Field::new(157, 8),
        Field::variable(96),
        Field::enterprise(9, 12, 2),
    ];
    let scope = [Field::new(346, 4), Field::new(303, 2)];
    let options = [Field::new(339, 1), Field::variable(341)];
    if with_templates {
        message
            .template(256, &fields)
            .options_template(257, &scope, &options)
            .withdraw(300);
    } else {
        message
            .declare(256, &fields)
            .declare(257, &[&scope[..], &options].concat());
    }
    let end = u64::from(SECONDS) * 1000;
    message
        .data_set(257, |set| {
            set.record(|record| {
                record.u32(9).u16(12).u8(2).variable(b"vendorNumber");
            });
        })
        .data_set(256, |set| {
            set.record(|record| {
                record
                    .ipv6(1_u128 << 100 | 1)
                    .ipv6(2_u128)
                    .u8(17)
                    .uint(1500, 3)
                    .u32(60);
                record
                    .u64(end - 500)
                    .u64((u64::from(SECONDS) + 2_208_988_800) << 32);
                record.variable(b"dns").u16(5);
            });
        });
    message.finish().expect("fits")
}

fn ipfix_lists() -> Vec<u8> {
    let mut message = MessageWriter::ipfix(IpfixHeader {
        export_time: SECONDS,
        ..IpfixHeader::default()
    });
    let inner = [Field::new(8, 4), Field::new(7, 2)];
    let fields = [
        Field::new(4, 1),
        Field::variable(291),
        Field::variable(292),
        Field::variable(293),
    ];
    message
        .template(258, &inner)
        .template(259, &fields)
        .data_set(259, |set| {
            set.record(|record| {
                record
                    .u8(6)
                    .basic_list(ListSemantic::AllOf, Field::new(10, 2), |list| {
                        list.u16(1).u16(2);
                    })
                    .sub_template_list(ListSemantic::Ordered, 258, |list| {
                        list.ipv4([192, 0, 2, 1]).u16(80);
                    })
                    .sub_template_multi_list(ListSemantic::Undefined, |list| {
                        list.template(258, |record| {
                            record.ipv4([192, 0, 2, 2]).u16(443);
                        });
                    });
            });
        });
    message.finish().expect("fits")
}

fn sflow() -> Vec<u8> {
    let frame = [
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 7, 8, 0, // Ethernet, 802.1Q
        0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, // IPv4
        0xc3, 0x50, 1, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0, // TCP
    ];
    let header = RawHeader {
        protocol: 1,
        frame_length: 1518,
        stripped: 4,
        octets: &frame,
    };
    let sample = SflowSample {
        sampling_rate: 1000,
        source: DataSource { kind: 0, index: 1 },
        ..SflowSample::default()
    };
    let mut datagram = SflowWriter::new(&SflowHeader::default());
    datagram
        .flow(&sample, |records| {
            records.record(&FlowRecord::RawHeader(header));
        })
        .counters(1, DataSource { kind: 0, index: 1 });
    datagram.finish().expect("fits")
}

/// Files of every format, with what is told apart by it: fragments, tags, either byte order.
fn captures(sequences: &[Vec<Vec<u8>>]) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    let datagram = &sequences[0][0];
    let udp = [
        &[0x07, 0xd0, 0x08, 0x07][..],
        &(datagram.len() as u16 + 8).to_be_bytes(),
        &[0, 0],
        datagram,
    ]
    .concat();
    let ip = |flags: u16, body: &[u8]| {
        let [high, low] = (body.len() as u16 + 20).to_be_bytes();
        let [more, offset] = flags.to_be_bytes();
        let header = [
            0x45, 0, high, low, 0, 9, more, offset, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
        ];
        [&header[..], body].concat()
    };
    let tagged = [
        &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0, 7, 8, 0][..],
        &ip(0, &udp),
    ]
    .concat();
    let mut ipv6 = vec![0x60, 0, 0, 0];
    ipv6.extend((udp.len() as u16 + 8).to_be_bytes());
    ipv6.extend([60, 64]);
    ipv6.extend([[0x20; 16], [0x21; 16]].concat());
    ipv6.extend([17, 0, 1, 4, 0, 0, 0, 0]);
    ipv6.extend(&udp);
    let parts = [ip(0x2000, &udp[..24]), ip(3, &udp[24..])];

    let classic = |link: u32, packets: &[&[u8]]| {
        let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, link];
        let mut file: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        for packet in packets {
            let length = packet.len() as u32;
            file.extend(
                [SECONDS, 5, length, length]
                    .iter()
                    .flat_map(|word| word.to_le_bytes()),
            );
            file.extend(*packet);
        }
        file
    };
    let block = |kind: u32, body: &[u8]| {
        let length = (body.len().next_multiple_of(4) as u32 + 12).to_be_bytes();
        let mut block = [&kind.to_be_bytes()[..], &length, body].concat();
        block.resize(block.len().next_multiple_of(4), 0);
        block.extend(length);
        block
    };
    let enhanced = [
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5][..],
        &(tagged.len() as u32).to_be_bytes(),
        &(tagged.len() as u32).to_be_bytes(),
        &tagged,
    ]
    .concat();
    let next_generation = [
        block(
            0x0a0d_0d0a,
            &[
                0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
            ],
        ),
        block(
            1,
            &[0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0],
        ),
        block(5, &[0; 16]),
        block(6, &enhanced),
    ]
    .concat();
    let plain = classic(1, &[&tagged]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&plain)?;
    let hex: String = datagram
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    Ok(vec![
        ("tagged", plain),
        ("gzip", gzip.finish()?),
        ("raw", classic(101, &[&parts[1], &ipv6, &parts[0]])),
        ("next-generation", next_generation),
        ("messages", [ipfix(true), ipfix(false)].concat()),
        ("hex", format!("# datagrams\n0x{hex}\n{hex}").into_bytes()),
    ])
}

/// Sampled headers behind the octet that names their link.
fn headers() -> Vec<Vec<u8>> {
    let inner = [
        0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 2, // IPv4
        0xc3, 0x50, 1, 0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0, // TCP
    ];
    let vxlan = [
        &[
            3, 0x45, 0, 0, 90, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 3, 192, 0, 2, 4,
        ][..],
        &[0xc0, 0, 0x12, 0xb5, 0, 70, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0],
        &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0],
        &inner,
    ]
    .concat();
    let mut six = vec![1, 0xff, 3, 0, 0x57, 0x60, 0, 0, 1, 0, 24, 44, 64];
    six.extend([0x20; 32]);
    six.extend([
        60, 0, 0, 0, 0, 0, 0, 1, 58, 0, 1, 4, 0, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0,
    ]);
    vec![
        [&[2, 0, 1, 0, 0x40, 0, 2, 1, 0x40][..], &inner].concat(),
        vxlan,
        six,
    ]
}

fn responses() -> Vec<Vec<u8>> {
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 3,
            error_message: "too old".to_owned(),
        }),
    };
    let span = |name: &str, id: u8| Span {
        name: name.to_owned(),
        trace_id: vec![1; 16],
        span_id: vec![id; 8],
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        ..Span::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            scope_spans: vec![ScopeSpans {
                spans: vec![span("netflow.export", 1), span("netflow.flow", 2)],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    // google.rpc.Status: code 8, a message, details with a RetryInfo of 2.5 s.
    let mut delay = vec![0x08, 2, 0x10];
    prost::encoding::encode_varint(500_000_000, &mut delay);
    let info = [&[0x0a, delay.len() as u8][..], &delay].concat();
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let any = [
        &[0x0a, url.len() as u8][..],
        url,
        &[0x12, info.len() as u8],
        &info,
    ]
    .concat();
    let status = [
        &[0x08, 8, 0x12, 4][..],
        b"slow",
        &[0x1a, any.len() as u8],
        &any,
    ]
    .concat();
    vec![
        partial.encode_to_vec(),
        br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#.to_vec(),
        br#"{"code":8,"message":"slow down","details":[]}"#.to_vec(),
        status,
        b"CAgSBHNsb3c=".to_vec(),
        request.encode_to_vec(),
    ]
}
