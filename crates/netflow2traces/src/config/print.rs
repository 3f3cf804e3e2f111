//! What `config print` shows: each effective value and where it came from.

use std::fmt::Write;

use super::setting::{Preset, Secrecy, Section};
use super::settings;
use super::{Config, Exporter, Kafka, Machine, MetricsTo, Otlp, Protocol, Purpose, Sources, load};

/// A table of all settings by section; secrets are hidden.
#[must_use]
pub fn table(sources: &Sources, machine: &Machine) -> String {
    let mut rows = Vec::new();
    // What is computed needs the others; where one of them is a mistake, the rule is shown.
    let loaded = load(Purpose::Demo, sources, machine).ok();
    let effective = loaded.map(|loaded| loaded.config);
    for about in settings::ALL {
        let (value, origin) = sources.shown(about);
        let value = value.unwrap_or_else(|| match about.preset {
            Preset::Computed(_) if about.flag == "workers" => machine.cores.clamp(1, 4).to_string(),
            Preset::Computed(_) if about.flag == "service-version" => {
                env!("CARGO_PKG_VERSION").to_owned()
            }
            preset => effective
                .as_ref()
                .and_then(|config| computed_size(about.flag, config))
                .unwrap_or_else(|| format!("({})", preset.describe())),
        });
        let origin = origin.map_or_else(|| "default".to_owned(), |origin| origin.to_string());
        // The form that was found, where a variable has two.
        let variable = sources
            .find(about)
            .map_or_else(|| about.variable().to_owned(), |given| given.variable);
        rows.push((about.section, variable, value, origin));
    }
    let width = |column: fn(&(Section, String, String, String)) -> &String, most: usize| {
        rows.iter()
            .map(|row| column(row).chars().count())
            .max()
            .unwrap_or(0)
            .min(most)
    };
    let (variables, values) = (width(|row| &row.1, 48), width(|row| &row.2, 40));
    let mut text = String::new();
    for section in Section::ALL {
        let _ = writeln!(
            text,
            "{}{}",
            if text.is_empty() { "" } else { "\n" },
            section.title()
        );
        for (_, variable, value, origin) in rows.iter().filter(|row| row.0 == section) {
            let _ = writeln!(text, "  {variable:variables$}  {value:values$}  {origin}");
        }
    }
    text
}

/// A size that depends on other settings and on the machine.
fn computed_size(flag: &str, config: &Config) -> Option<String> {
    let octets = match flag {
        "memory-limit" => config.memory.limit,
        "queue-size" => config.deliver.queue_size,
        "receive-buffer" => config.receive.receive_buffer,
        _ => return None,
    };
    Some(match octets % (1 << 20) {
        0 => format!("{}MiB", octets >> 20),
        _ => format!("{}KiB", octets >> 10),
    })
}

/// What the settings amount to, in a few lines.
#[must_use]
pub fn summary(config: &Config) -> String {
    let mut text = String::new();
    let listen: Vec<String> = config
        .receive
        .listen
        .iter()
        .map(ToString::to_string)
        .collect();
    let workers = config.receive.workers;
    let _ = writeln!(
        text,
        "  receives on  {} (UDP), {workers} {}",
        listen.join(", "),
        if workers == 1 { "worker" } else { "workers" }
    );
    let to = match &config.relay {
        Some(kafka) => kafka_topic(kafka, &kafka.topic),
        None => destination(&config.deliver.exporter),
    };
    let _ = writeln!(text, "  sends to     {to}");
    if config.deliver.console_copy {
        text.push_str("  copies to    stdout, one JSON line a span\n");
    }
    let admin = config.admin.map_or_else(
        || "nothing: it is turned off".to_owned(),
        |address| format!("http://{address}/ (the page), /metrics, /readyz and /api/status"),
    );
    let _ = writeln!(text, "  serves       {admin}");
    if let Some(own) = &config.own_metrics {
        let to = match &own.to {
            MetricsTo::Otlp(otlp) => format!("{} over {}", endpoint(otlp), otlp.protocol.as_str()),
            MetricsTo::Kafka(kafka) => kafka_topic(kafka, &kafka.metrics_topic),
        };
        let every = humantime::format_duration(own.interval);
        let _ = writeln!(text, "  own metrics  {to}, every {every}");
    }
    let mut resource = config.translate.resource.iter();
    if let Some((key, value)) = resource.next() {
        let _ = writeln!(text, "  resource     {key}={value}");
    }
    for (key, value) in resource {
        let _ = writeln!(text, "               {key}={value}");
    }
    text
}

fn destination(exporter: &Exporter) -> String {
    match exporter {
        Exporter::Otlp(otlp) => {
            let proxy = otlp.connections.proxy.as_ref();
            let proxy = proxy.map_or_else(String::new, |proxy| {
                format!(
                    " through the proxy {}",
                    proxy.uri.to_string().trim_end_matches('/')
                )
            });
            format!("{} over {}{proxy}", endpoint(otlp), otlp.protocol.as_str())
        }
        Exporter::Kafka(kafka) => kafka_topic(kafka, &kafka.traces_topic),
        Exporter::Console => "stdout, one JSON line a span".to_owned(),
        Exporter::None => "nowhere".to_owned(),
    }
}

/// Where spans go: the word of `OTEL_TRACES_EXPORTER`, the address, and the protocol spoken there.
#[must_use]
pub fn exporter(exporter: &Exporter) -> (&'static str, Option<String>, Option<&'static str>) {
    match exporter {
        Exporter::Otlp(otlp) => ("otlp", Some(endpoint(otlp)), Some(otlp.protocol.as_str())),
        Exporter::Kafka(kafka) => {
            let topic = kafka_topic(kafka, &kafka.traces_topic);
            ("kafka", Some(topic), Some("otlp_proto"))
        }
        Exporter::Console => ("console", None, None),
        Exporter::None => ("none", None, None),
    }
}

/// A topic and where it is, as people name it.
#[must_use]
pub fn kafka_topic(kafka: &Kafka, topic: &str) -> String {
    format!("the topic {topic} of Kafka at {}", kafka.brokers.join(","))
}

/// The address of requests as people know it, without secrets.
#[must_use]
pub fn endpoint(otlp: &Otlp) -> String {
    let endpoint = Secrecy::Url.shown(&otlp.endpoint.to_string());
    match otlp.protocol {
        Protocol::Grpc => endpoint.trim_end_matches('/').to_owned(),
        Protocol::HttpProtobuf | Protocol::HttpJson => endpoint,
    }
}
