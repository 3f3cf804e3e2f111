//! `NETFLOW_NETWORKS`: names of networks, and what else is said of them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use otlp_wire::{Prepared, Value, push_key_value};

use super::csv;
use super::geo::Located;
use super::prefixes::PrefixTable;

/// Networks of one file.
const MAX_NETWORKS: usize = 1 << 20;
/// The first field of a first line that names the columns.
const HEADINGS: [&str; 2] = ["cidr", "network"];
/// Octets of a name or of another value.
pub(crate) const MAX_TEXT: usize = 256;
/// Keys of one network.
const MAX_KEYS: usize = 16;
/// Octets of a key.
const MAX_KEY: usize = 40;
/// Keys that the flow's own attributes have.
const TAKEN: [&str; 2] = ["address", "port"];

/// What is wrong with a file, and on which line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct FileError {
    /// Counted from 1.
    pub line: usize,
    /// A part of a sentence.
    pub problem: String,
}

impl FileError {
    pub(super) fn new(line: usize, problem: impl Into<String>) -> Self {
        Self {
            line,
            problem: problem.into(),
        }
    }
}

/// A name by a number that stays the same over reloads.
pub type NameId = u32;

/// The names that any version of the file has had; numbers are indices.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<Arc<str>>);

impl Names {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of a number.
    #[must_use]
    pub fn get(&self, id: NameId) -> Option<&str> {
        self.0.get(id as usize).map(AsRef::as_ref)
    }
}

/// One version of the file, ready to be asked.
#[derive(Debug)]
pub struct Networks {
    prefixes: PrefixTable,
    /// How many networks there are.
    len: usize,
    /// What the file says of them; networks of which it says the same share an entry.
    entries: Box<[Entry]>,
    /// Encoded attributes, and behind the last ones [`Prepared::COPIED`] more octets.
    octets: Box<[u8]>,
    names: Names,
}

/// What the file says of a network.
#[derive(Clone, Copy, Debug)]
struct Entry {
    name: NameId,
    /// It is a single address.
    is_host: bool,
    /// Octets of the attributes of a source …
    source: u16,
    /// … and of those of a destination, which follow.
    destination: u16,
    /// Where both begin.
    at: usize,
}

/// The number of an [`Entry`]; that of none where the file says nothing of an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct EntryId(u32);

impl Default for EntryId {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

/// What is known of an address.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The name of its network.
    pub name: NameId,
    /// Encoded attributes of a span whose source it is.
    pub source: Prepared<'a>,
    /// Encoded attributes of a span whose destination it is.
    pub destination: Prepared<'a>,
}

/// What the file says of an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct About<'a> {
    /// The name of the longest prefix.
    pub network: &'a str,
    /// The same, if that prefix is the address alone.
    pub own_name: Option<&'a str>,
}

/// What is known of the ends of a flow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Enriched<'a> {
    /// Of its source.
    pub source: Option<Known<'a>>,
    /// Of its destination.
    pub destination: Option<Known<'a>>,
    /// What databases know of its source and its destination.
    pub located: [Located<'a>; 2],
}

impl Enriched<'_> {
    /// Where nothing is.
    pub(crate) const NOTHING: Self = Self {
        source: None,
        destination: None,
        located: [Located {
            country: None,
            system: None,
        }; 2],
    };

    /// The networks of both ends, as series have them: the number of the name and one, 0 for every other network.
    #[inline]
    pub(crate) fn networks(&self) -> [u32; 2] {
        [self.source, self.destination].map(|known| known.map_or(0, |known| known.name + 1))
    }

    /// The AS numbers of both ends: what was exported, else what a database has; 0 where neither knows one.
    #[inline]
    pub(crate) fn systems(&self, exported: [u32; 2]) -> [u32; 2] {
        let [source, destination] = self.located.map(|end| end.system.map_or(0, |of| of.number));
        let [exported_source, exported_destination] = exported;
        [
            if exported_source == 0 {
                source
            } else {
                exported_source
            },
            if exported_destination == 0 {
                destination
            } else {
                exported_destination
            },
        ]
    }

    /// The countries of both ends, as their letters; 0 where none is known.
    #[inline]
    pub(crate) fn countries(&self) -> [u32; 2] {
        let code = |[first, second]: [u8; 2]| u32::from(first) << 8 | u32::from(second);
        self.located
            .map(|end| end.country.map_or(0, |country| code(country.code)))
    }
}

impl Networks {
    /// Reads `cidr,name[,key=value…]`, one network a line; names keep the numbers that `before` gave them.
    ///
    /// # Errors
    /// The first line that can't be used, with what is wrong with it.
    pub fn parse(text: &str, before: Option<&Self>) -> Result<Self, FileError> {
        let mut names = before
            .map(|before| before.names.clone())
            .unwrap_or_default();
        let mut ids: HashMap<Arc<str>, NameId> = names.0.iter().cloned().zip(0..).collect();
        let mut lines: HashMap<IpNet, usize> = HashMap::new();
        let mut prefixes = Vec::new();
        let mut entries: Vec<Entry> = Vec::new();
        let mut octets = Vec::new();
        let mut numbers: HashMap<(Vec<u8>, bool), u32> = HashMap::new();
        for (line, text) in (1..).zip(text.lines()) {
            let fail = |problem: String| FileError::new(line, problem);
            let fields = csv::fields(text).map_err(|problem| fail(problem.to_owned()))?;
            let Some(fields) = fields else { continue };
            let [network, name, keys @ ..] = fields.as_slice() else {
                return Err(fail("expected cidr,name[,key=value…]".to_owned()));
            };
            let is_heading = |word| network.eq_ignore_ascii_case(word);
            if line == 1 && HEADINGS.into_iter().any(is_heading) {
                continue;
            }
            let network = parse_network(network).map_err(fail)?;
            if let Some(first) = lines.insert(network, line) {
                return Err(fail(format!("{network} is on line {first} already")));
            }
            if prefixes.len() >= MAX_NETWORKS {
                return Err(fail(format!("more than {MAX_NETWORKS} networks")));
            }
            check_text("the name", name).map_err(fail)?;
            let keys = parse_keys(keys).map_err(fail)?;
            let name_id = *ids.entry(name.as_str().into()).or_insert_with_key(|name| {
                names.0.push(Arc::clone(name));
                u32::try_from(names.0.len() - 1).unwrap_or(u32::MAX)
            });
            let is_host = network.prefix_len() == network.max_prefix_len();
            let source = encode("source", name, &keys);
            // The source's attributes have all that is said.
            let number = *numbers
                .entry((source, is_host))
                .or_insert_with_key(|(source, _)| {
                    let at = octets.len();
                    octets.extend_from_slice(source);
                    octets.extend(encode("destination", name, &keys));
                    let destination = octets.len() - at - source.len();
                    entries.push(Entry {
                        name: name_id,
                        is_host,
                        // The bounds of names and keys add up to less.
                        source: u16::try_from(source.len()).unwrap_or(0),
                        destination: u16::try_from(destination).unwrap_or(0),
                        at,
                    });
                    u32::try_from(entries.len() - 1).unwrap_or(u32::MAX)
                });
            prefixes.push((network, number));
        }
        octets.resize(octets.len() + Prepared::COPIED, 0);
        Ok(Self {
            prefixes: PrefixTable::new(&prefixes),
            len: prefixes.len(),
            entries: entries.into(),
            octets: octets.into(),
            names,
        })
    }

    /// What is known of the longest prefix that holds the address.
    #[inline]
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<Known<'_>> {
        self.known(EntryId(self.prefixes.find(address)?))
    }

    /// The entries of both ends of a flow.
    #[inline(always)]
    pub(crate) fn entries(&self, ends: [Option<IpAddr>; 2]) -> [EntryId; 2] {
        ends.map(|end| {
            let found = end.and_then(|address| self.prefixes.find(address));
            found.map_or_else(EntryId::default, EntryId)
        })
    }

    /// What an entry says.
    #[inline(always)]
    pub(crate) fn known(&self, of: EntryId) -> Option<Known<'_>> {
        let entry = self.entries.get(of.0 as usize)?;
        let (source, destination) = (usize::from(entry.source), usize::from(entry.destination));
        let octets = self.octets.get(entry.at..)?;
        Some(Known {
            name: entry.name,
            source: Prepared::new(octets, source),
            destination: Prepared::new(octets.get(source..)?, destination),
        })
    }

    /// What is known of both ends of a flow.
    #[inline(never)]
    #[must_use]
    pub fn ends(&self, source: Option<IpAddr>, destination: Option<IpAddr>) -> Enriched<'_> {
        Enriched {
            source: source.and_then(|address| self.find(address)),
            destination: destination.and_then(|address| self.find(address)),
            located: Default::default(),
        }
    }

    /// The names of all networks.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The name of the network that holds the address.
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        self.names.get(self.find(address)?.name)
    }

    /// What the file says of an address, such as an exporter's.
    #[must_use]
    pub fn about(&self, address: IpAddr) -> Option<About<'_>> {
        let entry = self.entries.get(self.prefixes.find(address)? as usize)?;
        let name = self.names.get(entry.name)?;
        Some(About {
            network: name,
            own_name: entry.is_host.then_some(name),
        })
    }

    /// How many networks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text
            .parse::<IpNet>()
            .map_err(|_| format!("{text} is not a network in CIDR form, such as 10.0.0.0/8"))?,
    };
    if network.trunc() == network {
        Ok(network)
    } else {
        let meant = network.trunc();
        Err(format!(
            "{network} has bits behind its prefix; the network is {meant}"
        ))
    }
}

pub(super) fn check_text(what: &str, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err(format!("{what} is empty"));
    }
    if text.len() > MAX_TEXT {
        return Err(format!("{what} is longer than {MAX_TEXT} bytes"));
    }
    if text.contains(char::is_control) {
        return Err(format!("{what} has control characters"));
    }
    Ok(())
}

fn parse_keys(fields: &[String]) -> Result<BTreeMap<&str, &str>, String> {
    let mut keys = BTreeMap::new();
    for field in fields.iter().filter(|field| !field.is_empty()) {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("{field} is not key=value"))?;
        let (key, value) = (key.trim(), value.trim());
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
        if key.is_empty() || key.len() > MAX_KEY || !key.chars().all(is_plain) {
            return Err(format!(
                "the key {key:?} is not made of at most {MAX_KEY} lower-case letters, digits, dots and underscores"
            ));
        }
        if TAKEN.contains(&key) {
            return Err(format!("the key {key} is an attribute of every flow"));
        }
        check_text(&format!("the value of {key}"), value)?;
        if keys.insert(key, value).is_some() {
            return Err(format!("the key {key} is given twice"));
        }
        if keys.len() > MAX_KEYS {
            return Err(format!("more than {MAX_KEYS} keys"));
        }
    }
    Ok(keys)
}

/// Attributes of a span, encoded once.
fn encode(side: &str, name: &str, keys: &BTreeMap<&str, &str>) -> Vec<u8> {
    const SPAN_ATTRIBUTES: u32 = 9;
    let mut octets = Vec::new();
    let mut push = |key: &str, value: &str| {
        push_key_value(&mut octets, SPAN_ATTRIBUTES, key, Value::Text(value));
    };
    push(&format!("netflow.{side}.network"), name);
    for (key, value) in keys {
        push(&format!("{side}.{key}"), value);
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "cidr,name\n# offices\n10.0.0.0/8,office,site=berlin\n10.1.0.0/16,\"lab, new\"\n\n2001:db8::/32,office\n";

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_the_name_of_its_longest_prefix() {
        let networks = Networks::parse(FILE, None).unwrap();
        assert_eq!(networks.len(), 3);
        for (of, name) in [
            ("10.2.0.1", Some("office")),
            ("10.1.0.1", Some("lab, new")),
            ("2001:db8::1", Some("office")),
            ("192.0.2.1", None),
        ] {
            assert_eq!(networks.name_of(address(of)), name, "{of}");
        }
    }

    #[test]
    fn a_name_keeps_its_number_over_reloads() {
        let before = Networks::parse(FILE, None).unwrap();
        let lab = before.find(address("10.1.0.1")).unwrap().name;
        let after = Networks::parse(
            "192.0.2.0/24,new\n10.9.0.0/16,\"lab, new\"\n",
            Some(&before),
        )
        .unwrap();
        assert_eq!(after.find(address("10.9.0.1")).unwrap().name, lab);
        assert_ne!(after.find(address("192.0.2.1")).unwrap().name, lab);
        assert_eq!(after.name_of(address("10.1.0.1")), None);
    }

    #[test]
    fn attributes_are_encoded_for_both_sides() {
        let networks = Networks::parse(FILE, None).unwrap();
        let known = networks.find(address("10.2.0.1")).unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        for (octets, keys) in [
            (known.source, ["netflow.source.network", "source.site"]),
            (
                known.destination,
                ["netflow.destination.network", "destination.site"],
            ),
        ] {
            let text = text(octets.octets());
            assert!(keys.iter().all(|key| text.contains(key)), "{text}");
            assert!(text.contains("office") && text.contains("berlin"), "{text}");
        }
    }

    #[test]
    fn an_error_names_its_line() {
        for (text, sentence) in [
            ("10.0.0.0/8", "line 1: expected cidr,name[,key=value…]"),
            ("\n10.0.0.0/8,", "line 2: the name is empty"),
            (
                "10.0.0.1/8,a",
                "line 1: 10.0.0.1/8 has bits behind its prefix; the network is 10.0.0.0/8",
            ),
            (
                "here,a",
                "line 1: here is not a network in CIDR form, such as 10.0.0.0/8",
            ),
            (
                "10.0.0.0/8,a\n10.0.0.0/8,b",
                "line 2: 10.0.0.0/8 is on line 1 already",
            ),
            ("10.0.0.0/8,a,b", "line 1: b is not key=value"),
            (
                "10.0.0.0/8,a,port=1",
                "line 1: the key port is an attribute of every flow",
            ),
            ("10.0.0.0/8,a,k=1,k=2", "line 1: the key k is given twice"),
            ("10.0.0.0/8,\"a", "line 1: a quoted field doesn't end"),
        ] {
            let error = Networks::parse(text, None).unwrap_err();
            assert_eq!(error.to_string(), sentence);
        }
        for heading in ["cidr,name", "Network,Name,Site"] {
            let networks = Networks::parse(&format!("{heading}\n10.0.0.0/8,a"), None);
            assert_eq!(networks.unwrap().len(), 1, "{heading}");
        }
        let error = Networks::parse("10.0.0.0/8,a,Key=1", None).unwrap_err();
        assert!(
            error.problem.starts_with("the key \"Key\" is not made of"),
            "{error}"
        );
    }
}
