//! `docker-compose.yml` as Docker Compose reads it: every setting in `.env` reaches the container.
//!
//! Both generations of Docker Compose are asked, each where it is installed. `NETFLOW_DEPLOY_REQUIRED=1`
//! makes it a failure when neither is.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::process::Command;

use super::left_out::left_out;
use super::*;

/// Settings that the file fixes, with what the container has to get.
const FIXED: [(&str, &str); 4] = [
    ("NETFLOW_LISTEN_HOST", "0.0.0.0"),
    ("NETFLOW_LISTEN_PORT", "2055"),
    ("NETFLOW_ADMIN_HOST", "0.0.0.0"),
    ("NETFLOW_ADMIN_PORT", "9464"),
];

/// The programs that can render the file here, with the arguments that come first.
fn renderers() -> Vec<&'static [&'static str]> {
    let all: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];
    let installed = all.into_iter().filter(|words| {
        let mut version = command(words);
        version.arg("version");
        version.output().is_ok_and(|output| output.status.success())
    });
    let installed: Vec<_> = installed.collect();
    if installed.is_empty() {
        let required = std::env::var("NETFLOW_DEPLOY_REQUIRED").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "neither docker compose nor docker-compose is installed"
        );
        left_out(
            "the compose file as rendered: neither docker compose nor docker-compose is installed",
        );
    }
    installed
}

/// A command that sees none of our settings but those that `.env` gives.
fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    for variable in variables() {
        command.env_remove(variable);
    }
    command
}

fn variables() -> impl Iterator<Item = &'static str> {
    settings::ALL
        .iter()
        .flat_map(|about| about.variables.iter().copied())
}

/// The container's environment and the rest of its service, as rendered with this `.env`.
fn rendered(words: &[&str], dotenv: &str) -> (BTreeMap<String, String>, String) {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::copy(
        root.join("docker-compose.yml"),
        folder.path().join("docker-compose.yml"),
    )
    .unwrap();
    std::fs::write(folder.path().join(".env"), dotenv).unwrap();
    let mut config = command(words);
    let output = config
        .arg("config")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let after = text
        .split_once("\n  netflow2traces:\n")
        .expect("the service")
        .1;
    let service: Vec<&str> = after
        .lines()
        .take_while(|line| line.starts_with("    ") || line.trim().is_empty())
        .collect();
    let environment = service
        .iter()
        .skip_while(|line| line.trim() != "environment:")
        .skip(1)
        .take_while(|line| line.starts_with("      "))
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, value)| {
            let value = value.trim().trim_matches(['"', '\'']);
            (name.to_owned(), value.to_owned())
        })
        .collect();
    (environment, service.join("\n"))
}

#[test]
fn every_setting_in_dotenv_reaches_the_container() {
    let value = |variable: &str| format!("x-{}", variable.to_lowercase());
    let dotenv: String = variables()
        .map(|variable| format!("{variable}={}\n", value(variable)))
        .collect();
    for words in renderers() {
        let (environment, _) = rendered(words, &dotenv);
        for variable in variables() {
            let fixed = FIXED.iter().find(|(name, _)| *name == variable);
            let expected = fixed.map_or_else(|| value(variable), |(_, value)| (*value).to_owned());
            assert_eq!(
                environment.get(variable),
                Some(&expected),
                "{words:?}: {variable}"
            );
        }
        assert_eq!(
            environment.len(),
            variables().count(),
            "{words:?}: {environment:?}"
        );
    }
}

#[test]
fn without_dotenv_the_container_has_the_defaults() {
    for words in renderers() {
        let (environment, service) = rendered(words, &reference::env_example());
        let set: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let mut expected = FIXED.to_vec();
        expected.push(("OTEL_EXPORTER_OTLP_ENDPOINT", "http://tempo:4317"));
        expected.sort_unstable();
        assert_eq!(set, expected, "{words:?}");
        assert!(service.contains("2055"), "{words:?}: {service}");

        let mut container = Surroundings::default();
        for (name, value) in &environment {
            container = container.env(name, value);
        }
        let mut bare = Surroundings::sound();
        bare = bare.env("NETFLOW_ADMIN_HOST", "0.0.0.0");
        assert_eq!(
            format!("{:?}", container.config()),
            format!("{:?}", bare.config()),
            "{words:?}"
        );
    }
}

#[test]
fn the_port_of_the_host_is_moved_by_dotenv() {
    for words in renderers() {
        let (_, service) = rendered(words, "NETFLOW_PORT=9995\n");
        assert!(service.contains("9995"), "{words:?}: {service}");
    }
}
