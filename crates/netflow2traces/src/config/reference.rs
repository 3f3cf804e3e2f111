//! The files that are made from the table of settings: `docs/configuration.md`, `.env.example`, and the
//! environment of the container in `docker-compose.yml`.

use std::fmt::Write;

use super::setting::{About, Preset, Section};
use super::settings;

const OPENING: &str = "\
# Configuration

<!-- Made from the table in crates/netflow2traces/src/config/settings/. To change it, change the
table and run: UPDATE_GENERATED=1 cargo test -p netflow2traces --test reference -->

The daemon needs one setting: where to send spans.

```sh
OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 netflow2traces
```

Everything can be set in three places. A flag wins over an environment variable, and that wins over
a line in the file `.env` in the working directory (`--env-file` names another). An empty value counts as not set.

```sh
netflow2traces --listen-port 9995                # flag
NETFLOW_LISTEN_PORT=9995 netflow2traces          # environment
echo NETFLOW_LISTEN_PORT=9995 >> .env            # file
```

`netflow2traces config print` shows each value that holds and where it came from;
`netflow2traces config check` says whether the configuration is valid. Both take the same flags.

If a value can't be used, the program doesn't start: it exits with code 2 and prints one line for each
error, with what is accepted. This also holds for the variables that begin with `OTEL_`. The
OpenTelemetry specification lets an SDK warn and continue, so as not to disturb the application that it
is part of; a daemon that started without what its operator set would be worse than none. A
`NETFLOW_` variable that doesn't exist gives a warning, and so does a misspelt name of another one.

- **Sizes** are bytes, or have a unit: `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024), `kB`, `MB`, `GB`,
  `TB` (powers of 1000).
- **Durations** have a unit: `250ms`, `25s`, `10m`, `24h`. Only `OTEL_` variables are plain
  milliseconds, as the specification has them.
- **Words** may be in upper or lower case.
- **Booleans** are `true` or `false` (also `1`, `0`, `yes`, `no`, `on`, `off`); the flag alone means
  `true`.
- **Lists** are separated by commas.
- **In `.env`**, put a value with a space, `#`, `$` or a quote in single quotes.
";

const BACKENDS: &str = "\
## Common backends

```sh
# Tempo, Jaeger or an OpenTelemetry Collector on this machine, over gRPC
OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317

# The same over HTTP
OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318
OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf

# Grafana Cloud: the token is base64 of INSTANCE:API_TOKEN
OTEL_EXPORTER_OTLP_ENDPOINT=https://otlp-gateway-prod-eu-west-0.grafana.net/otlp
OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf
OTEL_EXPORTER_OTLP_HEADERS='Authorization=Basic%20BASE64'
OTEL_EXPORTER_OTLP_COMPRESSION=gzip
NETFLOW_SPAN_TIME=clamped
```

## By purpose

| to | set |
|---|---|
| authenticate | `OTEL_EXPORTER_OTLP_HEADERS=Authorization=Basic%20…` (values percent-encoded) |
| compress | `OTEL_EXPORTER_OTLP_COMPRESSION=gzip` (or `zstd`) |
| see spans without a backend | `OTEL_TRACES_EXPORTER=console`: one JSON line for each span on stdout |
| listen elsewhere | `NETFLOW_LISTEN_PORT=2055,4739`, `NETFLOW_LISTEN_HOST=::` (IPv4 and IPv6) |
| survive longer bursts | `NETFLOW_RECEIVE_BUFFER=128MiB`, and `sysctl -w net.core.rmem_max=134217728` |
| hold more while the backend is unreachable | `NETFLOW_SPOOL_DIR=/var/lib/netflow2traces/spool` on disk, or `NETFLOW_QUEUE_SIZE=1GiB` with `NETFLOW_MEMORY_LIMIT=2GiB` in memory |
| lose nothing when the daemon is killed | `NETFLOW_SPOOL_DIR` and `NETFLOW_SPOOL_MODE=always` |
| decode at once after a restart | `NETFLOW_TEMPLATE_STORE=/var/lib/netflow2traces/templates` |
| send less of each flow, or more | `NETFLOW_ATTRIBUTES=minimal`, `NETFLOW_ATTRIBUTES=all` |
| keep a tenth of the traces | `OTEL_TRACES_SAMPLER=traceidratio`, `OTEL_TRACES_SAMPLER_ARG=0.1` |
| correct an exporter's sampling interval | `NETFLOW_SAMPLING_OVERRIDE=10.0.0.0/8=1000` |
| see estimates of the real traffic | `NETFLOW_SCALE_SAMPLED=true` |
| suit a backend that refuses the past | `NETFLOW_SPAN_TIME=clamped` |
| link the page to your backend's view of a trace | `NETFLOW_TRACE_URL=http://jaeger:16686/trace/{trace_id}` |
| name the source | `OTEL_SERVICE_NAME=netflow-berlin`, `OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=production` |
| log more, or for a log collector | `LOG_LEVEL=DEBUG`, `LOG_FORMAT=json` |
";

/// The text of `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut text = format!("{OPENING}\n{BACKENDS}\n## All settings\n\n");
    text.push_str("| variable | default | what it does |\n|---|---|---|\n");
    for about in settings::ALL {
        let (variable, anchor) = (about.variable(), about.variable().to_lowercase());
        let (default, summary) = (default(about), escaped(about.summary));
        let _ = writeln!(
            text,
            "| [`{variable}`](#{anchor}) | {default} | {summary} |"
        );
    }
    for section in Section::ALL {
        let _ = write!(
            text,
            "\n## {}\n\n{}\n",
            section.title(),
            section.introduction()
        );
        for about in settings::ALL
            .iter()
            .filter(|about| about.section == section)
        {
            let _ = write!(
                text,
                "\n### `{}`\n\n{}.",
                about.variable(),
                escaped(about.summary)
            );
            let _ = writeln!(text, " {}\n", about.details);
            let _ = writeln!(text, "- Default: {}", default(about));
            let _ = writeln!(text, "- Accepted: {}", escaped(about.accepted));
            let _ = writeln!(text, "- Flag: `{}`", flag(about));
            if let [other, _] = about.variables {
                let what = if other.contains("_TRACES_") {
                    "For traces alone"
                } else {
                    "Also, and first"
                };
                let _ = writeln!(text, "- {what}: `{other}`");
            }
        }
    }
    text
}

/// The endpoint that `.env.example` suggests.
const EXAMPLE_ENDPOINT: &str = "http://localhost:4317";

/// The text of `.env.example`: all settings as comments. The endpoint too, because the same file serves
/// Docker Compose, where the endpoint is another container's.
#[must_use]
pub fn env_example() -> String {
    let mut text = String::from(
        "# Copy to .env, in the directory where netflow2traces starts, or beside docker-compose.yml. Remove the\n\
         # \"# \" in front of a setting to change it; the values shown are the defaults. Outside of Docker Compose\n\
         # one setting is required: the endpoint. docs/configuration.md explains each setting.\n\
         #\n\
         # Made from the table of settings. To change it, change the table and run:\n\
         # UPDATE_GENERATED=1 cargo test -p netflow2traces --test reference\n",
    );
    for section in Section::ALL {
        let _ = writeln!(text, "\n# --- {} ---", section.title());
        for about in settings::ALL
            .iter()
            .filter(|about| about.section == section)
        {
            let _ = writeln!(text, "\n# {}", about.summary);
            let variable = about.variable();
            let _ = match about.preset {
                _ if variable == "OTEL_EXPORTER_OTLP_ENDPOINT" => {
                    writeln!(text, "# {variable}={EXAMPLE_ENDPOINT}")
                }
                Preset::Text(default) => writeln!(text, "# {variable}={default}"),
                Preset::Computed(how) | Preset::Nothing(how) => {
                    writeln!(text, "# (default: {how})\n# {variable}=")
                }
            };
        }
    }
    text
}

/// Where Docker Compose's network has the backend.
const COMPOSE_ENDPOINT: &str = "http://tempo:4317";

/// What `docker-compose.yml` fixes, because its published ports and its health check rest on it.
const COMPOSE_FIXED: [(&str, &str); 4] = [
    ("NETFLOW_LISTEN_HOST", "0.0.0.0"),
    ("NETFLOW_LISTEN_PORT", "2055"),
    ("NETFLOW_ADMIN_HOST", "0.0.0.0"),
    ("NETFLOW_ADMIN_PORT", "9464"),
];

/// First and last line of what is generated in `docker-compose.yml`.
const COMPOSE_MARKS: [&str; 2] = [
    "      # --- every setting, made from the table of settings ---\n",
    "      # --- end of the settings ---\n",
];

/// `compose`, the text of `docker-compose.yml`, with a line for each variable of each setting in the place
/// that is marked for them. `None` if it has no such place.
#[must_use]
pub fn compose(compose: &str) -> Option<String> {
    let (before, rest) = compose.split_once(COMPOSE_MARKS[0])?;
    let (_, after) = rest.split_once(COMPOSE_MARKS[1])?;
    let mut text = format!("{before}{}", COMPOSE_MARKS[0]);
    for variable in settings::ALL.iter().flat_map(|about| about.variables) {
        let fixed = COMPOSE_FIXED.iter().find(|(name, _)| name == variable);
        let _ = match fixed {
            Some((_, value)) => writeln!(text, "      {variable}: \"{value}\""),
            None if *variable == "OTEL_EXPORTER_OTLP_ENDPOINT" => {
                writeln!(
                    text,
                    "      {variable}: ${{{variable}:-{COMPOSE_ENDPOINT}}}"
                )
            }
            None => writeln!(text, "      {variable}: ${{{variable}:-}}"),
        };
    }
    text.push_str(COMPOSE_MARKS[1]);
    text.push_str(after);
    Some(text)
}

fn default(about: &About) -> String {
    match about.preset {
        Preset::Text(text) => format!("`{text}`"),
        Preset::Nothing("required") => "**required**".to_owned(),
        Preset::Computed(how) | Preset::Nothing(how) => how.to_owned(),
    }
}

fn flag(about: &About) -> String {
    if about.switch {
        format!("--{}[={}]", about.flag, about.placeholder)
    } else {
        format!("--{} {}", about.flag, about.placeholder)
    }
}

/// Angle brackets and bars mean something in Markdown.
fn escaped(text: &str) -> String {
    text.replace('<', "\\<").replace('|', "\\|")
}
