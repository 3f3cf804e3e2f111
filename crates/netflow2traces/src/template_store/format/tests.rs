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
    let place = (
        session(),
        any::<(u32, u64, u16)>(),
        any::<Option<(u32, u64)>>(),
    );
    (version, place, scope, fields).prop_map(
        |(version, (session, (domain, refreshed, id), uptime), scope, fields)| SavedTemplate {
            session,
            domain,
            refreshed: UnixNanos(refreshed),
            uptime: uptime.map(|(ms, export_time)| Uptime { ms, export_time }),
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

fn sampler() -> impl Strategy<Value = SavedSampler> {
    let of = any::<(u64, u64, bool)>().prop_flat_map(|(key, interface, egress)| {
        prop::sample::select(vec![
            SamplerOf::All,
            SamplerOf::Id(key),
            SamplerOf::Interface(interface),
            SamplerOf::IdAndInterface { id: key, interface },
            SamplerOf::Direction { interface, egress },
            SamplerOf::Template(key),
            SamplerOf::Part(key),
        ])
    });
    (of, any::<u64>()).prop_map(|(of, interval)| SavedSampler { of, interval })
}

fn domain() -> impl Strategy<Value = SavedDomain> {
    (
        any::<(Option<u32>, Option<u64>)>(),
        [names(), names()],
        names(),
        prop::collection::vec(sampler(), 0..4),
    )
        .prop_map(
            |((domain, init_time), [interfaces, vrfs], applications, samplers)| SavedDomain {
                domain,
                init_time,
                interfaces,
                vrfs,
                applications,
                samplers,
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
            uptime: Some(Uptime {
                ms: 5,
                export_time: 4,
            }),
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

/// One exporter as version 2 or 3 has it.
fn older(version: u16) -> Vec<u8> {
    let mut out = Writer(vec![0; 4]);
    let session = |out: &mut Writer, port| {
        if version > VERSION_OF_UDP {
            out.u8(0);
        }
        out.u16(port);
    };
    out.address("192.0.2.1".parse().unwrap());
    out.u64(7);
    out.each(&[256], |out, id| {
        out.u16(9);
        session(out, 2055);
        out.u32(1);
        out.u64(6);
        out.u16(*id);
        out.u16(NO_SCOPE);
        out.each(&[8], |out, element| {
            out.u32(0);
            out.u16(*element);
            out.u16(4);
        });
    });
    out.each(&[1], |out, domain| {
        out.option(Some(*domain));
        out.option(None);
        out.option(Some(10));
        for _ in ["interfaces", "VRFs", "applications"] {
            out.u32(0);
        }
        for (key, interval) in [(3, 30), (5, 50)] {
            out.each(&[key], |out, key| {
                out.u64(*key);
                out.u64(interval);
            });
        }
    });
    out.each(&[2056], |out, port| {
        session(out, *port);
        out.u32(1);
        out.address("192.0.2.2".parse().unwrap());
    });
    out.u32(0);
    let length = u32::try_from(out.0.len() - 4).unwrap();
    out.0[..4].copy_from_slice(&length.to_be_bytes());
    let mut file = [&header()[..], &out.0].concat();
    file[8..10].copy_from_slice(&version.to_be_bytes());
    sealed(file)
}

#[test]
fn files_of_the_versions_before_are_read() {
    let sampler = |of, interval| SavedSampler { of, interval };
    let saved = SavedExporter {
        address: "192.0.2.1".parse().unwrap(),
        seen: UnixNanos(7),
        templates: vec![SavedTemplate {
            session: Session::udp(2055),
            domain: 1,
            refreshed: UnixNanos(6),
            uptime: None,
            template: Template::new(Version::V9, 256, None, vec![FieldSpecifier::iana(8, 4)]),
        }],
        domains: vec![SavedDomain {
            domain: Some(1),
            samplers: vec![
                sampler(SamplerOf::All, 10),
                sampler(SamplerOf::Id(3), 30),
                sampler(SamplerOf::Interface(5), 50),
            ],
            ..SavedDomain::default()
        }],
        agents: vec![SavedAgent {
            session: Session::udp(2056),
            domain: 1,
            agent: "192.0.2.2".parse().unwrap(),
        }],
        types: Vec::new(),
    };
    for version in [VERSION_OF_UDP, VERSION_OF_FEW_SAMPLERS] {
        assert_eq!(read(&older(version)), Ok(vec![saved.clone()]), "{version}");
    }
}

#[test]
fn each_damage_has_its_name() {
    assert_eq!(read(b""), Err(Damage::NotAStore));
    assert_eq!(read(b"something else altogether"), Err(Damage::NotAStore));
    let mut later = header().to_vec();
    later[9] = 5;
    assert_eq!(read(&sealed(later)), Err(Damage::Version(5)));
    assert_eq!(read(&header()), Err(Damage::Checksum));
    let mut numbers = header().to_vec();
    numbers.extend(u32::MAX.to_be_bytes());
    assert_eq!(read(&sealed(numbers)), Err(Damage::Malformed(HEADER)));
    assert_eq!(read(&sealed(header().to_vec())), Ok(Vec::new()));
}
