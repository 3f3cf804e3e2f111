//! What the documents name exists: settings, commands, and the files and headings that they link to.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use netflow2traces::config::{self, Machine, Purpose, Sources, settings};
use netflow2traces::demo::query::Query;

use crate::commands::{blocks, documents, inline, lines, words};

/// Variables of others, and names in the text about what isn't a setting.
const OTHERS: &[&str] = &[
    "NETFLOW_CAPTURES",
    "NETFLOW_CAPTURES_REQUIRED",
    "NETFLOW_LEFT_OUT",
    "NETFLOW_PEERS_CACHE",
    "NETFLOW_PORT",
    "OTEL_EXPORTER_PROMETHEUS_PORT",
    "OTEL_LOG_LEVEL",
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
fn anchors_lead_to_headings() {
    for (path, text) in documents() {
        for link in links(&text) {
            let Some((file, anchor)) = link
                .split_once('#')
                .filter(|(file, _)| !file.contains("://"))
            else {
                continue;
            };
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            if target
                .extension()
                .is_some_and(|extension| extension == "md")
            {
                let text = std::fs::read_to_string(&target).unwrap();
                let found = headings(&text).any(|heading| heading == anchor);
                assert!(found, "{}: {link}", path.display());
            }
        }
    }
}

/// Commands of the program in documents, and their flags, exist.
#[test]
fn commands_in_the_documents_can_be_given() {
    let mut given = 0;
    for (path, text) in documents() {
        for line in lines(&text) {
            let Some(mut arguments) = arguments(&line) else {
                continue;
            };
            // A file that is read at once.
            for argument in &mut arguments {
                if argument == "fields.csv" {
                    *argument = concat!(
                        env!("CARGO_MANIFEST_DIR"),
                        "/../../deploy/fields/antrea.csv"
                    )
                    .to_owned();
                }
            }
            // With --help it says how it is used, and starts nothing, once it has read what comes before.
            let ended = Command::new(env!("CARGO_BIN_EXE_netflow2traces"))
                .args(&arguments)
                .arg("--help")
                .env_clear()
                .current_dir(env!("CARGO_TARGET_TMPDIR"))
                .output()
                .unwrap();
            let complaint = String::from_utf8_lossy(&ended.stderr);
            assert!(
                ended.status.success(),
                "{}: {line}\n{complaint}",
                path.display()
            );
            given += 1;
        }
    }
    assert!(given > 15, "{given}");
}

/// Commands that a test or the gate runs: this program and curl as the tests here and `end_to_end/documents.rs` do,
/// prometheus as `tests/backends/test_dashboards.py`, softflowd as `scripts/exporters.py`, those of the package as
/// `scripts/check-deploy.sh`, kafka-topics.sh as `tests/kafka/broker.sh`, the project's own scripts as the gate; and what any shell has.
const TRIED: &[&str] = &[
    "apt-get",
    "cargo",
    "cd",
    "curl",
    "echo",
    "install",
    "jq",
    "kafka-topics.sh",
    "netflow2traces",
    "printf",
    "prometheus",
    "scripts/bench.sh",
    "scripts/check.sh",
    "scripts/package-deb.sh",
    "softflowd",
    "sysctl",
    "target/release/netflow2traces",
];
/// Commands that can't be run where the project is built: a page that has them says so.
const NOT_TRIED: &[&str] = &["docker", "kafka-consumer-groups.sh", "kubectl", "systemctl"];

#[test]
fn every_command_is_tried_or_its_page_says_that_it_is_not() {
    for (path, text) in documents() {
        for line in lines(&text) {
            let mut words = words(&line).into_iter();
            let is_before = |word: &String| {
                word == "sudo" || word == "export" || word.split_once('=').is_some()
            };
            let Some(command) = words.find(|word| !is_before(word)) else {
                continue;
            };
            let command = command.as_str();
            if NOT_TRIED.contains(&command) {
                let says_so = text.contains("ot tried") || text.contains("what-was-tried");
                assert!(says_so, "{}: {line}", path.display());
            } else {
                assert!(TRIED.contains(&command), "{}: {line}", path.display());
            }
        }
    }
}

/// Files of the project that commands name are there.
#[test]
fn files_in_the_commands_exist() {
    const FOLDERS: [&str; 6] = ["deploy", "docs", "fuzz", "scripts", "testdata", "tests"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut named = 0;
    for (path, text) in documents() {
        for line in lines(&text) {
            for word in words(&line) {
                let word = word.rsplit('=').next().unwrap_or_default();
                let word = word.trim_start_matches("$PWD/").trim_start_matches("./");
                let file = word.split(':').next().unwrap_or_default();
                if FOLDERS.iter().any(|folder| {
                    file.split_once('/')
                        .is_some_and(|(first, _)| first == *folder)
                }) {
                    assert!(root.join(file).exists(), "{}: {line}", path.display());
                    named += 1;
                }
            }
        }
    }
    assert!(named > 10, "{named}");
}

/// What stands for a value of the reader's in a table of settings.
const PLACEHOLDERS: [&str; 3] = ["EXPRESSION", "SIZE", "RATIO"];

/// Values of settings, in commands and in the text, are accepted.
#[test]
fn values_in_the_documents_are_accepted() {
    let mut accepted = 0;
    for (path, text) in documents() {
        for code in lines(&text).into_iter().chain(inline(&text)) {
            for word in words(&code) {
                let Some((name, value)) = word.split_once('=') else {
                    continue;
                };
                let mut settings = settings::ALL.iter();
                let Some(about) = settings.find(|about| about.variables.contains(&name)) else {
                    continue;
                };
                if PLACEHOLDERS.contains(&value) || value.contains('…') {
                    continue;
                }
                // The port that another command prints.
                let value = value.replace(":PORT", ":4317");
                let environment = [
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://tempo:4317"),
                    (name, &value),
                ];
                let sources = Sources::collect(vec![], &environment);
                let refused = config::load(Purpose::Run, &sources, &machine()).err();
                let mistakes = refused.map_or_else(Vec::new, |refused| refused.mistakes);
                let mistake = mistakes.iter().find(|mistake| {
                    // What needs another setting, or a file of the reader's, is none.
                    mistake.problem.ends_with(about.accepted)
                        && mistake.setting.starts_with(name)
                        && !mistake.problem.contains("can't be read")
                        && !mistake.problem.contains("there is no directory")
                        && !mistake.problem.contains("gRPC has no path")
                });
                assert!(mistake.is_none(), "{}: {code}\n{mistake:?}", path.display());
                accepted += 1;
            }
        }
    }
    assert!(accepted > 100, "{accepted}");
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

/// What a line gives to the program, if it runs it: up to a pipe, a redirection or a comment.
fn arguments(line: &str) -> Option<Vec<String>> {
    let mut words = words(line).into_iter().peekable();
    let is_before = |word: &String| {
        word == "sudo"
            || word
                .split_once('=')
                .is_some_and(|(name, _)| !name.contains('/'))
    };
    while words.next_if(is_before).is_some() {}
    match words.next()?.as_str() {
        "netflow2traces" | "target/release/netflow2traces" => Some(words.collect()),
        "cargo" => {
            let mut rest = words.skip_while(|word| word != "--");
            rest.next()?;
            // Of other programs, such as an example.
            (!line.contains("--example") && line.contains("cargo run")).then(|| rest.collect())
        }
        _ => None,
    }
}

/// Anchors of the headings, as GitHub makes them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let outside = text.split("```").step_by(2);
    let lines = outside
        .flat_map(str::lines)
        .filter(|line| line.starts_with('#'));
    lines.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | ' ');
        title
            .chars()
            .filter(kept)
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect()
    })
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

fn machine() -> Machine {
    Machine {
        cores: 1,
        memory: config::memory::Available::default(),
        host_name: None,
        instance_id: "an id".to_owned(),
    }
}

/// Settings of later versions are refused.
fn is_refused(name: &str) -> bool {
    let environment = [("OTEL_TRACES_EXPORTER", "none"), (name, "1")];
    let sources = Sources::collect(vec![], &environment);
    let refused = config::load(Purpose::Run, &sources, &machine());
    refused.is_err_and(|mistakes| mistakes.to_string().contains(name))
}

/// Targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect()
}
