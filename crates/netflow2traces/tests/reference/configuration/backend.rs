//! Where spans go: endpoints, their forms for traces, TLS.

use super::*;

#[test]
fn without_endpoint_the_message_names_the_variable_and_the_demo() {
    let mistakes = Surroundings::default().mistakes();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
    assert!(mistakes[0].contains("netflow2traces demo"));
}

#[test]
fn an_endpoint_is_needed_only_for_otlp() {
    for (exporter, expected) in [("console", "Console"), ("NONE", "None")] {
        let config = Surroundings::default()
            .env("OTEL_TRACES_EXPORTER", exporter)
            .config();
        assert_eq!(format!("{:?}", config.deliver.exporter), expected);
    }
    let warnings = Surroundings::sound()
        .env("OTEL_TRACES_EXPORTER", "console")
        .warnings();
    assert!(
        warnings[0].contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "{warnings:?}"
    );
}

#[test]
fn kafka_needs_a_client_and_brokers() {
    let kafka = || Surroundings::default().env("OTEL_TRACES_EXPORTER", "kafka");
    let mistakes = kafka().mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    let brokers = kafka().env("NETFLOW_KAFKA_BROKERS", "kafka-1:9092,kafka-2:9092");
    if !cfg!(feature = "kafka") {
        assert!(
            mistakes[0].starts_with("OTEL_TRACES_EXPORTER=kafka: ")
                && mistakes[0].contains("--features kafka"),
            "{mistakes:?}"
        );
        assert_eq!(brokers.mistakes(), mistakes);
        return;
    }
    assert!(
        mistakes[0].starts_with("NETFLOW_KAFKA_BROKERS: not set"),
        "{mistakes:?}"
    );
    let config = brokers
        .clone()
        .env("NETFLOW_KAFKA_TRACES_TOPIC", "spans")
        .config();
    let Exporter::Kafka(cluster) = &config.deliver.exporter else {
        panic!("not Kafka: {:?}", config.deliver.exporter)
    };
    assert_eq!(cluster.brokers, ["kafka-1:9092", "kafka-2:9092"]);
    assert_eq!(&*cluster.traces_topic, "spans");
    // A request fits into a message, and a spool is of use.
    assert!(config.translate.batch_max_octets < cluster.max_message_size);
    assert_eq!(
        config.deliver.max_request_size,
        config.translate.batch_max_octets
    );
    let spooled = brokers.clone().env("NETFLOW_SPOOL_DIR", "spool").config();
    assert!(spooled.deliver.spool.is_some());
    let relay = load(Purpose::Relay, &brokers.sources(), &machine())
        .unwrap()
        .config;
    assert!(relay.relay.is_some() && matches!(relay.deliver.exporter, Exporter::None));
}

/// The command is there without a client, too, and says what is missing; so does its help.
#[test]
fn a_relay_without_a_client_names_the_feature() {
    let parse = |arguments: &[&str]| {
        let all = ["netflow2traces", "relay"]
            .into_iter()
            .chain(arguments.iter().copied());
        cli::parse(all.map(OsString::from), &Surroundings::default()).unwrap_err()
    };
    let failure = parse(&[]);
    // Exit code 2.
    assert!(matches!(failure, Failure::Configuration(_)), "{failure:?}");
    let missing = match cfg!(feature = "kafka") {
        true => "NETFLOW_KAFKA_BROKERS",
        false => "--features kafka",
    };
    assert!(failure.to_string().contains(missing), "{failure}");
    let help = parse(&["--help"]).to_string();
    assert!(
        help.contains("cargo feature") && help.contains("--kafka-brokers"),
        "{help}"
    );
}

#[test]
fn passwords_for_kafka_are_whole_and_hidden() {
    let sasl = || {
        Surroundings::sound()
            .env("NETFLOW_KAFKA_SASL_MECHANISM", "scram-sha-512")
            .env("NETFLOW_KAFKA_SASL_USERNAME", "flows")
    };
    let mistakes = sasl().mistakes();
    assert_eq!(
        mistakes,
        ["NETFLOW_KAFKA_SASL_PASSWORD: not set, and NETFLOW_KAFKA_SASL_MECHANISM needs it"]
    );
    let sasl = sasl().env("NETFLOW_KAFKA_SASL_PASSWORD", "s3cret");
    assert!(!print::table(&sasl.sources(), &machine()).contains("s3cret"));
    for (name, value, word) in [
        ("NETFLOW_KAFKA_TLS_CA", "Cargo.toml", "NETFLOW_KAFKA_TLS_CA"),
        ("NETFLOW_KAFKA_BROKERS", "kafka", "has no port"),
        ("NETFLOW_KAFKA_TOPIC", "a b", "name of a topic"),
        ("NETFLOW_KAFKA_COMPRESSION", "brotli", "not a valid value"),
        ("NETFLOW_KAFKA_SASL_MECHANISM", "GSSAPI", "SCRAM-SHA-256"),
        ("NETFLOW_KAFKA_MAX_MESSAGE_SIZE", "1KiB", "too small"),
    ] {
        let mistakes = Surroundings::sound().env(name, value).mistakes();
        assert!(mistakes[0].contains(word), "{mistakes:?}");
    }
}

#[test]
fn the_console_may_get_a_copy_of_what_otlp_sends() {
    for (exporters, copy) in [
        ("otlp", false),
        ("otlp,console", true),
        ("Console, OTLP", true),
    ] {
        let config = Surroundings::sound()
            .env("OTEL_TRACES_EXPORTER", exporters)
            .config();
        assert!(matches!(config.deliver.exporter, Exporter::Otlp(_)));
        assert_eq!(config.deliver.console_copy, copy, "{exporters}");
    }
    for exporters in ["otlp,otlp", "console,none", "otlp,console,none", "otlp,"] {
        let mistakes = Surroundings::sound()
            .env("OTEL_TRACES_EXPORTER", exporters)
            .mistakes();
        assert!(mistakes[0].contains("otlp,console"), "{mistakes:?}");
    }
}

#[test]
fn the_demo_does_not_look_at_the_backend() {
    let surroundings = Surroundings::default()
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift")
        .env("NETFLOW_LISTEN_PORT", "9995");
    let loaded = load(Purpose::Demo, &surroundings.sources(), &machine()).unwrap();
    assert!(matches!(loaded.config.deliver.exporter, Exporter::None));
    assert_eq!(loaded.config.receive.listen[0].port(), 9995);
}

#[test]
fn the_form_for_traces_wins() {
    let otlp = Surroundings::sound()
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")
        .env(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://other:4318/here",
        )
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .env("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd")
        .env("OTEL_EXPORTER_OTLP_HEADERS", "a=1")
        .env("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2")
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        .dotenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=2")
        .otlp();
    assert_eq!(otlp.protocol, Protocol::HttpJson);
    assert_eq!(otlp.endpoint, "http://other:4318/here");
    assert_eq!(otlp.compression, Compression::Zstd);
    assert_eq!(otlp.headers.len(), 1);
    assert_eq!(otlp.headers[0].0, "b");
    assert_eq!(otlp.timeout, Duration::from_millis(2));
}

#[test]
fn the_flag_of_the_endpoint_wins_over_both_variables() {
    let surroundings = Surroundings::sound()
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http")
        .env(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://variable:4318/v1/traces",
        )
        .flag("otlp-endpoint", "http://flag:4318/base");
    assert_eq!(
        surroundings.otlp().endpoint,
        "http://flag:4318/base/v1/traces"
    );
    let surroundings = surroundings.flag("otlp-traces-endpoint", "http://flag:4318/own");
    assert_eq!(surroundings.otlp().endpoint, "http://flag:4318/own");
}

#[test]
fn endpoints_likely_to_be_wrong_give_a_warning() {
    for (protocol, endpoint, hint) in [
        (
            "grpc",
            "http://tempo:4318",
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        ),
        (
            "http",
            "http://tempo:4317",
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        ),
        ("http", "http://tempo", "usually on port 4318"),
        (
            "http",
            "http://tempo:4318/v1/traces",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        ),
        ("grpc", "tempo:4317", "http://tempo:4317"),
    ] {
        let warnings = Surroundings::sound()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .warnings();
        assert_eq!(warnings.len(), 1, "{endpoint}: {warnings:?}");
        assert!(warnings[0].contains(hint), "{warnings:?}");
    }
    assert!(Surroundings::sound().warnings().is_empty());
}

#[test]
fn insecure_decides_only_for_grpc_without_scheme() {
    let insecure = Surroundings::default()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "tempo:4317")
        .env("OTEL_EXPORTER_OTLP_INSECURE", "TRUE");
    assert_eq!(insecure.otlp().endpoint, "http://tempo:4317/");
    assert!(insecure.warnings().is_empty());
    let https = insecure.env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://tempo:4317");
    assert_eq!(https.otlp().endpoint, "https://tempo:4317/");
    assert!(https.warnings()[0].starts_with("OTEL_EXPORTER_OTLP_INSECURE=TRUE (environment)"));
}

#[test]
fn a_misspelt_endpoint_is_reported_along_with_its_absence() {
    let surroundings =
        Surroundings::default().env("OTEL_EXPORTER_OTLP_ENDPIONT", "http://tempo:4317");
    let found = load(Purpose::Run, &surroundings.sources(), &machine()).unwrap_err();
    assert!(
        found
            .to_string()
            .contains("did you mean OTEL_EXPORTER_OTLP_ENDPOINT?"),
        "{found}"
    );
}

#[test]
fn certificates_are_read_when_the_configuration_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let made = rcgen::generate_simple_self_signed(["tempo".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(path("empty.pem"), "").unwrap();
    let secure = |name: &str, file: &Path| {
        Surroundings::sound()
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://tempo:4317")
            .env(name, file.as_os_str())
    };

    let mutual = secure("OTEL_EXPORTER_OTLP_CERTIFICATE", &path("cert.pem"))
        .env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", path("cert.pem"))
        .env("OTEL_EXPORTER_OTLP_CLIENT_KEY", path("key.pem"));
    let tls = mutual.otlp().tls;
    assert_eq!(tls.certificate, Some(path("cert.pem")));
    assert_eq!(tls.client_key, Some(path("key.pem")));
    assert!(mutual.warnings().is_empty());
    let plain = mutual
        .clone()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://tempo:4317");
    assert_eq!(plain.warnings().len(), 3, "{:?}", plain.warnings());

    for (name, file, reason) in [
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "absent.pem",
            "the file can't be read: No such file",
        ),
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "empty.pem",
            "there is no certificate in the file",
        ),
        (
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "key.pem",
            "there is no certificate in the file",
        ),
        (
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "cert.pem",
            "there is no unencrypted private key",
        ),
    ] {
        let mistakes = secure(name, &path(file)).mistakes();
        assert!(mistakes[0].contains(reason), "{mistakes:?}");
    }
    for (one, other) in [
        (
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        ),
        (
            "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        ),
    ] {
        let mistakes = mutual.clone().without(other).mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(
            mistakes[0].starts_with(one) && mistakes[0].ends_with(other),
            "{mistakes:?}"
        );
    }
}

#[test]
fn kafka_as_the_input_needs_the_same_and_binds_nothing() {
    let input = || Surroundings::sound().env("NETFLOW_INPUT", "kafka");
    let brokers = || input().env("NETFLOW_KAFKA_BROKERS", "kafka-1:9092");
    if !cfg!(feature = "kafka") {
        let mistakes = brokers().mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].starts_with("NETFLOW_INPUT=kafka: "));
        return;
    }
    let mistakes = input().mistakes();
    assert!(
        mistakes[0].contains("NETFLOW_INPUT=kafka needs it"),
        "{mistakes:?}"
    );
    let config = brokers()
        .env("NETFLOW_KAFKA_GROUP", "east")
        .env("NETFLOW_LISTEN_TCP_PORT", "4739")
        .config();
    assert!(config.streams.is_off());
    let input = config.input.unwrap();
    assert_eq!(input.group, "east");
    assert_eq!(&*input.templates_topic, "netflow_templates");
    assert_eq!(input.kafka.brokers, ["kafka-1:9092"]);
    let warnings = Surroundings::sound()
        .env("NETFLOW_KAFKA_GROUP", "east")
        .warnings();
    assert_eq!(
        warnings,
        ["NETFLOW_KAFKA_GROUP=east (environment) has no effect: NETFLOW_INPUT is not kafka"]
    );
}
