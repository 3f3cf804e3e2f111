//! Everything that is encoded once for a schema: keys, and attributes of few values.

use std::sync::LazyLock;

use crate::attributes::encoded::EncodedValues;
use crate::attributes::names::{Keys, Name};
use crate::attributes::protocols::Protocols;
use crate::config::Semconv;

/// The words of one `NETFLOW_SEMCONV`.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    pub(crate) keys: Keys,
    pub(crate) values: EncodedValues,
    pub(crate) protocols: Protocols,
}

impl Vocabulary {
    fn new(semconv: Semconv) -> Self {
        let keys = Keys::new(semconv);
        Self {
            values: EncodedValues::new(&keys),
            protocols: Protocols::new(&keys),
            keys,
        }
    }

    /// The vocabulary of a schema, made at its first use.
    pub(crate) fn of(semconv: Semconv) -> &'static Self {
        static NETFLOW: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::new(Semconv::Netflow));
        static FLOW: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::new(Semconv::Flow));
        static BOTH: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::new(Semconv::Both));
        match semconv {
            Semconv::Netflow => &NETFLOW,
            Semconv::Flow => &FLOW,
            Semconv::Both => &BOTH,
        }
    }
}

/// A span being written, whose attributes are given by name.
pub(crate) struct Attributes<'w, 'room> {
    pub(crate) words: &'static Vocabulary,
    pub(crate) writer: &'w mut otlp_wire::SpanWriter<'room>,
}

impl Attributes<'_, '_> {
    #[inline(always)]
    pub(crate) fn unsigned(&mut self, name: Name, value: u64) {
        let keys = &self.words.keys;
        keys.each(name, |key| self.writer.unsigned(key, value));
    }

    #[inline]
    pub(crate) fn boolean(&mut self, name: Name, value: bool) {
        let keys = &self.words.keys;
        keys.each(name, |key| self.writer.boolean(key, value));
    }

    #[inline]
    pub(crate) fn text(&mut self, name: Name, value: &str) {
        let keys = &self.words.keys;
        keys.each(name, |key| self.writer.text(key, value));
    }

    #[inline]
    pub(crate) fn mac(&mut self, name: Name, value: [u8; 6]) {
        let keys = &self.words.keys;
        keys.each(name, |key| self.writer.mac(key, value));
    }

    #[inline]
    pub(crate) fn address(&mut self, name: Name, value: std::net::IpAddr) {
        let keys = &self.words.keys;
        keys.each(name, |key| match value {
            std::net::IpAddr::V4(address) => self.writer.ipv4(key, address.octets()),
            std::net::IpAddr::V6(address) => self.writer.ipv6(key, address.octets()),
        });
    }

    /// Text as an exporter sent it: without the zeros that fill it up, invalid UTF-8 replaced.
    pub(crate) fn exported_text(&mut self, name: Name, octets: &[u8]) {
        let keys = &self.words.keys;
        keys.each(name, |key| {
            crate::plan::record::write_text(key, octets, self.writer);
        });
    }
}
