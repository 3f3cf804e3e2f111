//! Every element that no named attribute shows, typed by its abstract data type; lists (RFC 6313) as arrays and
//! key-value lists. An element to which the operator has given an attribute has that key, at level `standard` too; all
//! others are `ipfix.<name>` at level `all`.

mod lists;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use netflow_wire::ie::{self, AbstractDataType, snake_case};
use netflow_wire::{FieldSpecifier, Location, Template, Version, signed, unsigned};
use otlp_wire::attributes::push_any_value;
use otlp_wire::proto::{push_delimited, put_varint};
use otlp_wire::text::{put_ipv4, put_ipv6, put_mac};
use otlp_wire::{Key, SpanWriter, Value};

pub(crate) use self::lists::{ListPlan, ListRoom, Lists, NoTemplates, Resolve};
use crate::attributes::table::{Source, of_vendors};
use crate::config::AttributeLevel;
use crate::enrich::fields::{Definition, Fields};
use crate::plan::Choices;
use crate::plan::times::ntp_to_unix_nanos;

/// Octets of an octet array that are shown, two digits each.
const MAX_OCTETS: usize = 256;
/// Elements that one exporter may describe.
const MAX_TOLD: usize = 4096;
/// Octets of a name that are looked at.
const MAX_TOLD_NAME: usize = 64;
/// paddingOctets.
const PADDING: u16 = 210;

/// `AnyValue.array_value`, length-delimited.
const ANY_ARRAY: u8 = 5 << 3 | 2;
/// `ArrayValue.values` and `KeyValueList.values`.
const VALUES: u8 = 1 << 3 | 2;

/// The key of an attribute.
#[derive(Clone, Debug)]
enum ElementKey {
    Encoded(Key),
    /// Too long for that.
    Long(Box<str>),
}

impl ElementKey {
    fn new(key: String) -> Self {
        Key::new(&key).map_or_else(|| Self::Long(key.into()), Self::Encoded)
    }

    fn name(&self) -> &str {
        match self {
            Self::Encoded(key) => key.name(),
            Self::Long(key) => key,
        }
    }
}

/// An attribute.
#[derive(Clone, Debug)]
pub(crate) struct ElementStep {
    key: ElementKey,
    /// The key is the operator's: a text that says nothing is left out.
    is_own: bool,
    data_type: Option<AbstractDataType>,
    /// More than one where the template repeats the element: then the value is an array.
    fields: Vec<u16>,
    /// It is one of several that a named attribute chooses from: shown unless it is chosen or zero.
    rival: Option<Choices>,
}

/// The steps for all elements that `shown` doesn't hold and the level has; `rivals` are those that a named attribute
/// may choose.
pub(crate) fn compile(
    template: &Template,
    level: AttributeLevel,
    shown: &HashSet<u16>,
    rivals: &HashMap<u16, Choices>,
    types: &ElementTypes,
) -> Box<[ElementStep]> {
    let mut steps: Vec<ElementStep> = Vec::new();
    // Templates of a thousand fields come too: nothing is searched for by going through all.
    let mut repeated: HashMap<(u32, u16), usize> = HashMap::new();
    let (mut keys, mut own_keys) = (HashSet::new(), HashSet::new());
    for (index, field) in (0_u16..).zip(&*template.fields) {
        if shown.contains(&index)
            || field.length == 0
            || (field.enterprise == 0 && field.element == PADDING)
        {
            continue;
        }
        let same = repeated.get(&(field.enterprise, field.element));
        if let Some(step) = same.and_then(|step| steps.get_mut(*step)) {
            step.fields.push(index);
            continue;
        }
        // The same attribute may be of several elements: in one template it is of the first.
        let own = types.attribute(template.version, field);
        let own = own.filter(|key| own_keys.insert(*key) && !is_shown(template, key));
        if level < AttributeLevel::All && own.is_none() {
            continue;
        }
        let (name, data_type) = types.describe(template.version, field);
        // Two vendors may call different things the same.
        let name = if keys.contains(&name) {
            numbered(field)
        } else {
            name
        };
        keys.insert(name.clone());
        let key = own.map_or_else(|| format!("ipfix.{name}"), str::to_owned);
        let step = ElementStep {
            key: ElementKey::new(key),
            is_own: own.is_some(),
            data_type,
            fields: vec![index],
            rival: rivals.get(&index).copied(),
        };
        repeated.insert((field.enterprise, field.element), steps.len());
        steps.push(step);
    }
    steps.into()
}

/// Whether a named attribute with this key shows another field of the template.
fn is_shown(template: &Template, key: &str) -> bool {
    let has = |source: &Source| {
        let mut fields = template.fields.iter();
        fields.any(|field| (field.enterprise, field.element) == *source)
    };
    of_vendors(key).is_some_and(|row| row.sources.iter().any(has))
}

/// Octets that the steps take.
pub(crate) fn octets(steps: &[ElementStep]) -> usize {
    let step = |step: &ElementStep| {
        let key = match &step.key {
            ElementKey::Encoded(_) => 0,
            ElementKey::Long(key) => key.len(),
        };
        size_of::<ElementStep>() + 32 + 2 * step.fields.capacity() + key
    };
    steps.iter().map(step).sum()
}

/// Writes the attributes of one record; `scratch` is used anew for each.
pub(crate) fn write(
    steps: &[ElementStep],
    record: &[u8],
    locations: &[Location],
    lists: Lists<'_>,
    is_told: impl Fn(Choices, u16) -> bool,
    scratch: &mut Vec<u8>,
    writer: &mut SpanWriter<'_>,
) {
    let value = |field: u16| {
        locations
            .get(usize::from(field))
            .map_or(&[][..], |location| location.of(record))
    };
    for step in steps {
        scratch.clear();
        let lists = lists.of_attribute();
        match step.fields.as_slice() {
            [field] => {
                let octets = value(*field);
                if let Some(choices) = step.rival
                    && (octets.iter().all(|octet| *octet == 0) || is_told(choices, *field))
                {
                    continue;
                }
                if octets.is_empty() && step.data_type != Some(AbstractDataType::String) {
                    continue;
                }
                if step.is_own
                    && step.data_type == Some(AbstractDataType::String)
                    && is_blank(octets)
                {
                    continue;
                }
                if let ElementKey::Encoded(key) = &step.key
                    && write_plain(key, step.data_type, octets, writer)
                {
                    continue;
                }
                push_value(scratch, step.data_type, octets, lists, 0);
            }
            fields => {
                let is_shown = |field: &&u16| {
                    let is_zero = || value(**field).iter().all(|octet| *octet == 0);
                    let rival = step.rival;
                    !rival.is_some_and(|choices| is_zero() || is_told(choices, **field))
                };
                let mut shown = fields.iter().filter(is_shown);
                match (shown.next(), shown.next()) {
                    (None, _) => continue,
                    (Some(field), None) => {
                        push_value(scratch, step.data_type, value(*field), lists, 0);
                    }
                    _ => nest(scratch, ANY_ARRAY, |out| {
                        for field in fields.iter().filter(is_shown) {
                            nest(out, VALUES, |out| {
                                push_value(out, step.data_type, value(*field), lists, 0);
                            });
                        }
                    }),
                }
            }
        }
        if step.data_type.is_some_and(lists::is_list) {
            lists.made(scratch.len());
        }
        writer.any_value(step.key.name(), scratch);
    }
}

/// Nothing but zeros and blanks.
fn is_blank(octets: &[u8]) -> bool {
    octets
        .iter()
        .all(|octet| *octet == 0 || octet.is_ascii_whitespace())
}

/// Writes what is most common without a detour, in the form that [`push_value`] gives it; `false` if it is something
/// else.
fn write_plain(
    key: &Key,
    data_type: Option<AbstractDataType>,
    octets: &[u8],
    writer: &mut SpanWriter<'_>,
) -> bool {
    use AbstractDataType as Type;
    match (data_type, octets) {
        (
            Some(
                Type::Unsigned8
                | Type::Unsigned16
                | Type::Unsigned32
                | Type::Unsigned64
                | Type::DateTimeSeconds
                | Type::DateTimeMilliseconds,
            ),
            _,
        ) if octets.len() <= 8 => writer.unsigned(key, unsigned(octets)),
        (Some(Type::Ipv4Address), &[a, b, c, d]) => writer.ipv4(key, [a, b, c, d]),
        (Some(Type::Ipv6Address), _) if octets.len() == 16 => {
            writer.ipv6(key, octets.try_into().unwrap_or_default());
        }
        (Some(Type::MacAddress), &[a, b, c, d, e, f]) => writer.mac(key, [a, b, c, d, e, f]),
        _ => return false,
    }
    true
}

/// Elements that the operator has defined, and those that an exporter has described itself (RFC 5610), beside those of
/// the tables.
#[derive(Debug, Default)]
pub(crate) struct ElementTypes {
    /// The same for all exporters, for as long as the program runs.
    defined: Option<Arc<Fields>>,
    told: HashMap<(u32, u16), (Box<str>, Option<AbstractDataType>)>,
}

impl ElementTypes {
    pub(crate) fn new(defined: Option<Arc<Fields>>) -> Self {
        Self {
            defined,
            ..Self::default()
        }
    }

    /// The operator's definition.
    fn defined(&self, version: Version, field: &FieldSpecifier) -> Option<&Definition> {
        self.defined.as_ref()?.find(version, field)
    }

    /// The key that the operator has given to an element.
    fn attribute(&self, version: Version, field: &FieldSpecifier) -> Option<&str> {
        self.defined(version, field)?.attribute.as_deref()
    }

    /// The operator has given a key to some element.
    pub(crate) fn has_attributes(&self) -> bool {
        let defined = self.defined.as_ref();
        defined.is_some_and(|fields| fields.has_attributes())
    }

    /// No exporter has described any.
    pub(crate) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Takes a description in; whether it is news. What the tables know stays as they say.
    pub(crate) fn learn(
        &mut self,
        enterprise: u32,
        element: u16,
        name: &[u8],
        data_type: Option<AbstractDataType>,
    ) -> bool {
        let is_full =
            self.told.len() >= MAX_TOLD && !self.told.contains_key(&(enterprise, element));
        if enterprise == 0 || ie::lookup(enterprise, element).is_some() || is_full {
            return false;
        }
        let name = name.get(..MAX_TOLD_NAME).unwrap_or(name);
        let name: Box<str> = snake_case(&String::from_utf8_lossy(name)).into();
        let told = (name, data_type);
        let is_news = self.told.get(&(enterprise, element)) != Some(&told);
        if is_news {
            self.told.insert((enterprise, element), told);
        }
        is_news
    }

    /// All descriptions: enterprise, element, name, type.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u16, &str, Option<AbstractDataType>)> {
        let told = self.told.iter();
        told.map(|((enterprise, element), (name, data_type))| {
            (*enterprise, *element, &**name, *data_type)
        })
    }

    /// Elements described.
    pub(crate) fn len(&self) -> usize {
        self.told.len()
    }

    /// An element's type, as [`describe`](Self::describe) gives it.
    fn data_type(&self, version: Version, field: &FieldSpecifier) -> Option<AbstractDataType> {
        if let Some(definition) = self.defined(version, field) {
            return Some(definition.data_type);
        }
        match element(version, field) {
            Some(element) => Some(element.data_type),
            None => self.told.get(&(field.enterprise, field.element))?.1,
        }
    }

    /// An element's name in snake case and its type. An unknown element is named by its numbers and has none.
    fn describe(
        &self,
        version: Version,
        field: &FieldSpecifier,
    ) -> (String, Option<AbstractDataType>) {
        if let Some(definition) = self.defined(version, field) {
            return (definition.name.clone(), Some(definition.data_type));
        }
        match (
            element(version, field),
            self.told.get(&(field.enterprise, field.element)),
        ) {
            (Some(element), _) => {
                let name = snake_case(element.name);
                let reverse = ie::is_reverse(field.enterprise);
                let name = if reverse {
                    format!("reverse_{name}")
                } else {
                    name
                };
                (name, Some(element.data_type))
            }
            (None, Some((name, data_type))) if !name.is_empty() => (name.to_string(), *data_type),
            (None, Some((_, data_type))) => (numbered(field), *data_type),
            (None, None) => (numbered(field), None),
        }
    }
}

fn element(version: Version, field: &FieldSpecifier) -> Option<&'static ie::Element> {
    match (version, field.enterprise) {
        (Version::Ipfix, enterprise) | (_, enterprise @ (ie::CISCO | ie::NTOP)) => {
            ie::lookup(enterprise, field.element)
        }
        _ => ie::lookup_v9(field.element),
    }
}

fn numbered(field: &FieldSpecifier) -> String {
    format!("enterprise_{}.{}", field.enterprise, field.element)
}

/// Appends the octets of an `AnyValue` that holds a field's value.
fn push_value(
    out: &mut Vec<u8>,
    data_type: Option<AbstractDataType>,
    octets: &[u8],
    lists: Lists<'_>,
    depth: u8,
) {
    use AbstractDataType as Type;
    let number = octets.len() <= 8;
    match data_type {
        Some(Type::Unsigned8 | Type::Unsigned16 | Type::Unsigned32 | Type::Unsigned64)
            if number =>
        {
            push_any_value(out, Value::Unsigned(unsigned(octets)));
        }
        Some(Type::Signed8 | Type::Signed16 | Type::Signed32 | Type::Signed64) if number => {
            push_any_value(out, Value::Signed(signed(octets)));
        }
        Some(Type::Float32 | Type::Float64) if octets.len() == 4 => {
            let value = f32::from_bits(unsigned(octets) as u32);
            push_any_value(out, Value::Double(f64::from(value)));
        }
        Some(Type::Float64) if octets.len() == 8 => {
            push_any_value(out, Value::Double(f64::from_bits(unsigned(octets))));
        }
        // RFC 7011, section 6.1.5: 1 is true, 2 is false; all else is undefined and shown as it is.
        Some(Type::Boolean) if number => push_any_value(
            out,
            match unsigned(octets) {
                1 => Value::Bool(true),
                2 => Value::Bool(false),
                other => Value::Unsigned(other),
            },
        ),
        Some(Type::DateTimeSeconds | Type::DateTimeMilliseconds) if number => {
            push_any_value(out, Value::Unsigned(unsigned(octets)));
        }
        // In the unit that the name says, since 1970.
        Some(Type::DateTimeMicroseconds) if octets.len() == 8 => {
            push_any_value(
                out,
                Value::Unsigned(ntp_to_unix_nanos(unsigned(octets)) / 1000),
            );
        }
        Some(Type::DateTimeNanoseconds) if octets.len() == 8 => {
            push_any_value(out, Value::Unsigned(ntp_to_unix_nanos(unsigned(octets))));
        }
        Some(Type::MacAddress) if octets.len() == 6 => {
            let mut text = [0; 18];
            let len = put_mac(&mut text, octets.try_into().unwrap_or_default());
            push_delimited(out, 1, text.get(..len).unwrap_or_default());
        }
        Some(Type::Ipv4Address) if octets.len() == 4 => {
            let mut text = [0; 32];
            let len = put_ipv4(&mut text, octets.try_into().unwrap_or_default());
            push_delimited(out, 1, text.get(..len).unwrap_or_default());
        }
        Some(Type::Ipv6Address) if octets.len() == 16 => {
            let mut text = [0; 48];
            let len = put_ipv6(&mut text, octets.try_into().unwrap_or_default());
            push_delimited(out, 1, text.get(..len).unwrap_or_default());
        }
        Some(Type::String) => {
            let end = octets
                .iter()
                .rposition(|octet| *octet != 0)
                .map_or(0, |last| last + 1);
            let text = octets.get(..end).unwrap_or_default();
            push_any_value(out, Value::Lossy(text));
        }
        Some(kind) if lists::is_list(kind) && depth < lists::MAX_DEPTH => {
            or_hex(out, octets, |out| {
                lists::push(out, kind, octets, lists, depth)
            });
        }
        _ => hex(out, octets),
    }
}

fn hex(out: &mut Vec<u8>, octets: &[u8]) {
    let shown = octets.get(..MAX_OCTETS).unwrap_or(octets);
    let mut digits = [0; 2 * MAX_OCTETS];
    let len = otlp_wire::text::put_hex(&mut digits, shown);
    push_delimited(out, 1, digits.get(..len).unwrap_or_default());
}

/// What `push` can't make sense of is shown as octets.
fn or_hex(out: &mut Vec<u8>, octets: &[u8], push: impl FnOnce(&mut Vec<u8>) -> Option<()>) {
    let before = out.len();
    if push(out).is_none() {
        out.truncate(before);
        hex(out, octets);
    }
}

/// `tag`, a length, and what `content` appends.
fn nest<T>(out: &mut Vec<u8>, tag: u8, content: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    // Most lengths take one octet: with that in place nothing is moved.
    out.extend_from_slice(&[tag, 0]);
    let from = out.len();
    let made = content(out);
    let len = out.len() - from;
    let mut varint = [0; 10];
    let width = put_varint(&mut varint, len as u64);
    if width > 1 {
        out.resize(from + len + width - 1, 0);
        out.copy_within(from..from + len, from + width - 1);
    }
    if let Some(room) = out.get_mut(from - 1..from - 1 + width) {
        room.copy_from_slice(varint.get(..width).unwrap_or_default());
    }
    made
}

#[cfg(test)]
mod tests;
