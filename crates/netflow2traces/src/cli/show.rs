//! What commands show that start nothing.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::Failure;
use crate::config::{Compression, Exporter, Kafka, Loaded, Otlp, print};
use crate::deliver::{Outcome, try_backend};
use crate::observe::healthcheck;
use crate::stdout;

/// Shows that the configuration is valid; it is when there is one.
///
/// # Errors
/// When stdout can't be written, as of everything here.
pub fn show_check(loaded: &Loaded) -> Result<ExitCode, Failure> {
    let mut text = String::from("The configuration is valid.\n");
    text.push_str(&print::summary(&loaded.config));
    text.push_str(&warnings(loaded));
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Shows all settings, and what they amount to.
///
/// # Errors
/// The mistakes, when there are any; the settings have been shown.
pub fn show_settings(table: &str, loaded: Result<Loaded, Failure>) -> Result<ExitCode, Failure> {
    say(table)?;
    let loaded = loaded?;
    say(&format!(
        "\nIn effect\n{}{}",
        print::summary(&loaded.config),
        warnings(&loaded)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Sends a request without spans, and shows what the backend said: exit code 0 when it accepts spans, else 1.
///
/// # Errors
/// When a setting of the connection can't be used.
pub async fn show_connection(exporter: &Exporter) -> Result<ExitCode, Failure> {
    let otlp = match exporter {
        Exporter::Otlp(otlp) => otlp,
        Exporter::Kafka(kafka) => return show_topic(exporter, kafka).await,
        Exporter::Console | Exporter::None => {
            say("No connection was tried: OTEL_TRACES_EXPORTER is neither otlp nor kafka.\n")?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let (endpoint, protocol) = (print::endpoint(otlp), otlp.protocol.as_str());
    let outcome = tried(exporter).await?;
    let cause = match outcome {
        Outcome::Accepted => {
            say(&format!(
                "The backend at {endpoint} accepts spans over {protocol}.\n"
            ))?;
            if otlp.compression == Compression::Gzip && accepts_zstd(otlp).await {
                say(
                    "It accepts zstd too, which makes a seventh to a quarter fewer bytes than gzip, and takes up to \
                     half as long again to compress: OTEL_EXPORTER_OTLP_COMPRESSION=zstd.\n",
                )?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        Outcome::Partial { message, .. } => {
            say(&format!(
                "The backend at {endpoint} accepts spans over {protocol}, and says: {message}\n"
            ))?;
            return Ok(ExitCode::SUCCESS);
        }
        Outcome::Retry { cause, .. }
        | Outcome::TooLarge { cause }
        | Outcome::Rejected { cause } => cause,
    };
    Err(Failure::Running(anyhow::anyhow!(
        "the backend at {endpoint} is not accepting spans over {protocol}: {cause}"
    )))
}

/// Nothing is written.
async fn show_topic(exporter: &Exporter, kafka: &Kafka) -> Result<ExitCode, Failure> {
    let topic = print::kafka_topic(kafka, &kafka.traces_topic);
    match tried(exporter).await? {
        Outcome::Retry { cause, .. }
        | Outcome::TooLarge { cause }
        | Outcome::Rejected { cause } => Err(Failure::Running(anyhow::anyhow!(
            "{topic} can't be used: {cause}"
        ))),
        Outcome::Accepted | Outcome::Partial { .. } => {
            say(&format!("The brokers answer, and there is {topic}.\n"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn tried(exporter: &Exporter) -> Result<Outcome, Failure> {
    let tried = try_backend(exporter).await;
    tried.map_err(|error| Failure::Running(error.into()))
}

async fn accepts_zstd(otlp: &Otlp) -> bool {
    let exporter = Exporter::Otlp(Otlp {
        compression: Compression::Zstd,
        ..otlp.clone()
    });
    matches!(try_backend(&exporter).await, Ok(Outcome::Accepted))
}

/// Asks the daemon whether it is ready.
///
/// # Errors
/// When it isn't, or doesn't answer.
pub fn show_health(admin: Option<SocketAddr>) -> Result<ExitCode, Failure> {
    healthcheck::check(admin).map_err(|error| Failure::Running(error.into()))?;
    say("ready\n")?;
    Ok(ExitCode::SUCCESS)
}

fn warnings(loaded: &Loaded) -> String {
    loaded
        .warnings
        .iter()
        .map(|warning| format!("warning: {warning}\n"))
        .collect()
}

fn say(text: &str) -> Result<(), Failure> {
    stdout::write(text.as_bytes()).map_err(Failure::Running)
}
