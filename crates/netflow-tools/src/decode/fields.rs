//! Fields of a record by name: what `--by` accepts, and the columns of tables and CSV.

use std::str::FromStr;

use super::output::{ShownAny, protocol, utc};
use super::records::Record;
use super::summary::FileSummary;

/// A field of a record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Field {
    /// The file, where several are decoded.
    File,
    /// The address of the exporter.
    Exporter,
    /// The observation domain or source ID.
    Domain,
    /// `netflow`, `ipfix` or `sflow`.
    Protocol,
    /// An attribute of the span.
    Attribute(String),
}

/// Short names, as in nfdump where it has them.
const SHORT: &[(&str, &str)] = &[
    ("src", "source.address"),
    ("srcip", "source.address"),
    ("dst", "destination.address"),
    ("dstip", "destination.address"),
    ("srcport", "source.port"),
    ("dstport", "destination.port"),
    ("proto", "network.transport"),
    ("in", "netflow.interface.input"),
    ("inif", "netflow.interface.input"),
    ("out", "netflow.interface.output"),
    ("outif", "netflow.interface.output"),
    ("srcas", "netflow.src_as"),
    ("dstas", "netflow.dst_as"),
    ("flags", "netflow.tcp_flags"),
    ("tos", "netflow.tos"),
    ("nexthop", "netflow.nexthop"),
    ("invlan", "netflow.vlan.input"),
    ("outvlan", "netflow.vlan.output"),
    ("srcmac", "netflow.src_mac"),
    ("dstmac", "netflow.dst_mac"),
    ("direction", "network.io.direction"),
    ("application", "netflow.application.name"),
    ("version", "netflow.version"),
];

/// Why a name is no field.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{name:?} is not a field{hint}; short names are {names}, exporter, domain, protocol and file, and the name of every \
     attribute is accepted, such as source.address"
)]
pub struct UnknownField {
    name: String,
    hint: String,
    names: String,
}

impl FromStr for Field {
    type Err = UnknownField;

    fn from_str(name: &str) -> Result<Self, UnknownField> {
        let fields = [
            ("file", Self::File),
            ("exporter", Self::Exporter),
            ("domain", Self::Domain),
            ("protocol", Self::Protocol),
        ];
        if let Some((_, field)) = fields.iter().find(|(known, _)| *known == name) {
            return Ok(field.clone());
        }
        if let Some((_, key)) = SHORT.iter().find(|(short, _)| *short == name) {
            return Ok(Self::Attribute((*key).to_owned()));
        }
        // Attributes of level `all` depend on what is exported; every one has a dot in its name.
        if name.contains('.') && !name.contains(char::is_whitespace) {
            return Ok(Self::Attribute(name.to_owned()));
        }
        let known = SHORT.iter().map(|(short, _)| *short);
        let all = known.clone().chain(fields.iter().map(|(known, _)| *known));
        let nearest = all
            .map(|known| (strsim::damerau_levenshtein(name, known), known))
            .filter(|(distance, _)| *distance <= 2)
            .min();
        let hint = nearest.map(|(_, known)| format!("; did you mean {known:?}?"));
        Err(UnknownField {
            name: name.to_owned(),
            hint: hint.unwrap_or_default(),
            names: known.collect::<Vec<_>>().join(", "),
        })
    }
}

impl Field {
    /// As JSON and CSV name it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::File => "file",
            Self::Exporter => "exporter",
            Self::Domain => "domain",
            Self::Protocol => "protocol",
            Self::Attribute(key) => key,
        }
    }

    /// At the head of a column.
    pub(super) fn title(&self) -> String {
        let short = SHORT.iter().find(|(_, key)| *key == self.name());
        short.map_or(self.name(), |(short, _)| short).to_uppercase()
    }

    /// The value as JSON; `null` where the record doesn't have it.
    pub(super) fn json(&self, record: &Record<'_>, files: &[FileSummary]) -> String {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let attributes = &record.span.attributes;
        let known = match self {
            Self::File => record
                .origin
                .and_then(|origin| files.get(origin.file))
                .map(|file| text(&file.name)),
            Self::Exporter => record
                .has_source
                .then(|| text(&record.source.ip().to_string())),
            Self::Domain => record.domain.map(|domain| domain.to_string()),
            Self::Protocol => Some(text(protocol(attributes).0)),
            Self::Attribute(key) => {
                let attribute = attributes.iter().find(|attribute| attribute.key == *key);
                attribute.and_then(|attribute| {
                    serde_json::to_string(&ShownAny(attribute.value.as_ref())).ok()
                })
            }
        };
        known.unwrap_or_else(|| "null".to_owned())
    }
}

/// A value as text: JSON without the quotation marks of a string, nothing for `null`.
pub(super) fn plain(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(serde_json::Value::String(text)) => text,
        Ok(serde_json::Value::Null) => String::new(),
        _ => json.to_owned(),
    }
}

/// A cell of CSV (RFC 4180).
pub(super) fn push_csv(cell: &str, line: &mut String) {
    if cell.contains([',', '"', '\n', '\r']) {
        line.push('"');
        line.push_str(&cell.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(cell);
    }
}

/// The times of a record as they were exported.
pub(super) fn times(record: &Record<'_>) -> (Option<String>, Option<String>) {
    let (start, end) = super::output::told_times(&record.span.attributes);
    (start.map(utc), end.map(utc))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_or_those_of_attributes() {
        assert_eq!(
            "src".parse(),
            Ok(Field::Attribute("source.address".to_owned()))
        );
        assert_eq!("exporter".parse(), Ok(Field::Exporter));
        assert_eq!(
            "ipfix.ip_ttl".parse(),
            Ok(Field::Attribute("ipfix.ip_ttl".to_owned()))
        );
        let error = "sorce".parse::<Field>().unwrap_err().to_string();
        assert!(error.starts_with("\"sorce\" is not a field; "), "{error}");
        let error = "exportr".parse::<Field>().unwrap_err().to_string();
        assert!(error.contains("did you mean \"exporter\"?"), "{error}");
        assert!("a. b".parse::<Field>().is_err());
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let mut line = String::new();
        push_csv("plain", &mut line);
        push_csv("a,\"b\"", &mut line);
        assert_eq!(line, "plain\"a,\"\"b\"\"\"");
    }

    #[test]
    fn values_lose_only_their_quotation_marks() {
        assert_eq!(plain("\"a\\\"b\""), "a\"b");
        assert_eq!(plain("443"), "443");
        assert_eq!(plain("null"), "");
        assert_eq!(plain("[1,2]"), "[1,2]");
    }
}
