//! Invalid values are reported once, with their place and what is accepted; secrets aren't.

use proptest::prelude::*;

use super::*;

#[test]
fn every_setting_refuses_what_it_does_not_accept() {
    let any_text = ["service-name", "service-version"];
    for about in settings::ALL
        .iter()
        .filter(|about| !any_text.contains(&about.flag))
    {
        for variable in about.variables {
            let mistakes = Surroundings::sound()
                .env(variable, "\u{7f} //=/ @:x")
                .mistakes();
            let line = mistakes.iter().find(|line| line.starts_with(variable));
            let line = line.unwrap_or_else(|| panic!("{variable}: {mistakes:?}"));
            assert!(line.contains("(environment): "), "{line}");
            assert!(
                line.ends_with(&format!("accepted: {}", about.accepted)),
                "{line}"
            );
            assert_eq!(line.lines().count(), 1, "{line}");
        }
    }
}

#[test]
fn a_misspelt_protocol_is_one_mistake_and_no_warning_about_another() {
    for (variable, more) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", None),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", None),
        (
            "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
            Some((
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                "http://mimir:4318/v1/metrics",
            )),
        ),
    ] {
        let mut surroundings = Surroundings::sound()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://tempo:4317")
            .env("OTEL_METRICS_EXPORTER", "otlp")
            .env(variable, "http/proto");
        if let Some((name, value)) = more {
            surroundings = surroundings.env(name, value);
        }
        let Err(found) = load(Purpose::Run, &surroundings.sources(), &machine()) else {
            panic!("{variable} is accepted");
        };
        assert_eq!(found.mistakes.len(), 1, "{found}");
        assert!(
            found.mistakes[0]
                .to_string()
                .contains("http/proto is not a protocol")
        );
        assert!(found.warnings.is_empty(), "{found}");
    }
}

#[test]
fn a_value_that_can_not_be_used_says_which_where_why_and_what_is_accepted() {
    for (variable, value, line) in [
        (
            "NETFLOW_LISTEN_PORT",
            "2055,99999",
            "NETFLOW_LISTEN_PORT=2055,99999 (environment): 99999 is not a UDP port; accepted: UDP \
             ports from 0 to 65535, separated by commas; 0 lets the system choose",
        ),
        (
            "NETFLOW_WORKERS",
            "0",
            "NETFLOW_WORKERS=0 (environment): 0 is too small; accepted: a whole number from 1 to 256",
        ),
        (
            "NETFLOW_MAX_REQUEST_SIZE",
            "4k",
            "NETFLOW_MAX_REQUEST_SIZE=4k (environment): 4k may mean 4KiB or 4KB; accepted: a size \
             from 64KiB (less would split the spans of single datagrams) to 64MiB",
        ),
        (
            "NETFLOW_SHUTDOWN_TIMEOUT",
            "8",
            "NETFLOW_SHUTDOWN_TIMEOUT=8 (environment): 8 lacks a unit (write 8s for seconds); \
             accepted: a duration from 0s to 1h, such as 8s",
        ),
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "http/thrift",
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/thrift (environment): http/thrift is not a protocol of \
             OTLP; accepted: grpc, http/protobuf (or http), http/json",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "10s",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=10s (environment): write 10s as 10000; accepted: \
             milliseconds from 1 to 600000",
        ),
        (
            "NETFLOW_TRACE_SHAPE",
            "session",
            "NETFLOW_TRACE_SHAPE=session (environment): session is not a valid value; accepted: packet, flow, conversation",
        ),
        (
            "NETFLOW_CONVERSATION_KEY",
            "1234",
            "NETFLOW_CONVERSATION_KEY=(hidden) (environment): not 32 hexadecimal digits; accepted: 32 hexadecimal \
             digits, such as those of openssl rand -hex 16",
        ),
        (
            "OTEL_METRICS_EXPORTER",
            "prometheus",
            "OTEL_METRICS_EXPORTER=prometheus (environment): /metrics of the admin server is always \
             there for Prometheus; unset it; accepted: otlp, kafka, none",
        ),
    ] {
        assert_eq!(
            Surroundings::sound().env(variable, value).mistakes(),
            [line]
        );
    }
}

#[test]
fn a_mistake_names_the_flag_or_the_line_of_dotenv() {
    let flag = Surroundings::sound().flag("workers", "many").mistakes();
    assert!(
        flag[0].starts_with("--workers=many: many is not a whole number; "),
        "{flag:?}"
    );
    let dotenv = Surroundings::sound()
        .dotenv("# workers\n\nNETFLOW_WORKERS='many'\n")
        .mistakes();
    assert!(
        dotenv[0].starts_with("NETFLOW_WORKERS=many (.env, line 3): "),
        "{dotenv:?}"
    );
}

#[test]
fn all_errors_are_reported_together() {
    let mistakes = Surroundings::default()
        .env("NETFLOW_WORKERS", "0")
        .dotenv("LOG_LEVEL=LOUD")
        .flag("attributes", "some")
        .mistakes();
    let settings: Vec<&str> = mistakes
        .iter()
        .filter_map(|line| line.split([':', '=']).next())
        .collect();
    assert_eq!(
        settings,
        [
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "NETFLOW_WORKERS",
            "--attributes",
            "LOG_LEVEL"
        ]
    );
}

#[test]
fn settings_without_effect_give_a_warning() {
    for (variable, value) in [
        ("NETFLOW_SPAN_MAX_AGE", "10s"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "2048"),
        ("OTEL_LOG_LEVEL", "debug"),
        ("NETFLOW_CONVERSATION_WINDOW", "5m"),
        ("NETFLOW_KAFKA_TOPIC", "flows"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "9000"),
    ] {
        let warnings = Surroundings::sound().env(variable, value).warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(variable), "{warnings:?}");
        assert!(warnings[0].contains("has no effect"), "{warnings:?}");
    }
    let surroundings = Surroundings::sound()
        .env("NETFLOW_SPAN_TIME", "clamped")
        .env("NETFLOW_SPAN_MAX_AGE", "10s");
    assert!(surroundings.warnings().is_empty());
    assert_eq!(surroundings.config().translate.span_max_age, seconds(10));
}

#[test]
fn the_admin_server_and_listeners_need_different_ports() {
    let same = |host: &str| {
        Surroundings::sound()
            .env("NETFLOW_LISTEN_TCP_PORT", "9464")
            .env("NETFLOW_LISTEN_HOST", host)
    };
    for host in ["0.0.0.0", "127.0.0.1"] {
        let mistakes = same(host).mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].contains("both have port 9464"), "{mistakes:?}");
    }
    assert!(same("192.0.2.1").config().admin.is_some());
}

#[test]
fn long_values_are_cut_in_messages() {
    let mistakes = Surroundings::sound()
        .env("NETFLOW_FILTER", "(".repeat(5_000))
        .mistakes();
    assert!(mistakes[0].len() < 500, "{mistakes:?}");
}

/// As Docker's `--env-file` has them.
#[test]
fn quotation_marks_around_a_value_are_named() {
    for (variable, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "\"http://tempo:4317\""),
        ("NETFLOW_QUEUE_SIZE", "'64MiB'"),
    ] {
        let mistakes = Surroundings::sound().env(variable, value).mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].contains("remove them"), "{mistakes:?}");
    }
}

#[test]
fn a_request_must_fit_into_the_queue() {
    let mistakes = Surroundings::sound()
        .env("NETFLOW_QUEUE_SIZE", "1MiB")
        .flag("max-request-size", "2MiB")
        .mistakes();
    assert_eq!(mistakes.len(), 1);
    assert!(
        mistakes[0]
            .starts_with("NETFLOW_QUEUE_SIZE=1MiB (environment) and --max-request-size=2MiB"),
        "{mistakes:?}"
    );
}

#[test]
fn secrets_are_never_shown() {
    let secret = "hunter2";
    let sound = Surroundings::sound()
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            format!("Authorization=Bearer%20{secret}"),
        )
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http")
        .env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://tempo:4318/?key={secret}"),
        );
    let loaded = sound.loaded();
    let shown = format!(
        "{}{}{:?}{:?}",
        print::table(&sound.sources(), &machine()),
        print::summary(&loaded.config),
        loaded.warnings,
        sound.otlp().headers
    );
    assert!(!shown.contains(secret), "{shown}");
    assert!(shown.contains("(hidden)"), "{shown}");

    for surroundings in [
        sound.clone().env("OTEL_EXPORTER_OTLP_HEADERS", secret),
        sound.clone().flag("otlp-headers", secret),
        sound
            .clone()
            .env("OTEL_EXPORTER_OTLP_METRICS_HEADERS", secret),
        sound.clone().env(
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://me:{secret}@tempo"),
        ),
        sound
            .clone()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("me:{secret}@tempo")),
        sound
            .clone()
            .dotenv(&format!("OTEL_EXPORTER_OTLP_HEADERS=a=b {secret}")),
        sound.dotenv(&format!("OTEL_EXPORTER_OTLP_HEADERS='a={secret}")),
    ] {
        let mistakes = surroundings.mistakes();
        assert!(!mistakes.concat().contains(secret), "{mistakes:?}");
        let table = print::table(&surroundings.sources(), &machine());
        assert!(!table.contains(secret), "{table}");
    }
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_are_ignored_with_a_sentence() {
    for (variable, value) in [
        ("NETFLOW_LISTEN_PORT", "udp://10.96.0.7:2055"),
        ("NETFLOW_ADMIN_PORT", "tcp://10.96.0.7:9464"),
    ] {
        let surroundings = Surroundings::sound().env(variable, value);
        let config = surroundings.config();
        assert_eq!(config.receive.listen[0].port(), 2055);
        assert_eq!(config.admin.map(|admin| admin.port()), Some(9464));
        let warnings = surroundings.warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(variable), "{warnings:?}");
        assert!(warnings[0].contains("enableServiceLinks"), "{warnings:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_text_is_a_mistake_where_it_matters() {
    use std::os::unix::ffi::OsStringExt;
    let octets = OsString::from_vec(vec![0xff]);
    let surroundings = Surroundings::sound()
        .env("LS_COLORS", octets.clone())
        .env("NETFLOW_WORKERS", octets);
    assert_eq!(
        surroundings.mistakes(),
        ["NETFLOW_WORKERS (environment): the value is not UTF-8"]
    );
}

#[test]
fn a_spool_must_hold_some_requests_and_be_a_directory() {
    let spooled = || Surroundings::sound().env("NETFLOW_SPOOL_DIR", "spool");
    let mistakes = spooled().env("NETFLOW_SPOOL_MAX_SIZE", "7MiB").mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(
        mistakes[0].starts_with("NETFLOW_SPOOL_MAX_SIZE=7MiB (environment): four requests"),
        "{mistakes:?}"
    );
    let file = env!("CARGO_MANIFEST_PATH");
    let mistakes = Surroundings::sound()
        .env("NETFLOW_SPOOL_DIR", file)
        .mistakes();
    assert!(mistakes[0].contains("is not a directory"), "{mistakes:?}");
    let warnings = Surroundings::sound()
        .env("NETFLOW_SPOOL_MODE", "always")
        .warnings();
    assert_eq!(
        warnings,
        ["NETFLOW_SPOOL_MODE=always (environment) has no effect: NETFLOW_SPOOL_DIR is not set"]
    );
    let warnings = spooled().env("OTEL_TRACES_EXPORTER", "none").warnings();
    assert!(
        warnings[1].starts_with("NETFLOW_SPOOL_DIR=spool (environment) has no effect"),
        "{warnings:?}"
    );
}

#[test]
fn misspelt_names_get_a_hint() {
    for (misspelt, meant) in [
        ("NETFLOW_LISTENPORT", "NETFLOW_LISTEN_PORT"),
        ("NETFLOW_WORKER", "NETFLOW_WORKERS"),
        ("NETFLOW_MAX_RATE", "NETFLOW_MAX_RATE_PER_EXPORTER"),
        (
            "NETFLOW_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        ("NETFLOW_LISTEN_PORTS", "NETFLOW_LISTEN_PORT"),
        ("OTEL_EXPORTER_OTLP_ENDPIONT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_EXPORTER_OTLP_HEADER", "OTEL_EXPORTER_OTLP_HEADERS"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT_URL",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ),
        ("NETFOW_LISTEN_PORT", "NETFLOW_LISTEN_PORT"),
        ("netflow_listen_port", "NETFLOW_LISTEN_PORT"),
        ("NETFLOW_LISTEN_PORT_UDP", "NETFLOW_LISTEN_PORT"),
    ] {
        let warnings = Surroundings::sound().env(misspelt, "x").warnings();
        assert_eq!(
            warnings,
            [format!(
                "{misspelt} (environment) is not a setting; did you mean {meant}?"
            )]
        );
    }
    for unlike in ["NETFLOW_XYZZY", "NETFLOW_FOO"] {
        let warnings = Surroundings::sound()
            .dotenv(&format!("{unlike}=1"))
            .warnings();
        assert_eq!(
            warnings,
            [format!("{unlike} (.env, line 1) is not a setting")]
        );
    }
    // Of other programs, and of Kubernetes for a Service that is named netflow.
    for (name, value) in [
        ("LOGLEVEL", "debug"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"),
        ("NETFLOW_PORT", "udp://10.0.0.1:2055"),
        ("NETFLOW_PORT_2055_UDP_ADDR", "10.0.0.1"),
    ] {
        let warnings = Surroundings::sound().env(name, value).warnings();
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    let surroundings = Surroundings::sound()
        .env("OTEL_LOGS_EXPORTER", "otlp")
        .env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://loki")
        .env("OTEL_PROPAGATORS", "b3")
        .env("NETFLOW_SERVICE_HOST", "10.0.0.1")
        .env("NETFLOW_SERVICE_PORT_FLOWS", "2055")
        .env("NETFLOW_PORT", "udp://10.0.0.1:2055")
        .env("NETFLOW_PORT_2055_UDP_ADDR", "10.0.0.1")
        .env("PATH", "/bin");
    assert!(
        surroundings.warnings().is_empty(),
        "{:?}",
        surroundings.warnings()
    );
}

proptest! {
    #[test]
    fn no_value_panics_and_each_mistake_is_one_line(
        index in 0..settings::ALL.len(),
        value in "[ -~äß%=,:/@\\[\\]\t\n\u{0}\u{ff}]{0,40}",
    ) {
        let variable = settings::ALL[index].variables[0];
        let surroundings = Surroundings::sound().env(variable, value);
        if let Err(found) = load(Purpose::Run, &surroundings.sources(), &machine()) {
            for mistake in found.mistakes {
                prop_assert_eq!(mistake.to_string().lines().count(), 1);
            }
        }
    }
}

#[test]
fn a_service_graph_of_spans_needs_a_trace_for_each_flow_and_names_of_networks() {
    let graph = || Surroundings::sound().env("NETFLOW_SERVICE_GRAPH", "spans");
    for shape in ["packet", "conversation"] {
        let mistakes = graph().env("NETFLOW_TRACE_SHAPE", shape).mistakes();
        assert_eq!(
            mistakes,
            [
                "NETFLOW_SERVICE_GRAPH=spans (environment): it needs NETFLOW_TRACE_SHAPE=flow: \
                 backends miscount requests that share a trace"
            ],
            "{shape}"
        );
    }
    let warnings = graph().env("NETFLOW_TRACE_SHAPE", "flow").warnings();
    assert!(
        warnings[0].contains("NETFLOW_NETWORKS, which names networks, is not set"),
        "{warnings:?}"
    );
}

#[test]
fn filters_that_can_not_work_say_why() {
    for (variable, value, reason) in [
        (
            "NETFLOW_FILTER",
            "port 80 and byts > 1m",
            "column 13: \"byts\" is not a word of the filter language; did you mean \"bytes\"?; accepted: ",
        ),
        (
            "NETFLOW_KEEP",
            "flags",
            "column 6: expected the letters of flags that are all set",
        ),
        (
            "NETFLOW_FILTER",
            "src network office",
            "it names a network, and NETFLOW_NETWORKS, which names networks, is not set",
        ),
        (
            "NETFLOW_SAMPLE_BYTES",
            "0",
            "accepted: a size from 1 to 1TiB",
        ),
    ] {
        let mistakes = Surroundings::sound().env(variable, value).mistakes();
        let [line] = &mistakes[..] else {
            panic!("{mistakes:?}");
        };
        assert!(
            line.starts_with(variable) && line.contains(reason),
            "{line}"
        );
    }
}

#[test]
fn what_is_kept_from_no_sampler_gives_a_warning() {
    let keep = || Surroundings::sound().env("NETFLOW_KEEP", "port 53");
    let warnings = keep().warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("nothing is sampled"), "{warnings:?}");
    assert!(
        keep()
            .env("NETFLOW_SAMPLE_BYTES", "1MiB")
            .warnings()
            .is_empty()
    );
    assert!(
        keep()
            .env("OTEL_TRACES_SAMPLER", "always_off")
            .warnings()
            .is_empty()
    );
}

#[test]
fn a_file_of_definitions_that_can_not_be_used_names_line_column_and_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("fields.csv");
    let path = file.to_str().expect("UTF-8");
    let mistakes = |path: &str| Surroundings::sound().env("NETFLOW_FIELDS", path).mistakes();
    std::fs::write(
        &file,
        "enterprise,element,name,type\n32473,7,acmeTenant,text\n",
    )
    .expect("written");
    let [line] = &mistakes(path)[..] else {
        panic!("one mistake");
    };
    for part in [
        &format!(
            "NETFLOW_FIELDS={path} (environment): line 2: type \"text\" is not known; write one of octetArray"
        ),
        "accepted: a readable CSV file with lines such as 32473,7,acmeTenant,string,acme.tenant",
    ] {
        assert!(line.contains(part), "{line}");
    }
    for path in ["/nowhere/fields.csv", "/"] {
        assert!(mistakes(path)[0].contains("it can't be read"), "{path}");
    }
}

#[test]
fn the_files_of_definitions_in_deploy_are_valid() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/fields");
    let mut files = 0;
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let path = path.to_str().expect("UTF-8");
        let loaded = Surroundings::sound().env("NETFLOW_FIELDS", path).config();
        let fields = loaded.translate.fields.expect("definitions");
        assert!(fields.len() > 8, "{path}: {}", fields.len());
        files += 1;
    }
    assert_eq!(files, 2);
}
