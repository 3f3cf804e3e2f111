//! Flags, environment and `.env` in; a configuration, or every mistake at once, out.

#![expect(clippy::panic, reason = "tests fail by panicking")]

mod backend;
mod compose;
mod dotenv;
#[path = "../../support/left_out.rs"]
mod left_out;
mod memory;
mod mistakes;
mod own_metrics;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use netflow2traces::cli::{self, Failure};
use netflow2traces::config::setting::{Preset, Section};
use netflow2traces::config::{
    AttributeLevel, Compression, Config, Environment, Exporter, Loaded, Machine, MetricsTo, Otlp,
    OwnMetrics, Protocol, Purpose, Sources, SpanTime, SpoolMode, TraceSampler, load, print,
    reference, settings,
};

/// What surrounds a daemon that isn't there.
#[derive(Clone, Default)]
struct Surroundings {
    flags: Vec<(&'static str, OsString)>,
    variables: BTreeMap<String, OsString>,
    dotenv: Option<String>,
    dotenv_fails: bool,
}

impl Environment for Surroundings {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn variable_names(&self) -> Vec<String> {
        self.variables.keys().cloned().collect()
    }

    fn dotenv(&self, _: Option<&Path>) -> io::Result<Option<String>> {
        if self.dotenv_fails {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(self.dotenv.clone())
    }
}

impl Surroundings {
    /// The least that a daemon needs.
    fn sound() -> Self {
        Self::default().env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://tempo:4317")
    }

    fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    fn flag(mut self, name: &'static str, value: &str) -> Self {
        self.flags.push((name, value.into()));
        self
    }

    fn dotenv(mut self, text: &str) -> Self {
        self.dotenv = Some(text.to_owned());
        self
    }

    fn sources(&self) -> Sources {
        Sources::collect(self.flags.clone(), self)
    }

    fn loaded(&self) -> Loaded {
        load(Purpose::Run, &self.sources(), &machine()).unwrap_or_else(|m| panic!("{m}"))
    }

    fn config(&self) -> Config {
        self.loaded().config
    }

    fn otlp(&self) -> Otlp {
        match self.config().deliver.exporter {
            Exporter::Otlp(otlp) => otlp,
            other => panic!("not OTLP: {other:?}"),
        }
    }

    /// With metrics sent over OTLP.
    fn own_metrics(self) -> OwnMetrics {
        let config = self.env("OTEL_METRICS_EXPORTER", "otlp").config();
        config.own_metrics.unwrap_or_else(|| panic!("not sent"))
    }

    fn warnings(&self) -> Vec<String> {
        self.loaded().warnings
    }

    /// One line for each mistake.
    fn mistakes(&self) -> Vec<String> {
        match load(Purpose::Run, &self.sources(), &machine()) {
            Ok(loaded) => panic!("sound: {loaded:?}"),
            Err(found) => found.mistakes.iter().map(ToString::to_string).collect(),
        }
    }
}

fn machine() -> Machine {
    Machine {
        cores: 8,
        memory: netflow2traces::config::memory::Available::default(),
        host_name: Some("collector".to_owned()),
        instance_id: "11111111-2222-4333-8444-555555555555".to_owned(),
    }
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn flag_wins_over_environment_over_dotenv_over_default() {
    let port = |surroundings: &Surroundings| surroundings.config().receive.listen[0].port();
    let surroundings = Surroundings::sound();
    assert_eq!(port(&surroundings), 2055);
    let surroundings = surroundings.dotenv("NETFLOW_LISTEN_PORT=1111");
    assert_eq!(port(&surroundings), 1111);
    let surroundings = surroundings.env("NETFLOW_LISTEN_PORT", "2222");
    assert_eq!(port(&surroundings), 2222);
    let surroundings = surroundings.flag("listen-port", "3333");
    assert_eq!(port(&surroundings), 3333);
}

#[test]
fn an_empty_value_counts_as_none() {
    let surroundings = Surroundings::sound()
        .dotenv("NETFLOW_LISTEN_PORT=1111\nNETFLOW_WORKERS=\nNETFLOW_SPOOL_DIR=\n")
        .env("NETFLOW_LISTEN_PORT", "  ")
        .env("LOG_LEVEL", "")
        .flag("listen-port", "");
    let config = surroundings.config();
    assert_eq!(config.receive.listen[0].port(), 1111);
    assert_eq!(config.receive.workers, 4);
}

#[test]
fn listening_is_each_address_with_each_port() {
    let config = Surroundings::sound()
        .env("NETFLOW_LISTEN_HOST", "127.0.0.1, [::1]")
        .env("NETFLOW_LISTEN_PORT", "2055,4739")
        .config();
    let listen: Vec<String> = config
        .receive
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        listen,
        [
            "127.0.0.1:2055",
            "127.0.0.1:4739",
            "[::1]:2055",
            "[::1]:4739"
        ]
    );
    assert_eq!(config.receive.hosts().len(), 2);
}

#[test]
fn samplers_have_their_argument() {
    let sampler = |name: &str, share: &str| {
        Surroundings::sound()
            .env("OTEL_TRACES_SAMPLER", name)
            .env("OTEL_TRACES_SAMPLER_ARG", share)
            .config()
            .translate
            .sampler
    };
    assert_eq!(sampler("traceidratio", "0.25"), TraceSampler::Ratio(0.25));
    assert_eq!(
        sampler("parentbased_traceidratio", ""),
        TraceSampler::Ratio(1.0)
    );
    assert_eq!(
        sampler("parentbased_always_off", ""),
        TraceSampler::AlwaysOff
    );
    let mistakes = Surroundings::sound()
        .env("OTEL_TRACES_SAMPLER_ARG", "1.5")
        .mistakes();
    assert!(
        mistakes[0].contains("1.5 is not between 0 and 1"),
        "{mistakes:?}"
    );
}

#[test]
fn the_resource_has_its_order_of_precedence() {
    let resource = |surroundings: Surroundings| surroundings.config().translate.resource;
    let find = |resource: &[(String, String)], key: &str| {
        let mut values = resource.iter().filter(|(known, _)| known == key);
        let value = values.next().map(|(_, value)| value.clone());
        assert!(values.next().is_none(), "{key} twice");
        value.unwrap_or_default()
    };
    let default = resource(Surroundings::sound());
    let keys: Vec<&str> = default.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "service.name",
            "service.version",
            "service.instance.id",
            "telemetry.sdk.name",
            "telemetry.sdk.language",
            "telemetry.sdk.version",
            "host.name"
        ]
    );
    assert_eq!(find(&default, "service.name"), "netflow-to-traces");
    assert_eq!(find(&default, "service.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(find(&default, "telemetry.sdk.name"), "netflow2traces");
    assert_eq!(find(&default, "telemetry.sdk.language"), "rust");
    assert_eq!(find(&default, "host.name"), "collector");
    assert_eq!(find(&default, "service.instance.id"), machine().instance_id);

    let merged = Surroundings::sound().env(
        "OTEL_RESOURCE_ATTRIBUTES",
        "service.name=attributes,service.instance.id=mine,host.name=other,site=K%C3%B6ln",
    );
    let given = resource(merged.clone());
    assert_eq!(find(&given, "service.name"), "attributes");
    assert_eq!(find(&given, "service.instance.id"), "mine");
    assert_eq!(find(&given, "host.name"), "other");
    assert_eq!(find(&given, "site"), "Köln");

    let named = resource(
        merged
            .env("OTEL_SERVICE_NAME", "named")
            .env("OTEL_SERVICE_VERSION", "9.9"),
    );
    assert_eq!(find(&named, "service.name"), "named");
    assert_eq!(find(&named, "service.version"), "9.9");
}

#[test]
fn levels_and_directives_make_the_filter() {
    let filter =
        |name: &str, value: &str| Surroundings::sound().env(name, value).config().log.filter;
    assert_eq!(filter("LOG_LEVEL", "warning"), "warn");
    assert_eq!(filter("LOG_LEVEL", "Error"), "error");
    assert!(filter("LOG_LEVEL", "debug").contains("netflow2traces=debug"));
    assert!(filter("LOG_LEVEL", "debug").starts_with("warn,"));
    assert_eq!(filter("RUST_LOG", "info,hyper=trace"), "info,hyper=trace");
    let mistakes = Surroundings::sound()
        .env("RUST_LOG", "\t\tOSß=7%@X@. {")
        .mistakes();
    assert!(mistakes[0].contains("level filter"), "{mistakes:?}");
    let mistakes = Surroundings::sound().env("RUST_LOG", "a=b=c").mistakes();
    assert!(
        mistakes[0].starts_with("RUST_LOG=a=b=c (environment): "),
        "{mistakes:?}"
    );
    assert!(
        Surroundings::sound()
            .env("LOG_FORMAT", "JSON")
            .config()
            .log
            .json
    );
}
