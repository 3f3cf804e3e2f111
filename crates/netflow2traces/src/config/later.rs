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
        if name.starts_with("NETFLOW_") {
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

/// Variables of OpenTelemetry SDKs that an operator may expect to work here.
const NO_EFFECT: &[(&str, &str)] = &[
    (
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "NETFLOW_QUEUE_SIZE bounds the queue, in octets",
    ),
    (
        "OTEL_BSP_EXPORT_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT bounds each request",
    ),
    (
        "OTEL_SDK_DISABLED",
        "OTEL_TRACES_EXPORTER=none sends nothing",
    ),
];

fn is_setting(name: &str) -> bool {
    settings::ALL
        .iter()
        .any(|about| about.variables.contains(&name))
}

/// Kubernetes sets variables for Services in every container: one named `netflow` gives `NETFLOW_PORT` and
/// more.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || {
        name.contains("_PORT_") || name.ends_with("_PORT") && value.contains("://")
    }
}

/// Variables have their first word in common, so the others decide.
fn nearest(name: &str) -> Option<&'static str> {
    let words = |name| match str::split_once(name, '_') {
        Some(("NETFLOW" | "OTEL", words)) => words,
        _ => name,
    };
    settings::ALL
        .iter()
        .flat_map(|about| about.variables)
        .map(|variable| {
            let likeness = strsim::jaro_winkler(words(name), words(variable));
            (likeness, *variable)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, variable)| variable)
}

/// Other programs' variables begin with `OTEL_` too, so only a slip of the finger counts.
fn is_typo(name: &str, nearest: &str) -> bool {
    name.starts_with("OTEL_") && strsim::damerau_levenshtein(name, nearest) <= 2
}
