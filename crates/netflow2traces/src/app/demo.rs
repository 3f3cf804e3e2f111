//! The demo: the daemon, the embedded backend and simulated traffic in one process.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::{Daemon, abandon};
use crate::cli::DemoOptions;
use crate::config::values::TRACE_ID;
use crate::config::{self, Config};
use crate::demo::{
    Backend, BackendOptions, HostFilter, Traffic, TrafficOptions, announcement, first_traces,
};
use crate::observe::healthcheck::reachable;
use crate::observe::http::AllowedHosts;
use crate::program;
use crate::runtime;
use crate::stop::Signals;
use crate::supervisor::Supervised;

/// How long the demo waits for its first traces before it prints those that there are.
const PATIENCE: Duration = Duration::from_secs(15);
/// What Docker and Podman call their host, for a Grafana in a container.
const CONTAINER_HOSTS: [&str; 2] = ["host.docker.internal", "host.containers.internal"];
/// Threads for the blocking work of the embedded backend.
const THREADS: usize = 16;
/// The embedded backend is near: traces can be shown at once.
const BATCH_DELAY: Duration = Duration::from_millis(200);

/// Runs the demo until a signal: the daemon, an embedded backend, and traffic unless it is turned off.
///
/// # Errors
/// What keeps it from starting: a port that is taken.
pub fn demo(options: &DemoOptions, config: &Config) -> anyhow::Result<ExitCode> {
    let runtime = runtime::start(config.deliver.concurrency + THREADS)?;
    let code = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let api = SocketAddr::new(options.http_host, options.http_port);
        let names = CONTAINER_HOSTS.map(str::to_owned);
        let hosts = AllowedHosts::new(&[&names, config.admin_hosts.as_slice()].concat());
        let allows = move |headers: &_, version| hosts.allow(headers, version);
        let backend = Backend::start(BackendOptions {
            api,
            hosts: Some(HostFilter(Arc::new(allows))),
            ..BackendOptions::default()
        })
        .await?;
        let mut config = config.clone();
        config.deliver.exporter =
            config::Exporter::Otlp(config::Otlp::plain_grpc(backend.grpc_address));
        config.translate.batch_delay = config.translate.batch_delay.min(BATCH_DELAY);
        config.trace_url.get_or_insert_with(|| {
            let api = reachable(backend.api_address);
            format!("http://{api}/trace/{TRACE_ID}")
        });
        let daemon = Daemon::start(&config, Supervised::default())?;
        let target = *daemon
            .stages
            .facts
            .listening
            .first()
            .ok_or_else(|| anyhow!("nothing is bound"))?;
        let target = reachable(target);
        let traffic = if options.traffic {
            Some(Traffic::start(target, TrafficOptions::default()).await?)
        } else {
            None
        };
        let exporters = traffic
            .as_ref()
            .map_or(1, |traffic| traffic.exporters.len());
        let why = {
            let announce = announce(&backend, exporters, target, config.admin, traffic.is_none());
            tokio::pin!(announce);
            let mut announced = false;
            loop {
                tokio::select! {
                    why = signals.stop(|| daemon.reload()) => break Ok(why),
                    failed = daemon.failed() => break Err(failed),
                    () = &mut announce, if !announced => announced = true,
                }
            }
        };
        if let Some(traffic) = traffic {
            traffic.stop().await;
        }
        let code = daemon
            .stop(why, &mut signals, config.shutdown_timeout)
            .await;
        backend.shutdown().await;
        code
    });
    abandon(runtime);
    code
}

/// Prints where the demo is and, once there are traces, how to fetch them.
async fn announce(
    backend: &Backend,
    exporters: usize,
    target: SocketAddr,
    admin: Option<SocketAddr>,
    waits_for_routers: bool,
) {
    if let Some(admin) = admin {
        let admin = reachable(admin);
        say(&format!("See it: http://{admin}/\n"));
    }
    say(&format!(
        "Embedded backend: http://{} (Tempo's HTTP API), accepts OTLP at {} (gRPC) and {} (HTTP)\n",
        reachable(backend.api_address),
        backend.grpc_address,
        backend.http_address
    ));
    let patience = if waits_for_routers {
        let port = target.port();
        say(&format!(
            "No simulated traffic: point an exporter at UDP port {port} of this machine, or try\n\n  \
             {} send --to {target} --count 100\n\n\
             While nothing arrives, the page says what to check.\n",
            program::name()
        ));
        // Until the user stops it.
        Duration::from_secs(u64::from(u32::MAX))
    } else {
        PATIENCE
    };
    let traces = first_traces(&backend.store, exporters, patience).await;
    say(&announcement(reachable(backend.api_address), &traces));
}

/// To a person; the demo goes on when nobody reads it.
fn say(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}
