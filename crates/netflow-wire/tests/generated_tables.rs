//! The tables of `src/ie/` are what the files of `registry/` say.
//!
//! `UPDATE_GENERATED=1 cargo test -p netflow-wire --test generated_tables` rewrites them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What the tables of elements need.
const IMPORTS: &str = "use super::{AbstractDataType as T, Element, Semantics as S, element};\n\n";

#[test]
fn iana_elements_are_those_of_the_registry() {
    assert_generated("iana.rs", &iana());
}

#[test]
fn enterprise_elements_are_those_of_the_registry() {
    assert_generated("enterprise.rs", &enterprise());
}

#[test]
fn v9_vendor_fields_are_those_of_the_registry() {
    assert_generated("vendor_v9.rs", &vendor_v9());
}

#[test]
fn value_names_are_those_of_the_registry() {
    assert_generated("values.rs", &values());
}

#[test]
fn protocol_keywords_are_those_of_the_registry() {
    assert_generated("protocols.rs", &protocols());
}

fn assert_generated(file: &str, generated: &str) {
    let path = crate_root().join("src/ie").join(file);
    if std::env::var_os("UPDATE_GENERATED").is_some_and(|value| value == "1") {
        std::fs::write(&path, generated).expect("the table's file is writable");
        return;
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        present == generated,
        "src/ie/{file} is stale: run UPDATE_GENERATED=1 cargo test -p netflow-wire \
         --test generated_tables"
    );
}

fn iana() -> String {
    let mut rows = rows("ipfix_information_elements.csv");
    rows.retain(|row| !row.get("name").is_empty() && !row.get("abstract_data_type").is_empty());
    let elements: BTreeMap<u16, _> = by_key(rows, |row| {
        row.get("element_id")
            .parse()
            .expect("an element id is a number")
    });
    let last = elements
        .keys()
        .next_back()
        .expect("the registry has elements");
    let mut text = header("Elements of IANA's registry, indexed by id.", IMPORTS);
    let length = usize::from(*last) + 1;
    let _ = writeln!(
        text,
        "pub(super) static ELEMENTS: [Option<Element>; {length}] = ["
    );
    for id in 0..=*last {
        match elements.get(&id) {
            Some(row) => {
                let _ = writeln!(text, "    Some({}), // {id}", element(row));
            }
            None => {
                let _ = writeln!(text, "    None, // {id}");
            }
        }
    }
    text + "];\n"
}

fn enterprise() -> String {
    let rows = rows("enterprise_information_elements.csv");
    let elements: BTreeMap<(u32, u16), _> = by_key(rows, |row| {
        let number = row
            .get("enterprise_number")
            .parse()
            .expect("an enterprise number");
        let id = row
            .get("element_id")
            .parse()
            .expect("an element id is a number");
        (number, id)
    });
    let what = "Elements of enterprises, in the order of enterprise number and id.";
    let mut text = header(what, IMPORTS);
    let _ = writeln!(
        text,
        "pub(super) static ELEMENTS: [(u32, u16, Element); {}] = [",
        elements.len()
    );
    for ((number, id), row) in &elements {
        let _ = writeln!(text, "    ({number}, {id}, {}),", element(row));
    }
    text + "];\n"
}

fn vendor_v9() -> String {
    let elements: BTreeMap<u16, _> = by_key(rows("netflow_v9_vendor_fields.csv"), |row| {
        row.get("field_type")
            .parse()
            .expect("a field type is a number")
    });
    let what = "NetFlow v9 field types that vendors took above IANA's range, in order.";
    let mut text = header(what, IMPORTS);
    let _ = writeln!(
        text,
        "pub(super) static ELEMENTS: [(u16, Element); {}] = [",
        elements.len()
    );
    for (field_type, row) in &elements {
        let _ = writeln!(
            text,
            "    ({field_type}, {}), // {}",
            element(row),
            row.get("vendor")
        );
    }
    text + "];\n"
}

fn values() -> String {
    let names: BTreeMap<(u16, u64), _> = by_key(rows("ipfix_value_registries.csv"), |row| {
        let id = row
            .get("element_id")
            .parse()
            .expect("an element id is a number");
        let value = row.get("value");
        let value = match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => value.parse(),
        };
        (id, value.expect("a value is a number"))
    });
    let what = "Names of enumerated values, in the order of element id and value.";
    let mut text = header(what, "");
    let _ = writeln!(
        text,
        "pub(super) static NAMES: [(u16, u64, &str); {}] = [",
        names.len()
    );
    for ((id, value), row) in &names {
        let _ = writeln!(text, "    ({id}, {value}, {:?}),", row.get("name"));
    }
    text + "];\n"
}

fn protocols() -> String {
    let keywords: BTreeMap<u8, _> = by_key(rows("ip_protocol_numbers.csv"), |row| {
        row.get("number")
            .parse()
            .expect("a protocol number fits an octet")
    });
    let mut text = header("Keywords of IP protocols, indexed by number.", "");
    let _ = writeln!(text, "pub(super) static KEYWORDS: [Option<&str>; 256] = [");
    for number in 0..=u8::MAX {
        let keyword = keywords.get(&number).map_or("", |row| row.get("keyword"));
        let keyword = keyword.trim_end_matches("(deprecated)").trim();
        let keyword = if keyword.is_empty() {
            None
        } else {
            Some(keyword)
        };
        let _ = writeln!(text, "    {keyword:?}, // {number}");
    }
    text + "];\n"
}

fn header(what: &str, imports: &str) -> String {
    format!(
        "//! {what}\n//!\n//! Generated from `registry/` by `tests/generated_tables.rs`; \
         changes made here are lost.\n\n{imports}#[rustfmt::skip]\n"
    )
}

/// The call that makes an element in a constant.
fn element(row: &Row) -> String {
    let data_type = variant(row.get("abstract_data_type"));
    let semantics = match row.find("data_type_semantics") {
        None | Some("") => "Default".to_owned(),
        Some(semantics) => variant(semantics),
    };
    format!(
        "element({:?}, T::{data_type}, S::{semantics})",
        row.get("name")
    )
}

/// `unsigned64` → `Unsigned64`.
fn variant(name: &str) -> String {
    let mut characters = name.chars();
    let first = characters
        .next()
        .expect("a type has a name")
        .to_ascii_uppercase();
    std::iter::once(first).chain(characters).collect()
}

struct Row {
    columns: Vec<String>,
    fields: Vec<String>,
}

impl Row {
    fn find(&self, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.fields.get(at).map(String::as_str)
    }

    fn get(&self, column: &str) -> &str {
        self.find(column).expect("the file has the column")
    }
}

fn rows(file: &str) -> Vec<Row> {
    let path = crate_root().join("registry").join(file);
    let text = std::fs::read_to_string(path).expect("the registry's file is readable");
    let mut lines = text.lines().map(fields);
    let columns = lines.next().expect("the first line names the columns");
    lines
        .map(|fields| {
            assert_eq!(fields.len(), columns.len(), "{file}: {fields:?}");
            Row {
                columns: columns.clone(),
                fields,
            }
        })
        .collect()
}

/// Rows by their number; no two may have the same.
fn by_key<K: Ord>(rows: Vec<Row>, key: impl Fn(&Row) -> K) -> BTreeMap<K, Row> {
    let count = rows.len();
    let keyed: BTreeMap<K, Row> = rows.into_iter().map(|row| (key(&row), row)).collect();
    assert_eq!(
        keyed.len(),
        count,
        "two rows of a registry have the same number"
    );
    keyed
}

/// The fields of a line of CSV (RFC 4180; no field holds a line break).
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().expect("there is always a field");
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    assert!(!quoted, "a quotation mark isn't closed: {line}");
    fields
}

fn crate_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
