//! Attributes of few values, encoded once: writing one is a copy of known length.

use netflow_wire::ie;
use otlp_wire::{Encoded, Value};

use crate::attributes::names::{Keys, Name};
use crate::attributes::short_text::ShortText;
use crate::attributes::table::{ATTRIBUTES, Form};
use crate::plan::Family;
use crate::plan::sampling::Origin;

/// Values of enumerations that are encoded: more than are assigned.
const VALUES: u64 = 32;

#[derive(Debug)]
pub(crate) struct EncodedValues {
    ipv4: Encoded,
    ipv6: Encoded,
    receive: Encoded,
    transmit: Encoded,
    /// In the order of [`Origin::ALL`].
    origins: [Encoded; Origin::ALL.len()],
    /// By element, then by value.
    names: Vec<(u16, Vec<Option<Encoded>>)>,
}

impl EncodedValues {
    pub(crate) fn new(keys: &Keys) -> Self {
        let value = |name, text| encoded(keys, name, text).expect("it is a short one");
        let names = ATTRIBUTES
            .iter()
            .filter(|attribute| attribute.form == Form::ValueName)
            .flat_map(|attribute| {
                attribute
                    .sources
                    .iter()
                    .map(|source| (attribute.name, source.1))
            })
            .map(|(name, element)| {
                let element = named_like(element);
                let of_value = |value| encoded(keys, name, value_text(element, value).as_str());
                (element, (0..VALUES).map(of_value).collect())
            });
        Self {
            ipv4: value(Name::NetworkType, "ipv4"),
            ipv6: value(Name::NetworkType, "ipv6"),
            receive: value(Name::Direction, "receive"),
            transmit: value(Name::Direction, "transmit"),
            origins: Origin::ALL.map(|origin| value(Name::SamplingOrigin, origin.name())),
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
        &self.origins[origin as usize]
    }

    /// The attribute of an enumeration's value; `None` where it is none of the lowest.
    #[inline]
    pub(crate) fn named(&self, element: u16, value: u64) -> Option<&Encoded> {
        let (_, values) = self.names.iter().find(|(of, _)| *of == element)?;
        values.get(usize::try_from(value).ok()?)?.as_ref()
    }
}

/// A text under every key of its name.
fn encoded(keys: &Keys, name: Name, text: &str) -> Option<Encoded> {
    let attributes: Vec<_> = keys
        .text(name)
        .map(|key| (key, Value::Text(text)))
        .collect();
    Encoded::new(&attributes)
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
    use crate::config::Semconv;

    #[test]
    fn every_enumeration_has_its_values_and_they_are_the_names() {
        for semconv in Semconv::ALL {
            let keys = Keys::new(semconv);
            for (element, values) in &EncodedValues::new(&keys).names {
                assert_eq!(values.len() as u64, VALUES, "{element}");
                let attribute = ATTRIBUTES
                    .iter()
                    .find(|attribute| attribute.sources.iter().any(|of| of.1 == *element))
                    .expect("it is in the table");
                for (value, found) in (0..).zip(values) {
                    let text = value_text(*element, value);
                    let expected = encoded(&keys, attribute.name, text.as_str());
                    assert!(found.is_some(), "{element}, {value}: too long");
                    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
                }
            }
        }
        assert_eq!(value_text(136, 1).as_str(), "idle_timeout");
        assert_eq!(value_text(136, 31).as_str(), "31");
    }

    #[test]
    fn every_origin_has_its_value() {
        let keys = Keys::new(Semconv::Netflow);
        for origin in Origin::ALL {
            let own = encoded(&keys, Name::SamplingOrigin, origin.name());
            let found = *EncodedValues::new(&keys).origin(origin);
            assert_eq!(format!("{:?}", Some(found)), format!("{own:?}"));
        }
    }
}
