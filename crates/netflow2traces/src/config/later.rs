//! Names that aren't settings: misspelt ones, which get a hint, and those of other programs.

use super::settings;
use super::sources::Sources;

/// Says which variables look like ours and aren't.
pub(super) fn warn_unknown(sources: &Sources, warnings: &mut Vec<String>) {
    for name in sources.names() {
        let Some(given) = sources.variable(name) else {
            continue;
        };
        let origin = given.origin;
        if let Some((_, instead)) = NO_EFFECT.iter().find(|(known, _)| *known == name) {
            warnings.push(format!("{name} ({origin}) has no effect: {instead}"));
            continue;
        }
        if is_setting(name) || is_of_kubernetes(name, &given.value) {
            continue;
        }
        let nearest = nearest(name);
        if is_meant_for_us(name) {
            let hint = nearest
                .map(|name| format!("; did you mean {name}?"))
                .unwrap_or_default();
            warnings.push(format!("{name} ({origin}) is not a setting{hint}"));
        } else if let Some(nearest) = nearest.filter(|nearest| is_typo(name, nearest)) {
            warnings.push(format!(
                "{name} ({origin}) is not a setting; did you mean {nearest}?"
            ));
        }
    }
}

/// Whatever it is, only this program or another exporter of OTLP would read it.
fn is_meant_for_us(name: &str) -> bool {
    let of_otlp = name.strip_prefix("OTEL_EXPORTER_OTLP_");
    let of_traces =
        of_otlp.filter(|rest| !rest.starts_with("LOGS_") && !rest.starts_with("PROFILES_"));
    name.starts_with("NETFLOW_") || of_traces.is_some()
}

/// Variables of OpenTelemetry SDKs that an operator may expect to work here.
const NO_EFFECT: &[(&str, &str)] = &[
    (
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "NETFLOW_QUEUE_SIZE bounds the queue, in bytes",
    ),
    (
        "OTEL_BSP_EXPORT_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT bounds each request",
    ),
    (
        "OTEL_SDK_DISABLED",
        "OTEL_TRACES_EXPORTER=none sends nothing",
    ),
    ("OTEL_LOG_LEVEL", "LOG_LEVEL sets how much is logged"),
    (
        "OTEL_EXPORTER_PROMETHEUS_HOST",
        "NETFLOW_ADMIN_HOST is the address at which /metrics is served",
    ),
    (
        "OTEL_EXPORTER_PROMETHEUS_PORT",
        "NETFLOW_ADMIN_PORT is the port at which /metrics is served",
    ),
    (
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "counters are always totals since the start (cumulative)",
    ),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "histograms always have explicit buckets",
    ),
    ("OTEL_ATTRIBUTE_COUNT_LIMIT", ATTRIBUTES),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", ATTRIBUTES),
];

const ATTRIBUTES: &str = "NETFLOW_ATTRIBUTES sets how many attributes a span has";

fn is_setting(name: &str) -> bool {
    settings::ALL
        .iter()
        .any(|about| about.variables.contains(&name))
}

/// Kubernetes sets variables for Services in every container: one named `netflow` gives `NETFLOW_SERVICE_HOST`,
/// `NETFLOW_PORT`, `NETFLOW_PORT_2055_UDP` and more.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let has_number = |(_, rest): (&str, &str)| rest.starts_with(|c: char| c.is_ascii_digit());
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.split_once("_PORT_").is_some_and(has_number)
        || name.ends_with("_PORT") && value.contains("://")
}

/// The setting whose name is a slip of the finger away, or else the one that is most like it.
fn nearest(name: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    let variables = || settings::ALL.iter().flat_map(|about| about.variables);
    let slips = variables()
        .copied()
        .filter(|variable| is_slip(&upper, variable));
    let slip = slips.min_by_key(|variable| strsim::damerau_levenshtein(&upper, variable));
    slip.or_else(|| {
        // The first word is common to all, so the others decide.
        let words = |name| match str::split_once(name, '_') {
            Some(("NETFLOW" | "OTEL", words)) => words,
            _ => name,
        };
        variables()
            .map(|variable| {
                let likeness = strsim::jaro_winkler(words(&upper), words(variable));
                (likeness, *variable)
            })
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|(one, _), (other, _)| one.total_cmp(other))
            .map(|(_, variable)| variable)
    })
}

/// A letter that is missing, wrong, added or swapped, or two of a long name.
fn is_slip(name: &str, variable: &str) -> bool {
    let own = variable.split_once('_').map_or(variable, |(_, own)| own);
    let letters = strsim::damerau_levenshtein(name, variable);
    letters <= 2 && letters * 4 <= own.len()
}

/// Other programs have variables such as `OTEL_LOGS_EXPORTER` and `LOGLEVEL`, so only a slip of the finger counts, or
/// lower case.
fn is_typo(name: &str, nearest: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    (upper.starts_with("OTEL_") || nearest.starts_with("NETFLOW_")) && is_slip(&upper, nearest)
}
