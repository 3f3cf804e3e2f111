//! The composition root: the only module that knows all the others. Builds the stages back to front, starts
//! them, waits for a signal, and stops them front to back.

mod connections;
mod demo;
mod kafka;
mod templates;
mod totals;

pub use demo::demo;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::runtime::Runtime;
use tracing::{error, info};

use crate::cli;
use crate::config::{self, Config, FlowMetrics, Loaded, Mistakes};
use crate::databases::DatabaseFiles;
use crate::deliver::Delivery;
use crate::enrichment::{Watching, open_table};
use crate::files;
use crate::health::Pulse;
use crate::kafka::input::Input;
use crate::observe::api::Watched;
use crate::observe::flow_metrics::FlowSource;
use crate::observe::healthcheck::reachable;
use crate::observe::http::{AdminListener, AdminServer, AllowedHosts};
use crate::observe::live::Tap;
use crate::observe::logging;
use crate::observe::own_metrics::MetricsExport;
use crate::observe::stages::{Facts, Phase, Stages};
use crate::receive::Running;
use crate::relay::Relay;
use crate::runtime;
use crate::stop::{Schedule, Signals};
use crate::streams::Streams;
use crate::supervisor::{Supervised, Supervisor};
use crate::template_store::Keeping;
use crate::template_store::conversation_key;
use crate::translate::enrich::interfaces::Interfaces;
use crate::translate::enrich::networks::Networks;
use crate::translate::metrics::Places;
use crate::translate::{AllowList, StateBudget};
use crate::worker::{Mailboxes, Shared, Worker};

/// At the stop, how soon it is looked again whether messages of connections have room.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often it is looked whether all workers are still there.
const WATCH: Duration = Duration::from_secs(1);

/// Runs the daemon until a signal. The exit code is a success if nothing was lost.
///
/// # Errors
/// What keeps it from starting: an address that can't be bound, a TLS file that can't be used.
pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    // Before anything else is opened.
    let supervised = Supervised::take();
    let runtime = runtime::start(config.deliver.concurrency)?;
    let code = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let daemon = Daemon::start(config, supervised)?;
        let why = tokio::select! {
            why = signals.stop(|| daemon.reload()) => Ok(why),
            failed = daemon.failed() => Err(failed),
        };
        daemon
            .stop(why, &mut signals, config.shutdown_timeout)
            .await
    });
    abandon(runtime);
    code
}

/// Ends the runtime without its threads that wait for a name server or a disk: nothing can hurry those.
fn abandon(runtime: Runtime) {
    runtime.shutdown_background();
}

/// Tries the directories and files that settings name, before anything is started.
///
/// # Errors
/// All that can't be used, with the warnings that may explain it.
pub fn check_files(loaded: &Loaded) -> Result<(), cli::Failure> {
    let runtime = runtime::start(1).map_err(cli::Failure::Running)?;
    let checked = runtime.block_on(async { files::check(&loaded.config) });
    abandon(runtime);
    checked.map_err(|mistakes| {
        cli::Failure::Configuration(Mistakes {
            mistakes,
            warnings: loaded.warnings.clone(),
        })
    })
}

/// Tries the backend and shows what it says.
///
/// # Errors
/// When it isn't accepting spans, or a setting can't be used.
pub fn try_backend(exporter: &config::Exporter) -> Result<ExitCode, cli::Failure> {
    let runtime = runtime::start(1).map_err(cli::Failure::Running)?;
    let shown = runtime.block_on(cli::show_connection(exporter));
    abandon(runtime);
    shown
}

/// The running stages.
struct Daemon {
    running: Running<Worker>,
    streams: Option<Streams>,
    input: Option<Input>,
    delivery: Delivery,
    relay: Option<Relay>,
    stages: Arc<Stages>,
    admin: Option<AdminServer>,
    own_metrics: Option<MetricsExport>,
    flows: FlowSource,
    /// The tasks that watch files of names.
    files: [Option<Watching>; 4],
    keeping: Option<Keeping>,
    supervisor: Supervisor,
    pulse: Pulse,
}

impl Daemon {
    fn start(config: &Config, mut supervised: Supervised) -> anyhow::Result<Self> {
        let delivery = Delivery::start(&config.deliver)?;
        delivery.look_for_backend();
        let health = delivery.health();
        let relay = config
            .relay
            .as_ref()
            .map(|kafka| Relay::start(kafka, config.deliver.queue_size, &health));
        let (receivers, kafka) = kafka::open(config, &mut supervised)?;
        let streams = connections::Prepared::open(config, &receivers)?;
        let admin = config.admin.map(AdminListener::bind).transpose()?;
        let page = admin.as_ref().map(AdminListener::address);
        let mut facts = Facts::new(&receivers, page, &config.deliver, config.memory);
        if let Some(streams) = &streams {
            facts.connections = streams.listeners.local_addresses();
        }
        if let Some(kafka) = &config.relay {
            facts.relays_to(kafka);
        }
        let budget = StateBudget::new(config.memory.state, receivers.workers());
        let tap = Arc::new(Tap::default());
        let networks = open_table::<Networks>(config.networks.as_ref())?;
        let interfaces = open_table::<Interfaces>(config.interfaces.as_ref())?;
        let databases = DatabaseFiles::open(config)?;
        let FlowMetrics {
            views,
            max_series,
            top,
        } = config.flow_metrics;
        let shared = Shared {
            translate: conversation_key::settled(&config.translate)?,
            networks: networks.as_ref().map(|file| Arc::clone(&file.table)),
            interfaces: interfaces.as_ref().map(|file| Arc::clone(&file.table)),
            databases: databases.now(),
            places: Places::new(views, max_series).with_top(top),
            budget: Arc::clone(&budget),
            conversations: Arc::default(),
            tap: Arc::clone(&tap),
        };
        let mut workers = (0..receivers.workers())
            .map(|index| {
                let receipts = kafka.as_ref().and_then(|kafka| kafka.receipts(index));
                Worker::new(&shared, &delivery, receipts)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(relay) = &relay {
            let allowed = &config.translate.allowed_exporters;
            for worker in &mut workers {
                worker.relay = Some(relay.outlet(AllowList::new(allowed)));
            }
        }
        if let Some(streams) = &streams {
            streams.connect(&mut workers, || match &relay {
                Some(relay) => Box::new(relay.room()),
                None => {
                    let room = delivery.room(&config.deliver);
                    Box::new(move || room.is_there())
                }
            });
        }
        if let Some(kafka) = &kafka {
            kafka.connect(&mut workers, &delivery, config);
        }
        let store_counters = Arc::default();
        let keeper = templates::load(config, &store_counters, &receivers, &mut workers)?;
        receivers.announce();
        let translated = workers
            .iter()
            .map(|worker| worker.translator.counters())
            .collect();
        let given: Vec<_> = workers
            .iter()
            .map(|worker| Arc::clone(&worker.mailbox))
            .collect();
        let mut stages = Stages::new(receivers.counters(), translated, &delivery, facts);
        stages.state_budget = budget;
        stages.template_store = store_counters;
        if let Some(relay) = &relay {
            stages.relayed = relay.counters();
        }
        stages.kafka_input = kafka.as_ref().map(kafka::Kafka::counters);
        if let Some(streams) = &streams {
            stages.streams = streams.exchange.counters();
        }
        if let Some(part) = logging::part() {
            stages.health.add(part);
        }
        let stages = Arc::new(stages);
        workers.reverse();
        let running = receivers
            .start(|_| workers.pop().expect("one was made for each worker"))
            .context(
                "the receive threads could not be started; allow the process more threads (`ulimit -u`, TasksMax= in a \
                 systemd unit, the container's pids limit)",
            )?;
        let streams = streams
            .map(|streams| streams.start(running.wakers(), &stages.health))
            .transpose()?;
        let input = kafka.map(|kafka| kafka.start(running.wakers(), &stages.health));
        stages.enter(Phase::Running);
        let wakers = running.wakers().iter().cloned();
        let mailboxes = Mailboxes::new(given.into_iter().zip(wakers).collect());
        let keeping =
            keeper.map(|keeper| Keeping::start(keeper, Arc::clone(&stages), mailboxes.clone()));
        let flows = FlowSource::new((!views.is_empty()).then(|| mailboxes.clone()));
        let health = &stages.health;
        let networks = networks.map(|file| {
            let mailboxes = mailboxes.clone();
            Watching::start(file, health, move |new| mailboxes.name_networks(new))
        });
        let interfaces = interfaces.map(|file| {
            flows.describe(&file.table);
            let (flows, mailboxes) = (flows.clone(), mailboxes.clone());
            Watching::start(file, health, move |new: &Arc<Interfaces>| {
                flows.describe(new);
                let new = Arc::clone(new);
                mailboxes.put_all(move |machine| machine.name_interfaces(Some(Arc::clone(&new))))
            })
        });
        let [country, asn] = databases.watch(health, &mailboxes);
        let files = [networks, interfaces, country, asn];
        let pulse = Pulse::start(&stages.health, mailboxes.clone());
        let supervisor = supervised.attend(&stages, &mailboxes);
        let watched = Watched::new(
            Arc::clone(&stages),
            mailboxes,
            flows.clone(),
            tap,
            config.trace_url.clone(),
        );
        let hosts = AllowedHosts::new(&config.admin_hosts);
        let admin = admin
            .map(|listener| listener.serve(watched, hosts))
            .transpose()?;
        if let Some(admin) = &admin {
            let page = reachable(admin.address());
            info!(address = %admin.address(), page = %format_args!("http://{page}/"), "serving the page, metrics and health");
        }
        let own_metrics = match &config.own_metrics {
            Some(own) => Some(MetricsExport::start(
                own,
                &config.translate.resource,
                Arc::clone(&stages),
                flows.clone(),
            )?),
            None => None,
        };
        Ok(Self {
            running,
            streams,
            input,
            delivery,
            relay,
            stages,
            admin,
            own_metrics,
            flows,
            files,
            keeping,
            supervisor,
            pulse,
        })
    }

    /// Waits until a worker has ended by itself, which it shouldn't.
    async fn failed(&self) -> anyhow::Error {
        let mut watch = tokio::time::interval(WATCH);
        loop {
            watch.tick().await;
            if self.running.has_failed() {
                self.stages.enter(Phase::Failed);
                return anyhow!("a receive worker has panicked: its exporters are not served");
            }
        }
    }

    /// Reads again what files say.
    fn reload(&self) {
        self.delivery.reload_files();
        if let Some(streams) = &self.streams {
            streams.reload_files();
        }
        if let Some(own_metrics) = &self.own_metrics {
            own_metrics.reload_files();
        }
        for file in self.files.iter().flatten() {
            file.reload();
        }
    }

    /// Stops receiving, flushes, delivers until the deadline; a second signal ends it at once.
    async fn stop(
        self,
        why: anyhow::Result<&'static str>,
        signals: &mut Signals,
        timeout: Duration,
    ) -> anyhow::Result<ExitCode> {
        let with_spool = self.stages.facts.spool.is_some();
        let mut schedule = Schedule::begin(timeout, with_spool);
        match &why {
            Ok(signal) => info!(signal, timeout_ms = timeout.as_millis() as u64, "stopping"),
            Err(failure) => error!(%failure, "stopping"),
        }
        let Self {
            running,
            streams,
            mut input,
            delivery,
            relay,
            stages,
            admin,
            own_metrics,
            flows,
            files,
            keeping,
            mut supervisor,
            pulse,
        } = self;
        supervisor.stopping(timeout);
        drop(pulse);
        if why.is_ok() {
            stages.enter(Phase::Stopping);
        }
        let mut second = false;
        let until = schedule.delivered();
        let read = schedule.connections();
        let stopping = async {
            connections::stop(streams, read).await;
            kafka::stop_reading(&mut input, read).await;
            tokio::task::spawn_blocking(move || running.stop_by(Some(until))).await
        };
        let (mut workers, busy) = tokio::select! {
            joined = stopping => {
                let stopped = joined.context("the receive threads could not be joined")?;
                (stopped.handlers, stopped.busy > 0)
            }
            () = signals.second(&schedule) => {
                second = true;
                (Vec::new(), true)
            }
        };
        drop(files);
        let reading = schedule.rest();
        let rest = async {
            for worker in &mut workers {
                while !worker.read_with_room() && Instant::now() < reading {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        };
        tokio::select! {
            () = rest => {}
            () = signals.second(&schedule), if !second => second = true,
        }
        let mut waiting = 0;
        for worker in &mut workers {
            worker.read_the_rest();
            worker.finish();
            waiting += worker.translator.sets_waiting();
        }
        let now = Instant::now();
        let last = workers.iter_mut();
        let last = last.filter_map(|worker| worker.translator.flow_metrics(now));
        flows.end(last.collect());
        let abort = delivery.abort_handle();
        if second {
            schedule.hurry();
            abort.abort();
        }
        let totals = {
            let stored = async {
                if let Some(keeping) = keeping {
                    templates::store_the_last(keeping, &mut workers).await;
                }
            };
            let stored = tokio::time::timeout_at(schedule.written().into(), stored);
            let drain = delivery.drain_by(schedule.delivered(), schedule.written());
            let delivered = schedule.delivered();
            let relayed = async move {
                if let Some(relay) = relay {
                    relay.drain_by(delivered).await;
                }
            };
            let ended = async { tokio::join!(stored, drain, relayed).1 };
            tokio::pin!(ended);
            loop {
                let written = schedule.written();
                tokio::select! {
                    totals = &mut ended => break totals,
                    () = signals.second(&schedule), if !second => {
                        second = true;
                        schedule.hurry();
                        abort.abort();
                    }
                    // What hangs is left behind.
                    () = tokio::time::sleep_until(written.into()), if second => {
                        break delivery.counters().totals();
                    }
                }
            }
        };
        kafka::leave(input, schedule.written()).await;
        let lost = totals::say_totals(&stages, &totals, waiting) || busy;
        if let Some(own_metrics) = own_metrics {
            own_metrics.stop(schedule.metrics()).await;
        }
        // Until here it shows how the end goes.
        drop(admin);
        why?;
        Ok(if lost {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}
