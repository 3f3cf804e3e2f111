use proptest::prelude::*;

use super::*;

fn field() -> impl Strategy<Value = FieldSpecifier> {
    any::<(u32, u16, u16)>().prop_map(|(enterprise, element, length)| FieldSpecifier {
        enterprise,
        element,
        length,
    })
}

fn template() -> impl Strategy<Value = SavedTemplate> {
    let version = prop_oneof![Just(Version::V9), Just(Version::Ipfix)];
    let fields = prop::collection::vec(field(), 0..6);
    let scope = prop::option::of(0_usize..6);
    let place = (session(), any::<(u32, u64, u16)>());
    (version, place, scope, fields).prop_map(
        |(version, (session, (domain, refreshed, id)), scope, fields)| SavedTemplate {
            session,
            domain,
            refreshed: UnixNanos(refreshed),
            template: Template::new(version, id, scope, fields),
        },
    )
}

fn session() -> impl Strategy<Value = Session> {
    let transport = prop::sample::select(&Transport::ALL[..]);
    (transport, any::<u16>()).prop_map(|(transport, port)| Session { transport, port })
}

fn names<K: Arbitrary>() -> impl Strategy<Value = Vec<(K, Box<str>)>> {
    let name = "\\PC{0,12}".prop_map(Box::from);
    prop::collection::vec((any::<K>(), name), 0..4)
}

fn domain() -> impl Strategy<Value = SavedDomain> {
    let intervals = || prop::collection::vec(any::<(u64, u64)>(), 0..4);
    (
        any::<(Option<u32>, Option<u64>, Option<u64>)>(),
        [names(), names()],
        names(),
        [intervals(), intervals()],
    )
        .prop_map(
            |((domain, init_time, interval), names, applications, intervals)| {
                let [interfaces, vrfs] = names;
                let [samplers, interface_samplers] = intervals;
                SavedDomain {
                    domain,
                    init_time,
                    interval,
                    interfaces,
                    vrfs,
                    applications,
                    samplers,
                    interface_samplers,
                }
            },
        )
}

fn described() -> impl Strategy<Value = SavedType> {
    let code = prop::option::of(0_u8..20);
    (any::<(u32, u16)>(), "[a-z]{0,9}", code).prop_map(|((enterprise, element), name, code)| {
        SavedType {
            enterprise,
            element,
            name: name.into(),
            data_type: code.and_then(AbstractDataType::from_code),
        }
    })
}

fn named() -> impl Strategy<Value = SavedAgent> {
    (session(), any::<(u32, IpAddr)>()).prop_map(|(session, (domain, agent))| SavedAgent {
        session,
        domain,
        agent,
    })
}

fn saved() -> impl Strategy<Value = SavedExporter> {
    (
        any::<(IpAddr, u64)>(),
        prop::collection::vec(template(), 0..5),
        prop::collection::vec(domain(), 0..3),
        prop::collection::vec(named(), 0..3),
        prop::collection::vec(described(), 0..3),
    )
        .prop_map(
            |((address, seen), templates, domains, agents, types)| SavedExporter {
                address,
                seen: UnixNanos(seen),
                templates,
                domains,
                agents,
                types,
            },
        )
}

fn content(exporters: &[SavedExporter]) -> Vec<u8> {
    let mut octets = header().to_vec();
    for saved in exporters {
        octets.extend(exporter(saved));
    }
    octets
}

fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    content.extend(trailer(crc32fast::hash(&content)));
    content
}

proptest! {
    #[test]
    fn what_was_written_is_read(exporters in prop::collection::vec(saved(), 0..4)) {
        prop_assert_eq!(read(&sealed(content(&exporters))), Ok(exporters));
    }

    #[test]
    fn one_wrong_octet_is_noticed(
        exporters in prop::collection::vec(saved(), 0..3),
        at in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let mut octets = sealed(content(&exporters));
        let at = at.index(octets.len());
        octets[at] ^= change;
        prop_assert!(read(&octets).is_err());
    }

    /// A checksum protects from accidents, not from people: then the content has to be borne, too.
    #[test]
    fn hostile_content_with_a_good_checksum_never_panics_nor_balloons(
        exporters in prop::collection::vec(saved(), 1..3),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut octets = content(&exporters);
        let body = HEADER..octets.len();
        for (at, value) in changes {
            let at = body.start + at.index(body.len());
            octets[at] = value;
        }
        let length = octets.len();
        if let Ok(exporters) = read(&sealed(octets)) {
            let items: usize = exporters
                .iter()
                .map(|saved| {
                    let told = saved.domains.len() + saved.agents.len() + saved.types.len();
                    saved.templates.len() + told
                })
                .sum();
            prop_assert!(items <= length);
        }
    }

    #[test]
    fn octets_of_any_kind_never_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(read(&octets).is_err());
        let mut content = header().to_vec();
        content.extend(octets);
        let _ = read(&sealed(content));
    }
}

#[test]
fn a_file_cut_anywhere_is_damaged() {
    let saved = SavedExporter {
        address: "192.0.2.1".parse().unwrap(),
        seen: UnixNanos(7),
        templates: vec![SavedTemplate {
            session: Session::udp(2055),
            domain: 1,
            refreshed: UnixNanos(6),
            template: Template::new(Version::V9, 256, None, vec![FieldSpecifier::iana(8, 4)]),
        }],
        domains: vec![SavedDomain::default()],
        agents: Vec::new(),
        types: Vec::new(),
    };
    let octets = sealed(content(&[saved.clone(), saved]));
    for length in 0..octets.len() {
        assert!(read(&octets[..length]).is_err(), "cut after {length}");
    }
    assert_eq!(read(&octets).map(|exporters| exporters.len()), Ok(2));
    // Octets beyond the end.
    let longer = [&octets[..], &[0]].concat();
    assert_eq!(read(&longer), Err(Damage::Checksum));
}

#[test]
fn a_file_of_the_version_before_is_read_and_all_its_sessions_are_of_udp() {
    let saved = SavedExporter {
        address: "192.0.2.1".parse().unwrap(),
        seen: UnixNanos(7),
        templates: vec![SavedTemplate {
            session: Session::udp(2055),
            domain: 1,
            refreshed: UnixNanos(6),
            template: Template::new(Version::V9, 256, None, vec![FieldSpecifier::iana(8, 4)]),
        }],
        domains: Vec::new(),
        agents: vec![SavedAgent {
            session: Session::udp(2056),
            domain: 1,
            agent: "192.0.2.2".parse().unwrap(),
        }],
        types: Vec::new(),
    };
    let mut body = exporter(&saved);
    // What this version has before each port.
    let (template, agent) = (4 + 5 + 8 + 4 + 2, body.len() - 4 - 5 - 4 - 2 - 1);
    assert_eq!([body[template], body[agent]], [0, 0]);
    body.remove(agent);
    body.remove(template);
    let length = u32::try_from(body.len() - 4).unwrap();
    body[..4].copy_from_slice(&length.to_be_bytes());
    let mut before = [&header()[..], &body].concat();
    before[9] = 2;
    assert_eq!(read(&sealed(before)), Ok(vec![saved]));
}

#[test]
fn each_damage_has_its_name() {
    assert_eq!(read(b""), Err(Damage::NotAStore));
    assert_eq!(read(b"something else altogether"), Err(Damage::NotAStore));
    let mut later = header().to_vec();
    later[9] = 4;
    assert_eq!(read(&sealed(later)), Err(Damage::Version(4)));
    assert_eq!(read(&header()), Err(Damage::Checksum));
    let mut numbers = header().to_vec();
    numbers.extend(u32::MAX.to_be_bytes());
    assert_eq!(read(&sealed(numbers)), Err(Damage::Malformed(HEADER)));
    assert_eq!(read(&sealed(header().to_vec())), Ok(Vec::new()));
}
