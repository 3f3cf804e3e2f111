//! Attributes of few values, encoded once: writing one is a copy of known length.

use std::sync::LazyLock;

use netflow_wire::ie;
use otlp_wire::{Encoded, Value};

use crate::attributes::short_text::ShortText;
use crate::attributes::table::{ATTRIBUTES, Form};
use crate::plan::Family;
use crate::plan::sampling::Origin;

/// Values of enumerations that are encoded: more than are assigned.
const VALUES: u64 = 32;

pub(crate) struct EncodedValues {
    ipv4: Encoded,
    ipv6: Encoded,
    receive: Encoded,
    transmit: Encoded,
    origins: [(Origin, Encoded); 4],
    /// By element, then by value.
    names: Vec<(u16, Vec<Option<Encoded>>)>,
}

/// The encoded_values, made at their first use.
#[inline]
pub(crate) fn encoded_values() -> &'static EncodedValues {
    static PHRASES: LazyLock<EncodedValues> = LazyLock::new(EncodedValues::new);
    &PHRASES
}

impl EncodedValues {
    fn new() -> Self {
        let phrase =
            |key, text| Encoded::new(&[(key, Value::Text(text))]).expect("it is a short one");
        let names = ATTRIBUTES
            .iter()
            .filter(|attribute| attribute.form == Form::ValueName)
            .flat_map(|attribute| {
                attribute
                    .sources
                    .iter()
                    .map(|source| (attribute.key, source.1))
            })
            .map(|(key, element)| {
                let element = named_like(element);
                let encoded = |value| {
                    let text = value_text(element, value);
                    Encoded::new(&[(key, Value::Text(text.as_str()))])
                };
                (element, (0..VALUES).map(encoded).collect())
            });
        Self {
            ipv4: phrase("network.type", "ipv4"),
            ipv6: phrase("network.type", "ipv6"),
            receive: phrase("network.io.direction", "receive"),
            transmit: phrase("network.io.direction", "transmit"),
            origins: Origin::ALL
                .map(|origin| (origin, phrase("netflow.sampling.origin", origin.name()))),
            names: names.collect(),
        }
    }

    /// `network.type`.
    #[inline]
    pub(crate) fn network_type(&self, family: Family) -> &Encoded {
        match family {
            Family::V4 => &self.ipv4,
            Family::V6 => &self.ipv6,
        }
    }

    /// `network.io.direction`, of element 61.
    #[inline]
    pub(crate) fn direction(&self, value: u64) -> Option<&Encoded> {
        match value {
            0 => Some(&self.receive),
            1 => Some(&self.transmit),
            _ => None,
        }
    }

    /// `netflow.sampling.origin`.
    #[inline]
    pub(crate) fn origin(&self, origin: Origin) -> &Encoded {
        let [(_, first), rest @ ..] = &self.origins;
        rest.iter()
            .find_map(|(of, encoded)| (*of == origin).then_some(encoded))
            .unwrap_or(first)
    }

    /// The attribute of an enumeration's value; `None` where it is none of the lowest.
    #[inline]
    pub(crate) fn named(&self, element: u16, value: u64) -> Option<&Encoded> {
        let (_, values) = self.names.iter().find(|(of, _)| *of == element)?;
        values.get(usize::try_from(value).ok()?)?.as_ref()
    }
}

/// The element whose values' names an element's values have: those of vendors' types follow the registry's.
pub(crate) fn named_like(element: u16) -> u16 {
    match element {
        40005 => 233,
        element => element,
    }
}

/// The name of a value in snake case, or its number.
pub(crate) fn value_text(element: u16, value: u64) -> ShortText {
    let mut text = ShortText::default();
    match ie::value_name(element, value) {
        Some(name) => text.push_snake_case(name),
        None => text.push_number(value),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_enumeration_has_its_values_and_they_are_the_names() {
        for (element, values) in &encoded_values().names {
            assert_eq!(values.len() as u64, VALUES, "{element}");
            for (value, encoded) in (0..).zip(values) {
                let encoded = format!("{:?}", encoded.expect("short enough"));
                let text = value_text(*element, value);
                let expected = ATTRIBUTES
                    .iter()
                    .find(|attribute| attribute.sources.iter().any(|of| of.1 == *element))
                    .map(|attribute| [(attribute.key, Value::Text(text.as_str()))])
                    .and_then(|attribute| Encoded::new(&attribute))
                    .expect("short enough");
                assert_eq!(encoded, format!("{expected:?}"), "{element}, {value}");
            }
        }
        assert_eq!(value_text(136, 1).as_str(), "idle_timeout");
        assert_eq!(value_text(136, 31).as_str(), "31");
    }

    #[test]
    fn every_origin_has_its_phrase() {
        for origin in Origin::ALL {
            let own = Encoded::new(&[("netflow.sampling.origin", Value::Text(origin.name()))]);
            let own = format!("{:?}", own.expect("short"));
            assert_eq!(format!("{:?}", encoded_values().origin(origin)), own);
        }
    }
}
