//! From what was given to what the program uses: a [`Config`], or every mistake at once.

use std::fmt;
use std::net::SocketAddr;

use super::resource::Machine;
use super::setting::{About, Preset, Setting};
use super::sources::{Given, Sources};
use super::values::Rejection;
use super::{
    Config, Deliver, Exporter, FlowMetrics, Log, Receive, SamplerKind, Selection, ServiceGraph,
    SpanTime, Spool, TraceSampler, TraceShape, Translate, later, resource, settings,
};
use crate::translate::filter::Filter;
use crate::translate::metrics::View;

/// What the configuration is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// The daemon: needs to know where spans go.
    Run,
    /// The demo, which brings its own backend: the settings of the backend are not looked at, and
    /// [`Deliver::exporter`] is [`Exporter::None`].
    Demo,
    /// `relay`, which writes what it receives to Kafka: nothing is translated, and [`Deliver::exporter`] is
    /// [`Exporter::None`].
    Relay,
}

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// What is odd but can be used: sentences for the log, one line each.
    pub warnings: Vec<String>,
}

/// Something that was set and can't be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Which setting, as its author wrote it, and where.
    pub setting: String,
    /// What is wrong and what is accepted.
    pub problem: String,
}

/// All mistakes of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistakes {
    /// At least one.
    pub mistakes: Vec<Mistake>,
    /// What may explain them, such as a misspelt variable.
    pub warnings: Vec<String>,
}

/// Checks everything and makes the configuration.
///
/// # Errors
/// All mistakes, in the order of the table of settings.
pub fn load(purpose: Purpose, sources: &Sources, machine: &Machine) -> Result<Loaded, Mistakes> {
    load_with(purpose, sources, machine, |_| Vec::new())
}

/// As [`load`]. If there are mistakes, `more` finds further ones in what can be used of the configuration, so that they
/// are reported together.
///
/// # Errors
/// All mistakes.
pub fn load_with(
    purpose: Purpose,
    sources: &Sources,
    machine: &Machine,
    more: impl FnOnce(&Config) -> Vec<Mistake>,
) -> Result<Loaded, Mistakes> {
    let mut loader = Loader {
        sources,
        mistakes: sources.mistakes().to_vec(),
        warnings: sources.warnings().to_vec(),
    };
    let config = loader.config(purpose, machine);
    later::warn_unknown(sources, &mut loader.warnings);
    if loader.mistakes.is_empty() {
        Ok(Loaded {
            config,
            warnings: loader.warnings,
        })
    } else {
        loader.mistakes.extend(more(&config));
        Err(Mistakes {
            mistakes: loader.mistakes,
            warnings: loader.warnings,
        })
    }
}

/// Where the daemon serves its health, for callers that need only that: no other setting is read.
///
/// # Errors
/// The mistakes in these settings.
pub fn load_admin(sources: &Sources) -> Result<Option<SocketAddr>, Mistakes> {
    let mut loader = Loader {
        sources,
        mistakes: sources.mistakes().to_vec(),
        warnings: Vec::new(),
    };
    let admin = loader.admin();
    if loader.mistakes.is_empty() {
        Ok(admin)
    } else {
        Err(Mistakes {
            mistakes: loader.mistakes,
            warnings: loader.warnings,
        })
    }
}

impl Mistake {
    /// Of `VARIABLE=value: what is wrong`.
    #[must_use]
    pub fn of_sentence(sentence: &str) -> Self {
        let (setting, problem) = sentence.split_once(": ").unwrap_or(("", sentence));
        Self::new(setting, problem)
    }

    pub(super) fn new(setting: impl Into<String>, problem: &str) -> Self {
        Self {
            setting: setting.into(),
            problem: problem.to_owned(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line each, whatever was in the value.
        let text = format!("{}: {}", self.setting, self.problem);
        f.write_str(&text.replace(char::is_control, " "))
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = match self.mistakes.len() {
            1 => "1 error".to_owned(),
            count => format!("{count} errors"),
        };
        write!(f, "the configuration has {count}; nothing was started")?;
        self.mistakes
            .iter()
            .try_for_each(|mistake| write!(f, "\n  {mistake}"))?;
        self.warnings
            .iter()
            .try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

impl std::error::Error for Mistakes {}

pub(super) struct Loader<'a> {
    pub(super) sources: &'a Sources,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<String>,
}

impl Loader<'_> {
    /// The value that was given; a mistake, noted, counts as none.
    pub(super) fn given<T>(&mut self, setting: &Setting<T>) -> Option<(T, Given)> {
        let given = self.sources.find(&setting.about)?;
        match (setting.parse)(&given.value) {
            Ok(value) => Some((value, given)),
            Err(rejection) => {
                self.reject(setting, &given, &rejection);
                None
            }
        }
    }

    pub(super) fn optional<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        self.given(setting).map(|(value, _)| value)
    }

    /// The value that was given, or the default.
    pub(super) fn value<T>(&mut self, setting: &Setting<T>) -> T {
        self.optional(setting).unwrap_or_else(|| preset(setting))
    }

    pub(super) fn reject<T>(
        &mut self,
        setting: &Setting<T>,
        given: &Given,
        Rejection(reason): &Rejection,
    ) {
        let hint = match given.is_quoted() {
            true => ": its quotation marks are part of it, remove them",
            false => "",
        };
        let mistake = Mistake {
            setting: given.named(),
            problem: format!("{reason}{hint}; accepted: {}", setting.about.accepted),
        };
        // Spans and metrics may share it.
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    pub(super) fn is_set<T>(&self, setting: &Setting<T>) -> Option<Given> {
        self.sources.find(&setting.about)
    }

    pub(super) fn warn_without_effect<T>(&mut self, setting: &Setting<T>, because: &str) {
        self.warn_of(&setting.about, because);
    }

    pub(super) fn warn_of(&mut self, about: &About, because: &str) {
        if let Some(given) = self.sources.find(about) {
            self.warnings
                .push(format!("{} has no effect: {because}", given.named()));
        }
    }

    fn config(&mut self, purpose: Purpose, machine: &Machine) -> Config {
        let needed_by = self
            .what_needs_kafka(purpose)
            .or_else(|| self.metrics_need_kafka(purpose));
        let kafka = self.kafka(needed_by);
        let input = self.kafka_input(purpose, kafka.as_ref());
        let (exporter, console_copy) = match purpose {
            Purpose::Run => self.exporter(kafka.as_ref()),
            Purpose::Demo | Purpose::Relay => (Exporter::None, false),
        };
        let receive = self.receive(machine);
        let mut streams = self.streams();
        let mut translate = self.translate(machine);
        if let Exporter::Kafka(kafka) = &exporter {
            translate.batch_max_octets = translate.batch_max_octets.min(kafka.largest_request());
        }
        let limit = self.memory_limit(machine, &receive);
        let mut deliver = self.deliver(exporter, console_copy, translate.batch_max_octets, limit);
        let memory = self.memory(limit, &mut deliver, &mut streams, receive.workers);
        let networks = self.optional(&settings::NETWORKS);
        let geoip_country = self.optional(&settings::GEOIP_COUNTRY);
        let flow_metrics = self.flow_metrics(networks.is_some(), geoip_country.is_some());
        let shutdown_timeout = self.value(&settings::SHUTDOWN_TIMEOUT);
        let admin = self.admin();
        self.keep_apart(admin, &streams);
        let mut admin_hosts = self
            .optional(&settings::ADMIN_ALLOWED_HOSTS)
            .unwrap_or_default();
        admin_hosts.extend(machine.host_name.clone());
        let trace_url = self.optional(&settings::TRACE_URL);
        let log = self.log();
        let own_metrics = self.own_metrics(purpose, kafka.as_ref());
        let mut config = Config {
            receive,
            streams,
            translate,
            deliver,
            memory,
            flow_metrics,
            networks,
            interfaces: self.optional(&settings::INTERFACES),
            geoip_country,
            geoip_asn: self.optional(&settings::GEOIP_ASN),
            admin,
            admin_hosts,
            trace_url,
            log,
            own_metrics,
            input,
            relay: kafka.filter(|_| purpose == Purpose::Relay),
            shutdown_timeout,
        };
        if config.input.is_some() {
            config.streams.tcp.clear();
            config.streams.tls.clear();
            config.translate.template_store = None;
            config.translate.max_rate_per_exporter = None;
            config.translate.max_record_rate_per_exporter = None;
        }
        if purpose == Purpose::Relay {
            config.translate_nothing();
        }
        config
    }

    fn receive(&mut self, machine: &Machine) -> Receive {
        let hosts = self.value(&settings::LISTEN_HOST);
        let ports = self.value(&settings::LISTEN_PORT);
        let listen = hosts
            .iter()
            .flat_map(|host| ports.iter().map(|port| SocketAddr::new(*host, *port)))
            .collect();
        let mut receive = Receive {
            listen,
            workers: self
                .optional(&settings::WORKERS)
                .unwrap_or(machine.cores.clamp(1, 4)),
            receive_buffer: 0,
        };
        receive.receive_buffer = self
            .optional(&settings::RECEIVE_BUFFER)
            .unwrap_or_else(|| machine.memory.default_receive_buffer(receive.sockets()));
        receive
    }

    fn translate(&mut self, machine: &Machine) -> Translate {
        let shape = self.shape();
        let span_time = self.value(&settings::SPAN_TIME);
        if span_time != SpanTime::Clamped {
            self.warn_without_effect(&settings::SPAN_MAX_AGE, "NETFLOW_SPAN_TIME is not clamped");
        }
        let default_name = settings::SERVICE_NAME.about.preset.describe();
        let name = self.optional(&settings::SERVICE_NAME);
        let version = self.optional(&settings::SERVICE_VERSION);
        let attributes = self
            .optional(&settings::RESOURCE_ATTRIBUTES)
            .unwrap_or_default();
        Translate {
            allowed_exporters: self
                .optional(&settings::ALLOWED_EXPORTERS)
                .unwrap_or_default(),
            max_rate_per_exporter: self.optional(&settings::MAX_RATE_PER_EXPORTER),
            max_record_rate_per_exporter: self.optional(&settings::MAX_RECORD_RATE_PER_EXPORTER),
            template_store: self.optional(&settings::TEMPLATE_STORE),
            template_lifetime: self.value(&settings::TEMPLATE_LIFETIME),
            max_exporters: self.value(&settings::MAX_EXPORTERS),
            max_templates_per_exporter: self.value(&settings::MAX_TEMPLATES_PER_EXPORTER),
            fields: self.optional(&settings::FIELDS),
            sampling_override: self
                .optional(&settings::SAMPLING_OVERRIDE)
                .unwrap_or_default(),
            scale_sampled: self.value(&settings::SCALE_SAMPLED),
            span_time,
            span_max_age: self.value(&settings::SPAN_MAX_AGE),
            attributes: self.value(&settings::ATTRIBUTES),
            semconv: self.value(&settings::SEMCONV),
            shape,
            span_name: self.value(&settings::SPAN_NAME),
            service_name: self.value(&settings::NAMED_SERVICE),
            service_graph: self.service_graph(shape),
            sampler: self.sampler(),
            selection: self.selection(),
            resource: resource::build(default_name, name, version, attributes, machine),
            batch_delay: self.value(&settings::BATCH_DELAY),
            batch_max_spans: self
                .optional(&settings::BATCH_MAX_SPANS)
                .unwrap_or(usize::MAX),
            batch_max_octets: self.value(&settings::MAX_REQUEST_SIZE),
        }
    }

    fn shape(&mut self) -> TraceShape {
        let mut shape = self.value(&settings::TRACE_SHAPE);
        let window_set = self.value(&settings::CONVERSATION_WINDOW);
        let key_set = self.optional(&settings::CONVERSATION_KEY);
        if let TraceShape::Conversation { window, key } = &mut shape {
            (*window, *key) = (window_set, key_set);
        } else {
            let because = "NETFLOW_TRACE_SHAPE is not conversation";
            self.warn_without_effect(&settings::CONVERSATION_WINDOW, because);
            self.warn_without_effect(&settings::CONVERSATION_KEY, because);
        }
        shape
    }

    fn service_graph(&mut self, shape: TraceShape) -> ServiceGraph {
        let graph = self.value(&settings::SERVICE_GRAPH);
        if graph == ServiceGraph::None {
            return graph;
        }
        if shape != TraceShape::Flow
            && let Some(given) = self.is_set(&settings::SERVICE_GRAPH)
        {
            self.mistakes.push(Mistake::new(
                given.named(),
                "it needs NETFLOW_TRACE_SHAPE=flow: backends miscount requests that share a trace",
            ));
        }
        if self.is_set(&settings::NETWORKS).is_none() {
            self.warnings.push(
                "the service graph has one node, other: NETFLOW_NETWORKS, which names networks, is not set"
                    .to_owned(),
            );
        }
        graph
    }

    fn flow_metrics(&mut self, has_networks: bool, has_countries: bool) -> FlowMetrics {
        let views = self.value(&settings::FLOW_VIEWS);
        if views.is_empty() {
            self.warn_without_effect(&settings::METRICS_MAX_SERIES, "NETFLOW_METRICS is none");
        }
        for view in [View::Network, View::ServiceGraph] {
            if views.contains(view) && !has_networks {
                let view = view.as_str();
                self.warnings.push(format!(
                    "the view {view} of NETFLOW_METRICS has one series for each exporter: NETFLOW_NETWORKS, which \
                     names networks, is not set"
                ));
            }
        }
        if views.contains(View::Country) && !has_countries {
            self.warnings.push(
                "the view country of NETFLOW_METRICS has one series for each exporter: NETFLOW_GEOIP_COUNTRY, which \
                 knows the countries of addresses, is not set"
                    .to_owned(),
            );
        }
        if !views.contains(View::Top) {
            let because = "NETFLOW_METRICS doesn't have the view top";
            self.warn_without_effect(&settings::TOP, because);
        }
        FlowMetrics {
            views,
            max_series: self.value(&settings::METRICS_MAX_SERIES),
            top: self.value(&settings::TOP),
        }
    }

    fn selection(&mut self) -> Selection {
        let sample_bytes = self.optional(&settings::SAMPLE_BYTES);
        if sample_bytes.is_none() && self.value(&settings::TRACES_SAMPLER) == SamplerKind::AlwaysOn
        {
            self.warn_without_effect(
                &settings::KEEP,
                "nothing is sampled: neither NETFLOW_SAMPLE_BYTES nor OTEL_TRACES_SAMPLER is set",
            );
        }
        Selection {
            filter: self.filter(&settings::FILTER),
            keep: self.filter(&settings::KEEP),
            sample_bytes,
        }
    }

    /// A filter that names networks needs a file of names.
    fn filter(&mut self, setting: &'static Setting<Filter>) -> Option<Filter> {
        let filter = self.optional(setting)?;
        if filter.names_networks()
            && self.is_set(&settings::NETWORKS).is_none()
            && let Some(given) = self.is_set(setting)
        {
            let named = given.named();
            self.mistakes.push(Mistake::new(
                named,
                "it names a network, and NETFLOW_NETWORKS, which names networks, is not set",
            ));
        }
        Some(filter)
    }

    fn sampler(&mut self) -> TraceSampler {
        let share = self.value(&settings::TRACES_SAMPLER_ARG);
        let kind = self.value(&settings::TRACES_SAMPLER);
        if kind != SamplerKind::Ratio {
            self.warn_without_effect(
                &settings::TRACES_SAMPLER_ARG,
                "OTEL_TRACES_SAMPLER is not traceidratio",
            );
        }
        match kind {
            SamplerKind::AlwaysOn => TraceSampler::AlwaysOn,
            SamplerKind::AlwaysOff => TraceSampler::AlwaysOff,
            SamplerKind::Ratio => TraceSampler::Ratio(share),
        }
    }

    fn deliver(
        &mut self,
        exporter: Exporter,
        console_copy: bool,
        max_request_size: usize,
        memory_limit: usize,
    ) -> Deliver {
        let queue_size = self
            .optional(&settings::QUEUE_SIZE)
            .unwrap_or_else(|| super::memory::default_queue(memory_limit, max_request_size));
        if queue_size < max_request_size {
            let set = [
                self.is_set(&settings::QUEUE_SIZE),
                self.is_set(&settings::MAX_REQUEST_SIZE),
            ];
            let named: Vec<String> = set.iter().flatten().map(Given::named).collect();
            self.mistakes.push(Mistake::new(
                named.join(" and "),
                &format!(
                    "a request must fit into the queue; accepted: NETFLOW_QUEUE_SIZE ({queue_size} \
                     bytes) of at least NETFLOW_MAX_REQUEST_SIZE ({max_request_size} bytes)"
                ),
            ));
        }
        Deliver {
            spool: self.spool(&exporter, max_request_size),
            exporter,
            console_copy,
            queue_size,
            concurrency: self.value(&settings::EXPORT_CONCURRENCY),
            max_request_size,
        }
    }

    fn spool(&mut self, exporter: &Exporter, max_request_size: usize) -> Option<Spool> {
        let directory = self.optional(&settings::SPOOL_DIR);
        let mode = self.value(&settings::SPOOL_MODE);
        let max_size = self.value(&settings::SPOOL_MAX_SIZE);
        let max_age = self.value(&settings::SPOOL_MAX_AGE);
        let Some(directory) = directory else {
            let because = "NETFLOW_SPOOL_DIR is not set";
            self.warn_without_effect(&settings::SPOOL_MODE, because);
            self.warn_without_effect(&settings::SPOOL_MAX_SIZE, because);
            self.warn_without_effect(&settings::SPOOL_MAX_AGE, because);
            return None;
        };
        if !matches!(exporter, Exporter::Otlp(_) | Exporter::Kafka(_)) {
            // If the endpoint is wrong, that is what has to be said.
            if self.mistakes.is_empty() {
                self.warn_without_effect(&settings::SPOOL_DIR, "there is no backend to wait for");
            }
            return None;
        }
        if max_size / 4 < max_request_size {
            let set = [
                self.is_set(&settings::SPOOL_MAX_SIZE),
                self.is_set(&settings::MAX_REQUEST_SIZE),
            ];
            let named: Vec<String> = set.iter().flatten().map(Given::named).collect();
            self.mistakes.push(Mistake::new(
                named.join(" and "),
                &format!(
                    "four requests must fit into the spool; accepted: NETFLOW_SPOOL_MAX_SIZE \
                     ({max_size} bytes) of at least four times NETFLOW_MAX_REQUEST_SIZE \
                     ({max_request_size} bytes)"
                ),
            ));
        }
        Some(Spool {
            directory,
            mode,
            max_size: max_size as u64,
            max_age,
        })
    }

    fn admin(&mut self) -> Option<SocketAddr> {
        let host = self.value(&settings::ADMIN_HOST);
        let port = self.value(&settings::ADMIN_PORT);
        if port == 0 {
            self.warn_without_effect(&settings::ADMIN_HOST, "NETFLOW_ADMIN_PORT is 0");
            self.warn_without_effect(&settings::ADMIN_ALLOWED_HOSTS, "NETFLOW_ADMIN_PORT is 0");
            self.warn_without_effect(&settings::TRACE_URL, "NETFLOW_ADMIN_PORT is 0");
        }
        (port != 0).then(|| SocketAddr::new(host, port))
    }

    fn log(&mut self) -> Log {
        let level = self.value(&settings::LOG_LEVEL);
        let filter = self.optional(&settings::LOG_FILTER);
        if filter.is_some() {
            self.warn_without_effect(&settings::LOG_LEVEL, "RUST_LOG is set");
        }
        let filter = filter
            .unwrap_or_else(|| match level {
                // Other crates speak at WARN and above; their DEBUG would bury ours. The Kafka client warns of each
                // attempt, and ours say what came of it.
                "error" | "warn" => level.to_owned(),
                _ => format!("warn,krafka=error,netflow2traces={level},netflow_tools={level},netflow_translate={level},netflow_wire={level},otlp_wire={level}"),
            });
        Log {
            filter,
            json: self.value(&settings::LOG_FORMAT),
        }
    }
}

/// The default of a setting that has one as text.
pub(super) fn preset<T>(setting: &Setting<T>) -> T {
    let Preset::Text(text) = setting.about.preset else {
        unreachable!("{} has a default as text", setting.about.flag)
    };
    (setting.parse)(text)
        .unwrap_or_else(|_| unreachable!("the default of {} is valid", setting.about.flag))
}
