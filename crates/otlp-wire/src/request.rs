//! Requests by concatenation: a resource encoded once, two lengths, and the Spans as they stand.
//!
//! `ExportTraceServiceRequest.resource_spans` (1) holds `ResourceSpans { resource (1), scope_spans (2) }`,
//! `ScopeSpans { scope (1), spans (2) }`.

use crate::attributes::{Value, push_key_value};
use crate::proto::{push_delimited, push_varint, varint_len};

/// A resource and the instrumentation scope beneath it, encoded once and used for every request.
#[derive(Clone, Debug)]
pub struct ResourceFront {
    /// `ResourceSpans.resource`, with tag and length.
    resource: Box<[u8]>,
    /// `ScopeSpans.scope`, with tag and length.
    scope: Box<[u8]>,
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
        let mut resource = Vec::new();
        push_delimited(&mut resource, 1, &message);
        message.clear();
        push_delimited(&mut message, 1, scope_name.as_bytes());
        push_delimited(&mut message, 2, scope_version.as_bytes());
        let mut scope = Vec::new();
        push_delimited(&mut scope, 1, &message);
        Self {
            resource: resource.into(),
            scope: scope.into(),
        }
    }

    /// Octets that stand before `spans_len` octets of Spans.
    #[must_use]
    pub fn len_before(&self, spans_len: usize) -> usize {
        let scope_spans = self.scope.len() + spans_len;
        let resource_spans = self.resource.len() + 1 + varint_len(scope_spans as u64) + scope_spans;
        1 + varint_len(resource_spans as u64) + resource_spans - spans_len
    }

    /// The most that [`len_before`](Self::len_before) returns.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.resource.len() + self.scope.len() + 2 * (1 + varint_len(u64::from(u32::MAX)))
    }

    /// Appends what stands before `spans_len` octets of Spans.
    pub fn push_before(&self, out: &mut Vec<u8>, spans_len: usize) {
        let scope_spans = self.scope.len() + spans_len;
        let resource_spans = self.resource.len() + 1 + varint_len(scope_spans as u64) + scope_spans;
        out.push(1 << 3 | 2);
        push_varint(out, resource_spans as u64);
        out.extend_from_slice(&self.resource);
        out.push(2 << 3 | 2);
        push_varint(out, scope_spans as u64);
        out.extend_from_slice(&self.scope);
    }
}
