//! All counters of the running stages, and what is fixed from the start on: what everything that is shown is
//! read from, at the moment it is shown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Instant, SystemTime};

use netflow_wire::Transport;
use tokio::runtime::Handle;

use super::own_metrics::ExportCounters;
use crate::config::{self, print};
use crate::deliver;
use crate::health::Health;
use crate::kafka::input::InputCounters;
use crate::receive::{ReceiveBuffer, Receivers, Steering, WorkerCounters};
use crate::relay::RelayCounters;
use crate::streams::StreamCounters;
use crate::template_store;
use crate::translate::{Protocol, ProtocolCounters, StateBudget, TranslateCounters};

/// The stages as they can be read from any thread.
#[derive(Debug)]
pub struct Stages {
    pub received: Arc<[WorkerCounters]>,
    /// One for each worker.
    pub translated: Vec<Arc<TranslateCounters>>,
    /// What all workers keep for exporters.
    pub state_budget: Arc<StateBudget>,
    pub delivered: Arc<deliver::Counters>,
    /// All zero without a store.
    pub template_store: Arc<template_store::Counters>,
    /// All zero without listeners for connections.
    pub streams: Arc<StreamCounters>,
    /// All zero where nothing is read from Kafka; `None` where that is not the input.
    pub kafka_input: Option<Arc<InputCounters>>,
    /// All zero but in a relay.
    pub relayed: Arc<RelayCounters>,
    /// Octets of a request, as the backend has taught.
    pub request_limit: Arc<AtomicUsize>,
    /// The long-lived threads and tasks.
    pub health: Arc<Health>,
    /// Of the daemon's own metrics, where they are sent.
    pub own_metrics: ExportCounters,
    pub facts: Facts,
    /// Of delivery and the admin server.
    runtime: Option<Handle>,
    phase: AtomicU8,
}

/// What doesn't change while the daemon runs.
#[derive(Clone, Debug)]
pub struct Facts {
    pub started: SystemTime,
    pub started_instant: Instant,
    /// Where flow records are received.
    pub listening: Vec<SocketAddr>,
    /// Where connections are accepted, and of which transport.
    pub connections: Vec<(SocketAddr, Transport)>,
    pub receive_buffer: ReceiveBuffer,
    pub steering: Steered,
    /// Where the page, metrics and health are served, if they are.
    pub admin: Option<SocketAddr>,
    /// Where spans go.
    pub exporter: &'static str,
    pub endpoint: Option<String>,
    pub protocol: Option<&'static str>,
    pub memory: config::Memory,
    /// Octets that may wait.
    pub queue_size: usize,
    /// Requests that may be under way.
    pub concurrency: usize,
    /// The disk queue, if there is one.
    pub spool: Option<config::Spool>,
}

/// How datagrams come to their workers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Steered {
    OneWorker,
    BySourceAddress,
    /// With the kernel's reason.
    Refused(String),
}

/// In which part of its life the daemon is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Phase {
    /// Sockets are bound, but no thread reads them yet.
    Starting,
    Running,
    /// A worker has ended by itself.
    Failed,
    Stopping,
}

impl Phase {
    /// As `/api/status` and `/readyz` say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
        }
    }
}

impl Facts {
    /// What holds from here on.
    #[must_use]
    pub fn new(
        receivers: &Receivers,
        admin: Option<SocketAddr>,
        config: &config::Deliver,
        memory: config::Memory,
    ) -> Self {
        let (exporter, endpoint, protocol) = print::exporter(&config.exporter);
        Self {
            started: SystemTime::now(),
            started_instant: Instant::now(),
            listening: receivers.local_addresses().to_vec(),
            connections: Vec::new(),
            admin,
            receive_buffer: receivers.receive_buffer(),
            steering: match receivers.steering() {
                Steering::OneWorker => Steered::OneWorker,
                Steering::BySourceAddress => Steered::BySourceAddress,
                Steering::Refused(error) => Steered::Refused(error.to_string()),
            },
            exporter,
            endpoint,
            protocol,
            memory,
            queue_size: config.queue_size,
            concurrency: config.concurrency,
            spool: config.spool.clone(),
        }
    }
}

impl Facts {
    /// What is received goes to a topic, unread.
    pub fn relays_to(&mut self, kafka: &config::Kafka) {
        self.exporter = "relay";
        self.endpoint = Some(print::kafka_topic(kafka, &kafka.topic));
    }
}

impl Stages {
    /// The stages of a daemon that is about to start.
    #[must_use]
    pub fn new(
        received: Arc<[WorkerCounters]>,
        translated: Vec<Arc<TranslateCounters>>,
        delivery: &deliver::Delivery,
        facts: Facts,
    ) -> Self {
        let received_by = translated.len();
        Self {
            received,
            translated,
            delivered: delivery.counters(),
            state_budget: StateBudget::new(facts.memory.state, received_by),
            template_store: Arc::default(),
            streams: Arc::default(),
            kafka_input: None,
            relayed: Arc::default(),
            request_limit: delivery.request_limit(),
            health: delivery.health(),
            own_metrics: ExportCounters::default(),
            facts,
            runtime: Handle::try_current().ok(),
            phase: AtomicU8::new(Phase::Starting as u8),
        }
    }

    /// The sum of a counter of stage 1 over the workers.
    #[must_use]
    pub fn receive(&self, counter: fn(&WorkerCounters) -> u64) -> u64 {
        self.received.iter().map(counter).sum()
    }

    /// A counter of the input from Kafka.
    #[must_use]
    pub fn from_kafka(&self, counter: fn(&InputCounters) -> u64) -> u64 {
        self.kafka_input.as_deref().map_or(0, counter)
    }

    /// The sum of a counter of stage 2 over the workers.
    #[must_use]
    pub fn translate(&self, counter: fn(&TranslateCounters) -> u64) -> u64 {
        self.translated.iter().map(|all| counter(all)).sum()
    }

    /// The sum of a counter of one protocol over the workers.
    #[must_use]
    pub fn traffic(&self, of: Protocol, counter: fn(&ProtocolCounters) -> u64) -> u64 {
        let workers = self.translated.iter();
        workers.map(|all| counter(all.traffic.of(of))).sum()
    }

    /// Asynchronous tasks that have not ended.
    #[must_use]
    pub fn tasks(&self) -> usize {
        let runtime = self.runtime.as_ref();
        runtime.map_or(0, |runtime| runtime.metrics().num_alive_tasks())
    }

    /// In which part of its life the daemon is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Running,
            2 => Phase::Failed,
            _ => Phase::Stopping,
        }
    }

    /// Notifies all observers.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
}
