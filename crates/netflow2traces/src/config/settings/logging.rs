//! Settings: the log.

use crate::config::setting::{About, Preset, Secrecy, Section, Setting};
use crate::config::values::{Rejection, choice};

settings! { LOGGING:
    LOG_LEVEL: &'static str {
        section: Logging,
        variables: ["LOG_LEVEL"],
        flag: "log-level",
        placeholder: "LEVEL",
        preset: Preset::Text("INFO"),
        accepted: "DEBUG, INFO, WARNING, ERROR",
        summary: "How much to log",
        details: "Upper or lower case; `WARN` is the same as `WARNING`. `DEBUG` logs single datagrams and flows as \
            they were decoded, at a bounded rate.",
        parse: |text| choice(text, &[
            ("DEBUG", "debug"),
            ("INFO", "info"),
            ("WARNING", "warn"),
            ("WARN", "warn"),
            ("ERROR", "error"),
        ]).map_err(|_| {
            Rejection(format!("{text} is not a level (RUST_LOG accepts finer directives)"))
        }),
    }
    LOG_FILTER: String {
        section: Logging,
        variables: ["RUST_LOG"],
        flag: "log-filter",
        placeholder: "DIRECTIVES",
        preset: Preset::Nothing("made from LOG_LEVEL"),
        accepted: "directives such as info,netflow2traces::deliver=debug",
        summary: "Log directives for experts; take precedence over LOG_LEVEL",
        details: "A level for everything and others for single modules and what is in them: \
            `info,netflow2traces::deliver=debug`. The levels are `off`, `error`, `warn`, `info`, `debug` and `trace`; where \
            two directives fit, the longer one counts.",
        parse: log_filter,
    }
    LOG_FORMAT: bool {
        section: Logging,
        variables: ["LOG_FORMAT"],
        flag: "log-format",
        placeholder: "FORMAT",
        preset: Preset::Text("text"),
        accepted: "text, json",
        summary: "Format of the log lines",
        details: "`json` writes one object per line, for log collectors.",
        parse: |text| choice(text, &[("text", false), ("json", true)]),
    }
}

fn log_filter(text: &str) -> Result<String, Rejection> {
    match text.parse::<tracing_subscriber::filter::Targets>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Rejection(error.to_string())),
    }
}
