//! Defaults, `config print`, and the generated files: all from one table.

use super::*;

#[test]
fn defaults_are_what_the_reference_says() {
    let config = Surroundings::sound().config();
    assert_eq!(config.receive.listen, ["0.0.0.0:2055".parse().unwrap()]);
    assert_eq!(config.receive.workers, 4);
    assert_eq!(config.receive.receive_buffer, 64 << 20);
    assert_eq!(config.translate.template_lifetime, seconds(86_400));
    assert_eq!(config.translate.max_exporters, 65_536);
    assert_eq!(config.translate.max_templates_per_exporter, 4_096);
    assert!(config.translate.sampling_override.is_empty());
    assert!(!config.translate.scale_sampled);
    assert_eq!(config.translate.span_time, SpanTime::Flow);
    assert_eq!(config.translate.span_max_age, seconds(25));
    assert_eq!(config.translate.attributes, AttributeLevel::Standard);
    assert_eq!(config.translate.sampler, TraceSampler::AlwaysOn);
    assert_eq!(config.translate.batch_delay, seconds(1));
    assert_eq!(config.translate.batch_max_spans, usize::MAX);
    assert_eq!(config.translate.batch_max_octets, 2 << 20);
    assert_eq!(config.deliver.queue_size, 64 << 20);
    assert_eq!(config.deliver.concurrency, 4);
    assert_eq!(config.deliver.max_request_size, 2 << 20);
    assert_eq!(config.deliver.spool, None);
    let spool = Surroundings::sound().env("NETFLOW_SPOOL_DIR", "spool");
    let spool = spool.config().deliver.spool.unwrap();
    assert_eq!(spool.mode, SpoolMode::Overflow);
    assert_eq!(
        (spool.max_size, spool.max_age),
        (1 << 30, seconds(7 * 86_400))
    );
    assert_eq!(config.shutdown_timeout, seconds(8));
    assert_eq!(config.admin, Some("127.0.0.1:9464".parse().unwrap()));
    assert!(!config.log.json);
    assert!(config.log.filter.contains("netflow2traces=info"));
    let otlp = Surroundings::sound().otlp();
    assert_eq!(otlp.protocol, Protocol::Grpc);
    assert_eq!(otlp.endpoint, "http://tempo:4317/");
    assert_eq!(otlp.compression, Compression::None);
    assert_eq!(otlp.timeout, seconds(10));
    assert!(otlp.headers.is_empty());
    assert!(otlp.tls.certificate.is_none());
}

#[test]
fn every_default_can_be_written_and_changes_nothing() {
    let config = format!("{:?}", Surroundings::sound().config());
    for about in settings::ALL {
        let Preset::Text(default) = about.preset else {
            continue;
        };
        for variable in about.variables {
            let written = Surroundings::sound().env(variable, default).config();
            assert_eq!(format!("{written:?}"), config, "{variable}={default}");
        }
        let written = Surroundings::sound().flag(about.flag, default).config();
        assert_eq!(format!("{written:?}"), config, "--{}={default}", about.flag);
    }
}

#[test]
fn names_stand_once_in_the_table() {
    let mut names = BTreeSet::new();
    for about in settings::ALL {
        assert!(names.insert(about.flag), "{}", about.flag);
        for variable in about.variables {
            assert!(names.insert(variable), "{variable}");
        }
        let text = format!("{}{}", about.summary, about.accepted);
        assert!(!text.contains('\n') && !text.contains("  "), "{text}");
        assert!(!about.summary.ends_with('.'), "{}", about.summary);
        assert!(about.details.ends_with('.'), "{}", about.details);
    }
}

#[test]
fn print_shows_every_setting_and_its_origin() {
    let surroundings = Surroundings::sound()
        .dotenv("\nLOG_LEVEL=debug")
        .env("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "5")
        .flag("listen-port", "9995");
    let table = print::table(&surroundings.sources(), &machine());
    let origin = |variable: &str| {
        let line = table
            .lines()
            .find(|line| line.split_whitespace().next() == Some(variable));
        let line = line.unwrap_or_else(|| panic!("{variable} is missing in\n{table}"));
        line.split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(origin("NETFLOW_LISTEN_PORT"), "9995 flag --listen-port");
    assert_eq!(origin("LOG_LEVEL"), "debug .env, line 2");
    assert_eq!(
        origin("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "http://tempo:4317 environment"
    );
    assert_eq!(origin("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"), "5 environment");
    assert_eq!(origin("NETFLOW_WORKERS"), "4 default");
    assert_eq!(origin("NETFLOW_QUEUE_SIZE"), "64MiB default");
    assert_eq!(
        table.lines().filter(|line| line.starts_with("  ")).count(),
        settings::ALL.len()
    );
}

#[test]
fn the_reference_has_every_setting() {
    let reference = reference::markdown();
    for about in settings::ALL {
        assert!(reference.contains(&format!("### `{}`", about.variable())));
        assert!(reference.contains(&format!("`--{}", about.flag)));
    }
    for section in Section::ALL {
        assert!(
            settings::ALL.iter().any(|about| about.section == section),
            "{section:?}"
        );
        assert!(reference.contains(&format!("## {}\n", section.title())));
    }
}

fn is_setting(line: &str) -> bool {
    line.split_once('=').is_some_and(|(name, _)| {
        settings::ALL
            .iter()
            .any(|about| about.variables.contains(&name))
    })
}

#[test]
fn the_example_changes_no_default() {
    let example = Surroundings::sound().dotenv(&reference::env_example());
    assert!(example.warnings().is_empty());
    assert_eq!(
        format!("{:?}", example.config()),
        format!("{:?}", Surroundings::sound().config())
    );
    let commented_in: String = reference::env_example()
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if is_setting(setting) => setting,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    // With every line made a setting, the endpoint included, it is a whole configuration.
    let commented_in = Surroundings::default().dotenv(&commented_in);
    let endpoint =
        Surroundings::default().env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
    assert_eq!(
        format!("{:?}", commented_in.config()),
        format!("{:?}", endpoint.config())
    );
}

#[test]
fn generated_files_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let compose = std::fs::read_to_string(root.join("docker-compose.yml")).unwrap();
    let compose =
        reference::compose(&compose).expect("docker-compose.yml has a place for settings");
    for (name, text) in [
        ("docs/configuration.md", reference::markdown()),
        (".env.example", reference::env_example()),
        ("docker-compose.yml", compose),
    ] {
        let path = root.join(name);
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == text,
            "{name} is stale: run UPDATE_GENERATED=1 cargo test -p netflow2traces --test reference"
        );
    }
}
