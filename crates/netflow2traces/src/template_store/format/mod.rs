//! The template store's octets: exporters in, a file's content out, and back. No I/O; docs/template-store.md
//! describes the format.
//!
//! Reading trusts nothing: the checksum first, then every length and number against the octets that are there.

use std::net::IpAddr;

use netflow_wire::ie::AbstractDataType;
use netflow_wire::{FieldSpecifier, Session, Template, Transport, Uptime, Version};
use otlp_wire::UnixNanos;

use crate::translate::{
    SamplerOf, SavedAgent, SavedDomain, SavedExporter, SavedSampler, SavedTemplate, SavedType,
};

/// A file begins with it.
const MAGIC: [u8; 8] = *b"NF2TSTOR";
/// Of the format that is written.
const VERSION: u16 = 4;
/// Read too: uptimes are missing, and samplers but those by id and by interface.
const VERSION_OF_FEW_SAMPLERS: u16 = 3;
/// Read too: the same, and all sessions are of UDP.
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
pub(crate) enum Damage {
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

/// A file with one exporter.
#[must_use]
pub(crate) fn file_of(saved: &SavedExporter) -> Vec<u8> {
    let mut octets = header().to_vec();
    octets.extend(exporter(saved));
    let checksum = trailer(crc32fast::hash(&octets));
    octets.extend(checksum);
    octets
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
        out.u8(u8::from(saved.uptime.is_some()));
        if let Some(uptime) = saved.uptime {
            out.u32(uptime.ms);
            out.u64(uptime.export_time);
        }
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
        out.each(&domain.samplers, |out, sampler| out.sampler(*sampler));
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
pub(crate) fn read(octets: &[u8]) -> Result<Vec<SavedExporter>, Damage> {
    let version = match octets.get(..HEADER) {
        Some(header) if header.starts_with(&MAGIC) => u16::from_be_bytes([header[8], header[9]]),
        _ => return Err(Damage::NotAStore),
    };
    if !matches!(version, VERSION_OF_UDP..=VERSION) {
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

    fn sampler(&mut self, sampler: SavedSampler) {
        let (kind, keys) = match sampler.of {
            SamplerOf::All => (0, [0; 2]),
            SamplerOf::Id(id) => (1, [id, 0]),
            SamplerOf::Interface(interface) => (2, [0, interface]),
            SamplerOf::IdAndInterface { id, interface } => (3, [id, interface]),
            SamplerOf::Direction { interface, egress } => (4, [u64::from(egress), interface]),
            SamplerOf::Template(template) => (5, [template, 0]),
            SamplerOf::Part(part) => (6, [part, 0]),
        };
        self.u8(kind);
        for key in keys {
            self.u64(key);
        }
        self.u64(sampler.interval);
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

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn option(&mut self) -> Option<Option<u64>> {
        match self.flag()? {
            false => Some(None),
            true => self.u64().map(Some),
        }
    }

    fn sampler(&mut self) -> Option<SavedSampler> {
        let (kind, first, interface) = (self.u8()?, self.u64()?, self.u64()?);
        let of = match (kind, first) {
            (0, _) => SamplerOf::All,
            (1, id) => SamplerOf::Id(id),
            (2, _) => SamplerOf::Interface(interface),
            (3, id) => SamplerOf::IdAndInterface { id, interface },
            (4, 0 | 1) => SamplerOf::Direction {
                interface,
                egress: first == 1,
            },
            (5, template) => SamplerOf::Template(template),
            (6, part) => SamplerOf::Part(part),
            _ => return None,
        };
        let interval = self.u64()?;
        Some(SavedSampler { of, interval })
    }

    /// Samplers as the older versions have them: an interval for everything, and two lists; `all` is the first.
    fn few_samplers(&mut self, all: Option<u64>) -> Option<Vec<SavedSampler>> {
        let of_all = |interval| SavedSampler {
            of: SamplerOf::All,
            interval,
        };
        let mut samplers: Vec<_> = all.map(of_all).into_iter().collect();
        for of in [SamplerOf::Id, SamplerOf::Interface] {
            samplers.extend(self.each(|reader| {
                Some(SavedSampler {
                    of: of(reader.u64()?),
                    interval: reader.u64()?,
                })
            })?);
        }
        Some(samplers)
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
        let has_uptime = self.version == VERSION && self.flag()?;
        let uptime = match has_uptime {
            true => Some(Uptime {
                ms: self.u32()?,
                export_time: self.u64()?,
            }),
            false => None,
        };
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
            uptime,
            template: Template::new(version, id, scope.map(usize::from), fields),
        })
    }

    fn domain(&mut self) -> Option<SavedDomain> {
        let domain = match self.option()? {
            Some(domain) => Some(u32::try_from(domain).ok()?),
            None => None,
        };
        let name = |reader: &mut Self| Some((reader.u64()?, reader.text()?));
        let init_time = self.option()?;
        let has_few_samplers = self.version <= VERSION_OF_FEW_SAMPLERS;
        let of_all = match has_few_samplers {
            true => self.option()?,
            false => None,
        };
        Some(SavedDomain {
            domain,
            init_time,
            interfaces: self.each(name)?,
            vrfs: self.each(name)?,
            applications: self.each(|reader| Some((reader.u128()?, reader.text()?)))?,
            samplers: match has_few_samplers {
                true => self.few_samplers(of_all)?,
                false => self.each(Self::sampler)?,
            },
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
mod tests;
