//! Requests by concatenation: a resource encoded once, two lengths, and the Spans as they stand.
//!
//! `ExportTraceServiceRequest.resource_spans` (1) holds `ResourceSpans { resource (1), scope_spans (2) }`,
//! `ScopeSpans { scope (1), spans (2) }`.

use crate::attributes::{Value, push_key_value};
use crate::proto::{
    PATCHED_LENGTH, padded_length, push_delimited, push_varint, tag_of, varint_len,
};
use crate::read::Reader;

const RESOURCE_SPANS: u8 = tag_of(1);
const SCOPE_SPANS: u8 = tag_of(2);

/// A resource and the instrumentation scope beneath it, encoded once and used for every request.
#[derive(Clone, Debug)]
pub struct ResourceFront {
    /// What stands before Spans, their lengths left at zero: tag and length of the `ResourceSpans`, its `resource`,
    /// tag and length of the `ScopeSpans`, its `scope`.
    octets: Box<[u8]>,
    /// Where the tag of the `ScopeSpans` stands.
    scope_spans_at: usize,
}

impl ResourceFront {
    /// Encodes the resource's attributes in the given order, and the scope's name and version.
    pub fn new<'a>(
        attributes: impl IntoIterator<Item = (&'a str, Value<'a>)>,
        scope_name: &str,
        scope_version: &str,
    ) -> Self {
        let mut message = Vec::new();
        for (key, value) in attributes {
            push_key_value(&mut message, 1, key, value);
        }
        let mut scope = Vec::new();
        push_delimited(&mut scope, 1, scope_name.as_bytes());
        push_delimited(&mut scope, 2, scope_version.as_bytes());
        let mut tagged = Vec::new();
        push_delimited(&mut tagged, 1, &scope);
        Self::of(&message, &tagged)
    }

    /// Of the content of a `Resource`, and a scope with tag and length.
    fn of(resource: &[u8], scope: &[u8]) -> Self {
        let mut octets = vec![RESOURCE_SPANS];
        octets.extend_from_slice(&padded_length(0));
        push_delimited(&mut octets, 1, resource);
        let scope_spans_at = octets.len();
        octets.push(SCOPE_SPANS);
        octets.extend_from_slice(&padded_length(0));
        octets.extend_from_slice(scope);
        Self {
            octets: octets.into(),
            scope_spans_at,
        }
    }

    /// The same with another text for the attribute `key`; an attribute that it lacks is put at its end.
    #[must_use]
    pub fn with_text(&self, key: &str, text: &str) -> Self {
        let mut replacement = Vec::new();
        push_key_value(&mut replacement, 1, key, Value::Text(text));
        let mut message = Vec::new();
        let mut is_replaced = false;
        let resources = Reader::new(self.resource()).flatten();
        for resource in resources.filter_map(|field| field.octets().ok()) {
            for field in Reader::new(resource).flatten() {
                let Ok(attribute) = field.octets() else {
                    continue;
                };
                let own_key = Reader::new(attribute)
                    .flatten()
                    .find(|part| part.number == 1);
                let own_key = own_key.and_then(|part| part.octets().ok());
                if field.number == 1 && own_key == Some(key.as_bytes()) {
                    message.extend_from_slice(&replacement);
                    is_replaced = true;
                } else {
                    push_delimited(&mut message, field.number, attribute);
                }
            }
        }
        if !is_replaced {
            message.extend_from_slice(&replacement);
        }
        Self::of(&message, self.scope())
    }

    /// What stands before Spans that are still to be written; [`patch`](Self::patch) puts their lengths in. As long for
    /// any number of them: both lengths have four octets, whatever they are.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Completes a copy of [`octets`](Self::octets), with `spans_len` octets of Spans behind it; they are fewer than 2^28.
    /// What is shorter than such a copy is left as it is.
    pub fn patch(&self, front: &mut [u8], spans_len: usize) {
        let head = 1 + PATCHED_LENGTH;
        let mut put = |at: usize, length: usize| {
            if let Some(octets) = front.get_mut(at + 1..at + head) {
                octets.copy_from_slice(&padded_length(length));
            }
        };
        put(0, self.octets.len() - head + spans_len);
        let behind = self.octets.len() - self.scope_spans_at - head;
        put(self.scope_spans_at, behind + spans_len);
    }

    /// Appends what stands before `spans_len` octets of Spans, with lengths as short as they can be: not more than
    /// [`octets`](Self::octets) has.
    pub fn push_before(&self, out: &mut Vec<u8>, spans_len: usize) {
        let (resource, scope) = (self.resource(), self.scope());
        let scope_spans = scope.len() + spans_len;
        let resource_spans = resource.len() + 1 + varint_len(scope_spans as u64) + scope_spans;
        out.push(RESOURCE_SPANS);
        push_varint(out, resource_spans as u64);
        out.extend_from_slice(resource);
        out.push(SCOPE_SPANS);
        push_varint(out, scope_spans as u64);
        out.extend_from_slice(scope);
    }

    /// `ResourceSpans.resource`, with tag and length.
    fn resource(&self) -> &[u8] {
        let resource = 1 + PATCHED_LENGTH..self.scope_spans_at;
        self.octets.get(resource).unwrap_or_default()
    }

    /// `ScopeSpans.scope`, with tag and length.
    fn scope(&self) -> &[u8] {
        let scope = self.scope_spans_at + 1 + PATCHED_LENGTH..;
        self.octets.get(scope).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_gets_another_text_where_it_stands() {
        let front = |attributes: &[(&'static str, &'static str)]| {
            let attributes = attributes
                .iter()
                .map(|(key, text)| (*key, Value::Text(text)));
            ResourceFront::new(attributes, "scope", "1")
        };
        let before = front(&[("a", "1"), ("service.name", "x"), ("b", "2")]);
        let long = "n".repeat(300);
        let long: &'static str = long.leak();
        for name in ["", "office", long] {
            let after = front(&[("a", "1"), ("service.name", name), ("b", "2")]);
            let changed = before.with_text("service.name", name);
            assert_eq!(changed.octets(), after.octets());
            assert_eq!(changed.scope_spans_at, after.scope_spans_at);
        }
        let added = front(&[("a", "1")]).with_text("service.name", "x");
        assert_eq!(
            added.octets(),
            front(&[("a", "1"), ("service.name", "x")]).octets()
        );
    }
}
