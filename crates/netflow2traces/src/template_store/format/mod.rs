//! The template store's octets: exporters in, a file's content out, and back. No I/O; docs/template-store.md
//! describes the format.
//!
//! Reading trusts nothing: the checksum first, then every length and number against the octets that are there.

use std::net::IpAddr;

use netflow_wire::ie::AbstractDataType;
use netflow_wire::{FieldSpecifier, Session, Template, Transport, Version};
use otlp_wire::UnixNanos;

use crate::translate::{SavedAgent, SavedDomain, SavedExporter, SavedTemplate, SavedType};

/// A file begins with it.
const MAGIC: [u8; 8] = *b"NF2TSTOR";
/// Of the format that is written.
const VERSION: u16 = 3;
/// The one before, which is read too: all its sessions are of UDP.
const VERSION_OF_UDP: u16 = 2;
/// Octets before the first exporter.
const HEADER: usize = MAGIC.len() + 2;
/// The checksum after the last one.
const TRAILER: usize = 4;

/// `scope` of a template that is no options template.
const NO_SCOPE: u16 = u16::MAX;
/// `type` of an element whose type was not reported.
const NO_TYPE: u8 = u8::MAX;

/// Why a file can't be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Damage {
    #[error("it is no template store")]
    NotAStore,
    #[error("it has version {0} of the format, which this program doesn't know")]
    Version(u16),
    #[error("its checksum is wrong")]
    Checksum,
    #[error("octet {0} begins something that makes no sense")]
    Malformed(usize),
}

/// The beginning of a file.
#[must_use]
pub(super) const fn header() -> [u8; HEADER] {
    let mut octets = [0; HEADER];
    let (magic, version) = octets.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    version.copy_from_slice(&VERSION.to_be_bytes());
    octets
}

/// The end of a file, whose checksum covers all that came before it.
#[must_use]
pub(super) fn trailer(checksum: u32) -> [u8; TRAILER] {
    checksum.to_be_bytes()
}

/// One exporter, with its length in front.
#[must_use]
pub(super) fn exporter(saved: &SavedExporter) -> Vec<u8> {
    let mut out = Writer(vec![0; 4]);
    out.address(saved.address);
    out.u64(saved.seen.0);
    out.each(&saved.templates, |out, saved| {
        let template = &saved.template;
        out.u16(template.version.number());
        out.session(saved.session);
        out.u32(saved.domain);
        out.u64(saved.refreshed.0);
        out.u16(template.id);
        let scope = template.scope_fields.map(u16::try_from);
        out.u16(scope.map_or(NO_SCOPE, |scope| scope.unwrap_or(NO_SCOPE)));
        out.each(&template.fields, |out, field| {
            out.u32(field.enterprise);
            out.u16(field.element);
            out.u16(field.length);
        });
    });
    out.each(&saved.domains, |out, domain| {
        out.option(domain.domain.map(u64::from));
        out.option(domain.init_time);
        out.option(domain.interval);
        for names in [&domain.interfaces, &domain.vrfs] {
            out.each(names, |out, (key, name)| {
                out.u64(*key);
                out.text(name);
            });
        }
        out.each(&domain.applications, |out, (key, name)| {
            out.u128(*key);
            out.text(name);
        });
        for intervals in [&domain.samplers, &domain.interface_samplers] {
            out.each(intervals, |out, (key, interval)| {
                out.u64(*key);
                out.u64(*interval);
            });
        }
    });
    out.each(&saved.agents, |out, named| {
        out.session(named.session);
        out.u32(named.domain);
        out.address(named.agent);
    });
    out.each(&saved.types, |out, told| {
        out.u32(told.enterprise);
        out.u16(told.element);
        out.u8(told.data_type.map_or(NO_TYPE, AbstractDataType::code));
        out.text(&told.name);
    });
    let length = u32::try_from(out.0.len() - 4).unwrap_or(u32::MAX);
    out.0[..4].copy_from_slice(&length.to_be_bytes());
    out.0
}

/// All exporters of a file.
///
/// # Errors
/// When it isn't one, or not whole.
pub(super) fn read(octets: &[u8]) -> Result<Vec<SavedExporter>, Damage> {
    let version = match octets.get(..HEADER) {
        Some(header) if header.starts_with(&MAGIC) => u16::from_be_bytes([header[8], header[9]]),
        _ => return Err(Damage::NotAStore),
    };
    if !matches!(version, VERSION | VERSION_OF_UDP) {
        return Err(Damage::Version(version));
    }
    let Some(end) = octets
        .len()
        .checked_sub(TRAILER)
        .filter(|end| *end >= HEADER)
    else {
        return Err(Damage::Checksum);
    };
    let (content, checksum) = octets.split_at(end);
    if trailer(crc32fast::hash(content)) != checksum {
        return Err(Damage::Checksum);
    }
    let mut exporters = Vec::new();
    let mut at = HEADER;
    while at < content.len() {
        let mut reader = Reader {
            octets: content,
            at,
            version,
        };
        let saved = reader.exporter().ok_or(Damage::Malformed(at))?;
        at = reader.at;
        exporters.push(saved);
    }
    Ok(exporters)
}

/// Appends numbers in network byte order.
struct Writer(Vec<u8>);

impl Writer {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_be_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_be_bytes());
    }

    fn u128(&mut self, value: u128) {
        self.0.extend(value.to_be_bytes());
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.u8(4);
                self.0.extend(address.octets());
            }
            IpAddr::V6(address) => {
                self.u8(6);
                self.0.extend(address.octets());
            }
        }
    }

    fn session(&mut self, session: Session) {
        self.u8(session.transport as u8);
        self.u16(session.port);
    }

    fn option(&mut self, value: Option<u64>) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            self.u64(value);
        }
    }

    /// Names are bounded well below 64 KiB.
    fn text(&mut self, text: &str) {
        let length = u16::try_from(text.len()).unwrap_or(0);
        self.u16(length);
        self.0.extend(&text.as_bytes()[..usize::from(length)]);
    }

    fn each<T>(&mut self, items: &[T], write: impl Fn(&mut Self, &T)) {
        self.u32(u32::try_from(items.len()).unwrap_or(u32::MAX));
        for item in items {
            write(self, item);
        }
    }
}

/// Takes what [`Writer`] appended; `None` once something isn't there or can't be.
struct Reader<'a> {
    octets: &'a [u8],
    at: usize,
    /// Of the format.
    version: u16,
}

impl<'a> Reader<'a> {
    fn take(&mut self, octets: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(octets)?;
        let taken = self.octets.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.first_chunk().copied()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[octet]| octet)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_be_bytes)
    }

    fn address(&mut self) -> Option<IpAddr> {
        match self.u8()? {
            4 => self.array::<4>().map(IpAddr::from),
            6 => self.array::<16>().map(IpAddr::from),
            _ => None,
        }
    }

    fn session(&mut self) -> Option<Session> {
        let transport = match self.version {
            VERSION_OF_UDP => Transport::Udp,
            _ => Transport::from_number(self.u8()?)?,
        };
        Some(Session {
            transport,
            port: self.u16()?,
        })
    }

    fn option(&mut self) -> Option<Option<u64>> {
        match self.u8()? {
            0 => Some(None),
            1 => self.u64().map(Some),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<Box<str>> {
        let length = self.u16()?;
        let text = str::from_utf8(self.take(usize::from(length))?).ok()?;
        Some(text.into())
    }

    /// Room is made only for what is there: a number may say anything.
    fn each<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Some(items)
    }

    fn exporter(&mut self) -> Option<SavedExporter> {
        let length = usize::try_from(self.u32()?).ok()?;
        let mut body = Reader {
            octets: self.take(length)?,
            at: 0,
            version: self.version,
        };
        let saved = body.exporter_body()?;
        (body.at == length).then_some(saved)
    }

    fn exporter_body(&mut self) -> Option<SavedExporter> {
        Some(SavedExporter {
            address: self.address()?,
            seen: UnixNanos(self.u64()?),
            templates: self.each(Self::template)?,
            domains: self.each(Self::domain)?,
            agents: self.each(|reader| {
                Some(SavedAgent {
                    session: reader.session()?,
                    domain: reader.u32()?,
                    agent: reader.address()?,
                })
            })?,
            types: self.each(Self::described)?,
        })
    }

    fn template(&mut self) -> Option<SavedTemplate> {
        let version = match self.u16()? {
            9 => Version::V9,
            10 => Version::Ipfix,
            _ => return None,
        };
        let session = self.session()?;
        let domain = self.u32()?;
        let refreshed = UnixNanos(self.u64()?);
        let id = self.u16()?;
        let scope = Some(self.u16()?).filter(|scope| *scope != NO_SCOPE);
        let fields = self.each(|reader| {
            Some(FieldSpecifier {
                enterprise: reader.u32()?,
                element: reader.u16()?,
                length: reader.u16()?,
            })
        })?;
        Some(SavedTemplate {
            session,
            domain,
            refreshed,
            template: Template::new(version, id, scope.map(usize::from), fields),
        })
    }

    fn domain(&mut self) -> Option<SavedDomain> {
        let domain = match self.option()? {
            Some(domain) => Some(u32::try_from(domain).ok()?),
            None => None,
        };
        let name = |reader: &mut Self| Some((reader.u64()?, reader.text()?));
        let interval = |reader: &mut Self| Some((reader.u64()?, reader.u64()?));
        Some(SavedDomain {
            domain,
            init_time: self.option()?,
            interval: self.option()?,
            interfaces: self.each(name)?,
            vrfs: self.each(name)?,
            applications: self.each(|reader| Some((reader.u128()?, reader.text()?)))?,
            samplers: self.each(interval)?,
            interface_samplers: self.each(interval)?,
        })
    }

    fn described(&mut self) -> Option<SavedType> {
        Some(SavedType {
            enterprise: self.u32()?,
            element: self.u16()?,
            data_type: match self.u8()? {
                NO_TYPE => None,
                code => Some(AbstractDataType::from_code(code)?),
            },
            name: self.text()?,
        })
    }
}

#[cfg(test)]
mod tests {
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
            .prop_map(|((address, seen), templates, domains, agents, types)| {
                SavedExporter {
                    address,
                    seen: UnixNanos(seen),
                    templates,
                    domains,
                    agents,
                    types,
                }
            })
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
}
