//! `NETFLOW_FIELDS`: an operator's own definitions of Information Elements, for devices that no registry here knows.

use std::collections::HashMap;

use netflow_wire::ie::{self, AbstractDataType, snake_case};
use netflow_wire::{FieldSpecifier, Version};

use super::csv;
use super::networks::FileError;
use crate::attributes::names::Name;
use crate::attributes::table::of_vendors;

/// Definitions in a file.
const MAX_FIELDS: usize = 16 * 1024;
/// Octets of a name or of an attribute's key.
const MAX_TEXT: usize = 64;
/// Element numbers of IPFIX; those above are types of NetFlow v9 alone.
const MAX_ELEMENT: u16 = 0x7fff;
/// Keys that every span of a flow may have besides those of the vocabulary.
const TAKEN: [&str; 4] = [
    "netflow.version",
    "sflow.version",
    "netflow.source.network",
    "netflow.destination.network",
];

/// What the operator says of an element.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Definition {
    /// In snake case.
    pub(crate) name: String,
    pub(crate) data_type: AbstractDataType,
    /// The key that shows it at level `standard`; without one it is `ipfix.<name>` at level `all`.
    pub(crate) attribute: Option<String>,
}

/// Definitions by enterprise number and element, read from a file once.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Fields {
    definitions: HashMap<(u32, u16), Definition>,
    has_attributes: bool,
}

impl Fields {
    /// Reads lines of `enterprise,element,name,type[,attribute]`. A first line that begins with `enterprise` is a
    /// heading; empty lines and those that begin with `#` are comments.
    ///
    /// # Errors
    /// The first line that can't be used, with the column, its value and what to write there.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let mut fields = Self::default();
        let mut lines = HashMap::new();
        let mut is_first = true;
        for (line, text) in (1..).zip(text.lines()) {
            let fail = |problem: String| FileError::new(line, problem);
            let columns = csv::fields(text).map_err(|problem| fail(problem.to_owned()))?;
            let Some(columns) = columns else { continue };
            let is_heading = std::mem::take(&mut is_first)
                && columns
                    .first()
                    .is_some_and(|column| column.eq_ignore_ascii_case("enterprise"));
            if is_heading {
                continue;
            }
            let (key, definition) = definition(&columns).map_err(fail)?;
            if let Some(first) = lines.insert(key, line) {
                let (enterprise, element) = key;
                return Err(fail(format!(
                    "element {element} of enterprise {enterprise} is defined on line {first} already; remove one of \
                     the lines"
                )));
            }
            if lines.len() > MAX_FIELDS {
                return Err(fail(format!(
                    "there are more than {MAX_FIELDS} definitions; leave out what your devices don't send"
                )));
            }
            fields.has_attributes |= definition.attribute.is_some();
            fields.definitions.insert(key, definition);
        }
        Ok(fields)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.definitions.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty()
    }

    /// Some definition has an attribute of its own.
    pub(crate) fn has_attributes(&self) -> bool {
        self.has_attributes
    }

    /// The definition of a template's field; NetFlow v9's is found by its type, too.
    pub(crate) fn find(&self, version: Version, field: &FieldSpecifier) -> Option<&Definition> {
        let by_type = match version {
            Version::Ipfix => None,
            _ => ie::to_v9(field.enterprise, field.element),
        };
        by_type
            .and_then(|field_type| self.definitions.get(&(0, field_type)))
            .or_else(|| self.definitions.get(&(field.enterprise, field.element)))
    }
}

type Key = (u32, u16);

/// A line's element and what is said of it.
fn definition(columns: &[String]) -> Result<(Key, Definition), String> {
    let (enterprise, element, name, data_type, attribute) = match columns {
        [enterprise, element, name, data_type] => (enterprise, element, name, data_type, ""),
        [enterprise, element, name, data_type, attribute] => {
            (enterprise, element, name, data_type, attribute.as_str())
        }
        _ => {
            return Err(format!(
                "{} columns; write enterprise,element,name,type or enterprise,element,name,type,attribute",
                columns.len()
            ));
        }
    };
    let definition = Definition {
        name: read_name(name)?,
        data_type: read_type(data_type)?,
        attribute: read_attribute(attribute)?,
    };
    Ok((read_numbers(enterprise, element)?, definition))
}

fn read_numbers(enterprise: &str, element: &str) -> Result<Key, String> {
    let Ok(number) = enterprise.parse::<u32>() else {
        return Err(format!(
            "enterprise \"{enterprise}\" is not a number; write the vendor's Private Enterprise Number, or 0 for IANA"
        ));
    };
    match element.parse::<u16>() {
        Ok(id) if id > 0 && (id <= MAX_ELEMENT || number == 0) => Ok((number, id)),
        _ => Err(format!(
            "element \"{element}\" is not an element number; write 1 to {MAX_ELEMENT}, or with enterprise 0 a type \
             of NetFlow v9 up to 65535"
        )),
    }
}

fn read_name(name: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
    let snake = snake_case(name);
    if !snake.starts_with(|c: char| c.is_ascii_alphabetic())
        || !name.chars().all(is_plain)
        || name.len() > MAX_TEXT
    {
        return Err(format!(
            "name \"{name}\" is not a name; write up to {MAX_TEXT} letters, digits and underscores, a letter first"
        ));
    }
    Ok(snake)
}

fn read_type(name: &str) -> Result<AbstractDataType, String> {
    let types = || (0..=u8::MAX).map_while(AbstractDataType::from_code);
    let found = types().find(|data_type| data_type.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| {
        let known: Vec<_> = types().map(AbstractDataType::name).collect();
        format!(
            "type \"{name}\" is not known; write one of {}",
            known.join(", ")
        )
    })
}

fn read_attribute(key: &str) -> Result<Option<String>, String> {
    if key.is_empty() {
        return Ok(None);
    }
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
    let has_parts = key.split('.').all(|part| !part.is_empty());
    let is_key = key.starts_with(|c: char| c.is_ascii_lowercase()) && has_parts;
    if !is_key || !key.chars().all(is_plain) || key.len() > MAX_TEXT {
        return Err(format!(
            "attribute \"{key}\" is not a key; write up to {MAX_TEXT} lower-case letters, digits, dots and \
             underscores, such as source.k8s.pod.name"
        ));
    }
    let is_ours = Name::of(key).is_some() && of_vendors(key).is_none();
    if is_ours || TAKEN.contains(&key) || key.starts_with("ipfix.") {
        return Err(format!(
            "attribute \"{key}\" belongs to netflow2traces; choose another key, such as vendor.{}",
            key.rsplit('.').next().unwrap_or(key)
        ));
    }
    Ok(Some(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipfix(enterprise: u32, element: u16) -> FieldSpecifier {
        FieldSpecifier {
            enterprise,
            element,
            length: 4,
        }
    }

    #[test]
    fn lines_define_elements() {
        let fields = Fields::parse(
            "# NetObserv\n\
             enterprise,element,name,type,attribute\n\
             2,7733,sourcePodNamespace,string,source.k8s.namespace.name\n\
             \n\
             2, 7740, timeFlowRttNs, Unsigned64\n",
        )
        .unwrap();
        assert_eq!(fields.len(), 2);
        let find = |enterprise, element| fields.find(Version::Ipfix, &ipfix(enterprise, element));
        let pod = find(2, 7733).unwrap();
        assert_eq!(pod.name, "source_pod_namespace");
        assert_eq!(pod.data_type, AbstractDataType::String);
        assert_eq!(pod.attribute.as_deref(), Some("source.k8s.namespace.name"));
        let time = find(2, 7740).unwrap();
        assert_eq!(time.data_type, AbstractDataType::Unsigned64);
        assert_eq!(time.attribute, None);
        assert!(find(2, 1).is_none());
    }

    #[test]
    fn types_of_version_nine_are_found_by_their_number_and_by_their_element() {
        let fields = Fields::parse("0,45100,one,string\n9,12345,two,string\n").unwrap();
        let name = |version, field_type| {
            let (enterprise, element) = ie::of_v9(field_type);
            let found = fields.find(version, &ipfix(enterprise, element));
            found.map(|definition| definition.name.as_str())
        };
        assert_eq!(name(Version::V9, 45100), Some("one"));
        assert_eq!(name(Version::V9, 45113), Some("two"));
        assert_eq!(name(Version::Ipfix, 45113), Some("two"));
        assert_eq!(name(Version::Ipfix, 45100), None);
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named_with_its_column_and_a_remedy() {
        for (text, reason) in [
            ("2,1,name", "3 columns; write enterprise,"),
            ("2,1,a,string,b,c", "6 columns"),
            ("x,1,name,string", "enterprise \"x\" is not a number"),
            ("4294967296,1,name,string", "enterprise \"4294967296\""),
            ("2,0,name,string", "element \"0\""),
            ("2,32768,name,string", "element \"32768\""),
            ("2,1,-,string", "name \"-\""),
            ("2,1,1st,string", "name \"1st\""),
            ("2,1,a/b,string", "name \"a/b\""),
            (
                "2,1,name,text",
                "type \"text\" is not known; write one of octetArray, ",
            ),
            ("2,1,name,string,Key", "attribute \"Key\" is not a key"),
            ("2,1,name,string,a..b", "attribute \"a..b\" is not a key"),
            ("2,1,name,string,a.", "attribute \"a.\" is not a key"),
            (
                "2,1,name,string,source.address",
                "choose another key, such as vendor.address",
            ),
            (
                "2,1,name,string,flow.bytes.delta",
                "belongs to netflow2traces",
            ),
            (
                "2,1,name,string,netflow.version",
                "belongs to netflow2traces",
            ),
            ("2,1,name,string,ipfix.name", "belongs to netflow2traces"),
            (
                "2,1,a,string,\n2,2,b,string\n2,1,c,string",
                "defined on line 1 already",
            ),
            ("2,1,\"a,string", "a quoted field doesn't end"),
        ] {
            let error = Fields::parse(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
            let line = text.lines().count();
            assert!(error.contains(&format!("line {line}")), "{text}: {error}");
        }
    }

    #[test]
    fn there_may_be_so_many_definitions_and_no_more() {
        let line = |n: usize| format!("{},{},name,string\n", 1 + n / 1000, 1 + n % 1000);
        let mut text: String = (0..MAX_FIELDS).map(line).collect();
        assert_eq!(Fields::parse(&text).unwrap().len(), MAX_FIELDS);
        text += &line(MAX_FIELDS);
        let error = Fields::parse(&text).unwrap_err().to_string();
        assert!(error.contains("more than 16384"), "{error}");
    }
}
