//! What the documents name exists: settings, and files that they link to.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use netflow2traces::config::{self, Machine, Purpose, Sources, settings};
use netflow2traces::demo::query::Query;

/// Variables of others, and names in the text about what isn't a setting.
const OTHERS: &[&str] = &[
    "NETFLOW_CAPTURES",
    "NETFLOW_CAPTURES_REQUIRED",
    "NETFLOW_LEFT_OUT",
    "NETFLOW_PEERS_CACHE",
    "NETFLOW_PORT",
];

#[test]
fn settings_in_the_documents_are_settings() {
    for (path, text) in documents() {
        for name in variables(&text) {
            assert!(is_known(&name), "{}: {name}", path.display());
        }
    }
}

#[test]
fn links_lead_to_files() {
    for (path, text) in documents() {
        for link in links(&text) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let target = path.parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link}", path.display());
        }
    }
}

#[test]
fn the_gate_runs_the_test_command_of_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let readme = read("README.md");
    let command = readme.lines().find(|line| line.starts_with("cargo test"));
    let command = command.expect("README.md has a test command");
    assert!(read("scripts/check.sh").contains(&format!("    step {command}\n")));
    assert!(read(".ci/run").contains("\nscripts/check.sh "));
}

/// Searches in documents are understood by the embedded backend and ask for attributes that exist.
#[test]
fn searches_in_the_documents_can_be_put() {
    let mut put = 0;
    for (path, text) in documents() {
        let attributes = std::fs::read_to_string(path.parent().unwrap().join("attributes.md"));
        for block in blocks(&text, "traceql") {
            let attributes = attributes.as_ref().unwrap();
            for query in block.lines() {
                if let Err(error) = Query::from_trace_ql(query) {
                    panic!("{}: {query}: {error}", path.display());
                }
                let words = query.split(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_'));
                let fields = words.filter_map(|word| {
                    let field = word.strip_prefix("span.");
                    field.or_else(|| word.strip_prefix("resource."))
                });
                for field in fields {
                    let known = attributes.contains(&format!("`{field}`"));
                    assert!(known, "{}: {query}: {field}", path.display());
                }
                put += 1;
            }
        }
    }
    assert!(put > 10, "{put}");
}

/// The pages that docs/README.md lists are the pages there are.
#[test]
fn every_page_is_listed() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let index = std::fs::read_to_string(docs.join("README.md")).unwrap();
    for entry in std::fs::read_dir(docs).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".md") && name != "README.md" {
            assert!(index.contains(&format!("({name})")), "{name}");
        }
    }
}

/// Contents of fenced blocks of this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let rest = text.split(fence.as_str()).skip(1);
    rest.filter_map(|rest| rest.split("```").next()).collect()
}

/// Markdown at the root and below `docs`.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = Vec::new();
    for folder in [root.clone(), root.join("docs"), root.join("docs/decisions")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                documents.push((path, text));
            }
        }
    }
    assert!(documents.len() > 5);
    documents
}

/// Words that look like one of our variables; one that ends in `_` stands for all that begin so.
fn variables(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .filter(|word| word.starts_with("NETFLOW_") || word.starts_with("OTEL_"))
        .map(str::to_owned)
        .collect()
}

fn is_known(name: &str) -> bool {
    let mut variables = settings::ALL.iter().flat_map(|about| about.variables);
    if OTHERS.contains(&name) {
        return true;
    }
    if name.ends_with('_') {
        return variables.any(|variable| variable.starts_with(name)) || is_refused(name);
    }
    variables.any(|variable| *variable == name) || is_refused(name)
}

/// Settings of later versions are refused.
fn is_refused(name: &str) -> bool {
    let machine = Machine {
        cores: 1,
        memory: config::memory::Available::default(),
        host_name: None,
        instance_id: "an id".to_owned(),
    };
    let environment = [("OTEL_TRACES_EXPORTER", "none"), (name, "1")];
    let sources = Sources::collect(vec![], &environment);
    let refused = config::load(Purpose::Run, &sources, &machine);
    refused.is_err_and(|mistakes| mistakes.to_string().contains(name))
}

/// Targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect()
}
