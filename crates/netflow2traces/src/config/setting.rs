//! What a setting is: names, default, what it accepts, and the text that explains it.
//!
//! The table of all settings is in [`settings`](super::settings). Flags, `--help`, `config print`,
//! `docs/configuration.md` and `.env.example` are made from it.

use super::values::Rejection;

/// A setting with the type of its value.
pub struct Setting<T> {
    pub about: About,
    /// Reads a value that isn't empty.
    pub parse: fn(&str) -> Result<T, Rejection>,
}

/// Everything about a setting but the type of its value.
#[derive(Debug)]
pub struct About {
    pub section: Section,
    /// In order of precedence: a signal-specific form stands before the general one.
    pub variables: &'static [&'static str],
    /// Without its dashes.
    pub flag: &'static str,
    /// Stands for the value in `--help`, such as `PORT`.
    pub placeholder: &'static str,
    pub preset: Preset,
    /// Completes "accepted: …" in messages.
    pub accepted: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
    /// Meaning, trade-off, unit. One or more sentences, Markdown.
    pub details: &'static str,
    pub secrecy: Secrecy,
    /// The flag may stand without a value, which then is `true`.
    pub switch: bool,
}

/// The value of a setting that isn't set.
#[derive(Clone, Copy, Debug)]
pub enum Preset {
    /// This text, read like one that a user wrote.
    Text(&'static str),
    /// Worked out at start; the text says how.
    Computed(&'static str),
    /// Nothing; the text says what that means.
    Nothing(&'static str),
}

/// What of a value may be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Secrecy {
    Open,
    /// A URL, in which user, password and query may be secrets.
    Url,
    Secret,
}

/// Settings that are shown together, in the order of the data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Section {
    Backend,
    Receiving,
    Decoding,
    Spans,
    Resource,
    Delivery,
    Kafka,
    FlowMetrics,
    Watching,
    Logging,
    OwnMetrics,
}

impl About {
    /// The name that users see first: the general form.
    #[must_use]
    pub fn variable(&self) -> &'static str {
        self.variables.last().copied().unwrap_or(self.flag)
    }
}

impl Secrecy {
    /// The value with its secrets replaced.
    #[must_use]
    pub fn shown(self, value: &str) -> String {
        const HIDDEN: &str = "(hidden)";
        match self {
            Self::Open => value.to_owned(),
            Self::Secret => HIDDEN.to_owned(),
            Self::Url => {
                let (scheme, rest) = match value.find("://") {
                    Some(at) => value.split_at(at + 3),
                    None => ("", value),
                };
                let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(authority);
                let authority = match authority.rsplit_once('@') {
                    Some((_, host)) => format!("{HIDDEN}@{host}"),
                    None => authority.to_owned(),
                };
                match rest.split_once('?') {
                    Some((path, _)) => format!("{scheme}{authority}{path}?{HIDDEN}"),
                    None => format!("{scheme}{authority}{rest}"),
                }
            }
        }
    }
}

impl Preset {
    /// For people: the default, or what holds without one.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Text(text) | Self::Computed(text) | Self::Nothing(text) => text,
        }
    }
}

impl Section {
    pub const ALL: [Self; 11] = [
        Self::Backend,
        Self::Receiving,
        Self::Decoding,
        Self::Spans,
        Self::Resource,
        Self::Delivery,
        Self::Kafka,
        Self::FlowMetrics,
        Self::Watching,
        Self::Logging,
        Self::OwnMetrics,
    ];

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Backend => "Backend",
            Self::Receiving => "Receiving",
            Self::Decoding => "Decoding",
            Self::Spans => "Spans",
            Self::Resource => "Resource",
            Self::Delivery => "Delivery",
            Self::Kafka => "Kafka",
            Self::FlowMetrics => "Flow metrics",
            Self::Watching => "The page, metrics and health",
            Self::Logging => "Logging",
            Self::OwnMetrics => "The daemon's own metrics",
        }
    }

    /// What the settings of the section are about, for the reference.
    #[must_use]
    pub fn introduction(self) -> &'static str {
        match self {
            Self::Backend => {
                "Where spans go and how. These are the variables of the OpenTelemetry OTLP \
                 exporter specification. Each also has a form for traces alone \
                 (`OTEL_EXPORTER_OTLP_TRACES_…`), which wins over the general one."
            }
            Self::Receiving => "The UDP sockets that routers send to.",
            Self::Decoding => "What is kept about each exporter, and how much of it.",
            Self::Spans => "What becomes a span, at which time, with which attributes.",
            Self::Resource => {
                "The resource says which process made the spans. Besides these settings it holds \
                 `service.instance.id` (a random UUID for each start, unless \
                 `OTEL_RESOURCE_ATTRIBUTES` gives one), `telemetry.sdk.name`, \
                 `telemetry.sdk.language`, `telemetry.sdk.version`, `host.name`, and, for each \
                 exporter, `netflow.exporter.address`."
            }
            Self::Delivery => "How spans are put together into requests, and what may wait.",
            Self::Kafka => {
                "The Kafka cluster, for `netflow2traces relay` and `OTEL_TRACES_EXPORTER=kafka` ([kafka.md](kafka.md)). \
                 Release builds have the client; a build without the cargo feature `kafka` refuses what needs it."
            }
            Self::FlowMetrics => {
                "What all flow records add up to, in series of bounded number, each with an exemplar that names the \
                 span of its largest flow ([flow-metrics.md](flow-metrics.md)). They are shown at `/metrics` and sent \
                 over OTLP with the daemon's own metrics."
            }
            Self::Watching => {
                "The admin server shows what the daemon does, and changes nothing: a page at `/`, `/metrics` \
                 ([metrics.md](metrics.md)), `/livez`, `/readyz`, and as JSON `/api/status`, \
                 `/api/exporters`, `/api/templates`, `/api/rejected` \
                 ([operating.md](operating.md#watching-it))."
            }
            Self::Logging => "The daemon's log goes to stderr.",
            Self::OwnMetrics => {
                "What the daemon counts, sent over OTLP besides being shown at `/metrics` \
                 ([metrics.md](metrics.md)). What isn't set for metrics is as for spans: the \
                 general form of the variable holds, the form for traces doesn't."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_user_password_and_query() {
        for (value, shown) in [
            ("http://tempo:4317", "http://tempo:4317"),
            ("tempo:4317", "tempo:4317"),
            (
                "https://u:p@tempo:1/otlp?key=1",
                "https://(hidden)@tempo:1/otlp?(hidden)",
            ),
            ("u:p@tempo:4317", "(hidden)@tempo:4317"),
            ("https://tempo/a@b", "https://tempo/a@b"),
        ] {
            assert_eq!(Secrecy::Url.shown(value), shown);
        }
    }
}
