//! `NETFLOW_GEOIP_COUNTRY` and `NETFLOW_GEOIP_ASN`: databases of MaxMind's format, asked through a bounded cache.
//!
//! A worker remembers addresses in places by their keyed hash, the last one in each, and each record of a database that it
//! met once, encoded. A look-up of a remembered address allocates nothing.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions, path};
use otlp_wire::{Key, Value, push_key_value};

use crate::attributes::names::Name;

/// Addresses remembered; a power of two.
const PLACES: usize = 8192;
/// Records of one database remembered; past it all are forgotten. The world has some 80,000 systems in use.
const MAX_RECORDS: usize = 16_384;
/// Records looked at to see whether the database is of the right kind.
const MAX_TRIED: usize = 1_000;
/// Octets of an organization's name; the rest is cut.
const MAX_NAME: usize = 128;
/// The field of a span that has its attributes.
const SPAN_ATTRIBUTES: u32 = 9;

/// Why a database can't be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DatabaseError {
    /// Not of MaxMind's format, or damaged.
    #[error("it is not a MaxMind database: {0}")]
    Format(String),
    /// Of another kind.
    #[error("none of its first records has {0}; it is of type {1}")]
    OtherKind(&'static str, String),
}

/// What a database is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DatabaseKind {
    /// `country.iso_code`, or a flat `country_code`.
    Country,
    /// `autonomous_system_number` and `autonomous_system_organization`, or a flat `asn` and `as_name`.
    Asn,
}

/// One version of a database, in memory.
pub struct Database {
    reader: Reader<Vec<u8>>,
    kind: DatabaseKind,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = &self.reader.metadata().database_type;
        f.debug_tuple("Database").field(kind).finish()
    }
}

/// What a record of a database says.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Said {
    Nothing,
    /// Two capital letters.
    Country([u8; 2]),
    As {
        number: u32,
        organization: Option<String>,
    },
}

impl Database {
    /// Takes the content of a file.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn new(octets: Vec<u8>, kind: DatabaseKind) -> Result<Self, DatabaseError> {
        let format = |error: MaxMindDbError| DatabaseError::Format(error.to_string());
        let reader = Reader::from_source(octets).map_err(format)?;
        let database = Self { reader, kind };
        let networks = database.reader.networks(WithinOptions::default());
        let mut networks = networks.map_err(format)?.take(MAX_TRIED);
        let has_kind = networks.try_fold(false, |found, network| {
            let said = database.read(&network.map_err(format)?);
            Ok::<_, DatabaseError>(found || said != Said::Nothing)
        })?;
        if has_kind {
            return Ok(database);
        }
        let what = match kind {
            DatabaseKind::Country => "a country code",
            DatabaseKind::Asn => "an AS number",
        };
        let found = database.reader.metadata().database_type.clone();
        Err(DatabaseError::OtherKind(what, found))
    }

    /// Nodes of its tree: how large it is.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.reader.metadata().node_count as usize
    }

    fn read(&self, found: &LookupResult<'_, Vec<u8>>) -> Said {
        let text = |path: &[PathElement<'_>]| found.decode_path::<&str>(path).ok().flatten();
        match self.kind {
            DatabaseKind::Country => {
                let code = text(&path!["country", "iso_code"])
                    .or_else(|| text(&path!["country_code"]))
                    .or_else(|| text(&path!["country"]));
                code.and_then(country_code)
                    .map_or(Said::Nothing, Said::Country)
            }
            DatabaseKind::Asn => {
                let whole =
                    |path: &[PathElement<'_>]| found.decode_path::<u32>(path).ok().flatten();
                let number = whole(&path!["autonomous_system_number"])
                    .or_else(|| whole(&path!["asn"]))
                    .or_else(|| as_number(text(&path!["asn"])?));
                let Some(number) = number.filter(|number| *number != 0) else {
                    return Said::Nothing;
                };
                let organization = text(&path!["autonomous_system_organization"])
                    .or_else(|| text(&path!["as_name"]))
                    .or_else(|| text(&path!["name"]));
                let organization = organization.map(str::trim).filter(|name| !name.is_empty());
                Said::As {
                    number,
                    organization: organization.map(|name| cut(name).to_owned()),
                }
            }
        }
    }
}

fn country_code(text: &str) -> Option<[u8; 2]> {
    let code: [u8; 2] = text.as_bytes().try_into().ok()?;
    let code = code.map(|letter| letter.to_ascii_uppercase());
    code.iter().all(u8::is_ascii_uppercase).then_some(code)
}

/// `AS64496`, as flat layouts have it.
fn as_number(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("AS").or_else(|| text.strip_prefix("as"));
    digits.unwrap_or(text).parse().ok()
}

fn cut(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// The databases in use.
#[derive(Clone, Debug, Default)]
pub struct Databases {
    /// `NETFLOW_GEOIP_COUNTRY`.
    pub country: Option<Arc<Database>>,
    /// `NETFLOW_GEOIP_ASN`.
    pub asn: Option<Arc<Database>>,
}

/// A country, ready to be written.
#[derive(Clone, Debug, Default)]
pub struct Country {
    /// Two letters.
    pub code: [u8; 2],
    /// Encoded attributes of a span whose source is there, and of one whose destination is.
    pub encoded: [Box<[u8]>; 2],
}

/// An autonomous system, ready to be written.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// Its number.
    pub number: u32,
    /// Encoded attributes of its organization, of a span whose source is there, and of one whose destination is.
    pub encoded: [Box<[u8]>; 2],
}

/// What the databases know of an address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Located<'a> {
    /// Where it is.
    pub country: Option<&'a Country>,
    /// Whose it is.
    pub system: Option<&'a System>,
}

/// A remembered address; the numbers are places of records, 0 being none.
#[derive(Clone, Copy, Debug, Default)]
struct Remembered {
    address: u128,
    is_used: bool,
    country: u16,
    system: u16,
}

/// Records by their offset in the database.
#[derive(Debug)]
struct Records<T> {
    by_offset: HashMap<usize, u16, RandomState>,
    /// The first stands for none.
    records: Vec<Option<T>>,
}

impl<T> Default for Records<T> {
    fn default() -> Self {
        Self {
            by_offset: HashMap::default(),
            records: vec![None],
        }
    }
}

impl<T> Records<T> {
    fn get(&self, number: u16) -> Option<&T> {
        self.records.get(usize::from(number))?.as_ref()
    }

    fn is_full(&self) -> bool {
        self.records.len() >= MAX_RECORDS
    }

    /// The number of the record of an address, which is read where it is met first.
    fn find(
        &mut self,
        database: Option<&Database>,
        address: IpAddr,
        make: impl Fn(Said) -> Option<T>,
    ) -> u16 {
        let Some(database) = database else { return 0 };
        // What can't be read says nothing.
        let Ok(found) = database.reader.lookup(address) else {
            return 0;
        };
        let Some(offset) = found.offset() else {
            return 0;
        };
        if let Some(number) = self.by_offset.get(&offset) {
            return *number;
        }
        let number = match make(database.read(&found)) {
            Some(record) => {
                self.records.push(Some(record));
                u16::try_from(self.records.len() - 1).unwrap_or(0)
            }
            None => 0,
        };
        self.by_offset.insert(offset, number);
        number
    }
}

/// The databases as one worker asks them.
#[derive(Debug)]
pub struct Locator {
    databases: Databases,
    hasher: RandomState,
    places: Box<[Remembered]>,
    countries: Records<Country>,
    systems: Records<System>,
    /// `source.as.number` and `destination.as.number`.
    number_keys: [Option<Key>; 2],
}

impl Locator {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(databases: Databases) -> Self {
        Self {
            databases,
            hasher: RandomState::default(),
            places: vec![Remembered::default(); PLACES].into(),
            countries: Records::default(),
            systems: Records::default(),
            number_keys: [Name::SourceAs, Name::DestinationAs].map(|name| Key::new(name.flow()?)),
        }
    }

    /// The keys of the numbers of systems.
    pub(crate) fn number_keys(&self) -> Option<[Key; 2]> {
        let [source, destination] = self.number_keys;
        self.databases.asn.as_ref()?;
        Some([source?, destination?])
    }

    /// What is known of both ends of a flow.
    #[inline(never)]
    pub fn ends(
        &mut self,
        source: Option<IpAddr>,
        destination: Option<IpAddr>,
    ) -> [Located<'_>; 2] {
        if self.countries.is_full() || self.systems.is_full() {
            *self = Self::new(std::mem::take(&mut self.databases));
        }
        let ends = [source, destination].map(|address| address.map(|address| self.find(address)));
        ends.map(|end| match end {
            Some((country, system)) => Located {
                country: self.countries.get(country),
                system: self.systems.get(system),
            },
            None => Located::default(),
        })
    }

    /// Numbers of the country and of the system of an address.
    #[inline]
    fn find(&mut self, address: IpAddr) -> (u16, u16) {
        let address = address.to_canonical();
        let bits = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        let folded = (bits >> 64) as u64 ^ (bits as u64).rotate_left(24);
        let at = self.hasher.hash_one(folded) as usize & (PLACES - 1);
        match self.places.get(at) {
            Some(place) if place.is_used && place.address == bits => (place.country, place.system),
            _ => self.look_up(at, bits, address),
        }
    }

    #[inline(never)]
    fn look_up(&mut self, at: usize, bits: u128, address: IpAddr) -> (u16, u16) {
        let Databases { country, asn } = &self.databases;
        let country = self
            .countries
            .find(country.as_deref(), address, |said| match said {
                Said::Country(code) => Some(Country {
                    code,
                    encoded: both(
                        [Name::SourceCountry, Name::DestinationCountry],
                        str::from_utf8(&code).ok()?,
                    ),
                }),
                _ => None,
            });
        let system = self
            .systems
            .find(asn.as_deref(), address, |said| match said {
                Said::As {
                    number,
                    organization,
                } => Some(System {
                    number,
                    encoded: organization
                        .map(|name| {
                            both(
                                [Name::SourceOrganization, Name::DestinationOrganization],
                                &name,
                            )
                        })
                        .unwrap_or_default(),
                }),
                _ => None,
            });
        if let Some(place) = self.places.get_mut(at) {
            *place = Remembered {
                address: bits,
                is_used: true,
                country,
                system,
            };
        }
        (country, system)
    }
}

/// An attribute for either end, encoded once; both schemas spell it alike.
fn both(names: [Name; 2], value: &str) -> [Box<[u8]>; 2] {
    names.map(|name| {
        let mut octets = Vec::new();
        let key = name.netflow().unwrap_or_default();
        push_key_value(&mut octets, SPAN_ATTRIBUTES, key, Value::Text(value));
        octets.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_two_letters() {
        assert_eq!(country_code("de"), Some(*b"DE"));
        for text in ["", "D", "DEU", "1A", "d\u{e9}"] {
            assert_eq!(country_code(text), None, "{text}");
        }
    }

    #[test]
    fn systems_are_numbers_with_or_without_letters() {
        assert_eq!(as_number("AS64496"), Some(64_496));
        assert_eq!(as_number("4200000000"), Some(4_200_000_000));
        assert_eq!(as_number("ASX"), None);
    }

    #[test]
    fn a_name_is_cut_between_letters() {
        let name = "é".repeat(100);
        assert_eq!(cut(&name).len(), MAX_NAME);
        assert_eq!(cut("Example"), "Example");
    }
}
