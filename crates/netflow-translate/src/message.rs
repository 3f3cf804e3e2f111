//! What is done with the Sets of one message: options taken in, records written, everything counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use netflow_wire::{
    DataRecords, DataSet, Event, Header, Learning, Location, SetError, Template, Visitor,
};
use otlp_wire::{ResourceFront, UnixNanos};

use crate::batch::{Batches, Membership};
use crate::config::{self, AttributeLevel};
use crate::counters::translate::TranslateCounters;
use crate::debug_log::{self, DebugLog};
use crate::exporter::Arrival;
use crate::exporter::metadata::ExporterMetadata;
use crate::flow::ids::Ids;
use crate::flow::trace::Trace;
use crate::plan::SpanPlan;
use crate::plan::elements::{Lists, Resolve};
use crate::plan::options::{OptionsPlan, OptionsRecord};
use crate::plan::record::{SetContext, Written, write_flow};
use crate::plan::sampling::Sampling;
use crate::plan::shared::Plans;

/// What writing spans needs, whoever the exporter is.
#[derive(Debug)]
pub(crate) struct Writing<C> {
    pub(crate) config: config::Translate,
    /// The wall time.
    pub(crate) clock: C,
    pub(crate) counters: Arc<TranslateCounters>,
    pub(crate) batches: Batches,
    pub(crate) ids: Ids,
    /// Each span says which times its exporter told, and no others.
    pub(crate) tells_times: bool,
    pub(crate) debug_log: DebugLog,
    pub(crate) plans: Plans,
    /// Scratch: fields of a record of variable length.
    pub(crate) locations: Vec<Location>,
    /// Scratch: an encoded value.
    pub(crate) value: Vec<u8>,
}

/// Everything that reading one message touches, and what came of it.
pub(crate) struct MessageReader<'a, C> {
    pub(crate) writing: &'a mut Writing<C>,
    pub(crate) metadata: &'a mut ExporterMetadata,
    pub(crate) member: &'a mut Membership,
    pub(crate) front: &'a Arc<ResourceFront>,
    /// The exporter's address.
    pub(crate) source: IpAddr,
    /// `NETFLOW_SAMPLING_OVERRIDE` for this exporter.
    pub(crate) sampling: Option<u64>,
    pub(crate) trace: Trace,
    pub(crate) arrival: Arrival,
    pub(crate) now: Instant,
    pub(crate) outcome: Outcome,
}

/// What came of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Flow records, whether or not the sampler kept them.
    pub(crate) flows: u32,
    pub(crate) options: u32,
    pub(crate) templates: u32,
    /// A template was new or different.
    pub(crate) news: bool,
    pub(crate) waiting: u32,
    /// When the first record was reached.
    pub(crate) flows_began: Option<UnixNanos>,
    /// The first Set that could not be used.
    pub(crate) problem: Option<SetError>,
    /// Not every Data Record could be counted.
    pub(crate) uncounted: bool,
}

impl Outcome {
    /// Something was understood.
    pub(crate) fn is_decodable(&self) -> bool {
        self.flows > 0 || self.options > 0 || self.templates > 0
    }

    /// Data Records, if all could be counted.
    pub(crate) fn records(&self) -> Option<u32> {
        (!self.uncounted).then_some(self.flows + self.options)
    }
}

impl<C: Fn() -> UnixNanos> MessageReader<'_, C> {
    /// Writes a span for each record in `body`.
    pub(crate) fn flows(
        &mut self,
        header: &Header,
        template: &Template,
        plan: &SpanPlan,
        offset: usize,
        body: &[u8],
        resolve: &dyn Resolve,
    ) {
        if self.outcome.flows_began.is_none() {
            self.outcome.flows_began = Some((self.writing.clock)());
        }
        if plan.record_octets == 0 {
            if !body.is_empty() {
                self.bad(SetError::EmptyRecord {
                    offset,
                    template_id: template.id,
                });
            }
            return;
        }
        match &plan.locations {
            Some(locations) => {
                let mut records = FixedRecords {
                    body,
                    octets: plan.record_octets,
                    locations,
                };
                self.write(header, plan, resolve, &mut records);
            }
            None => {
                let mut locations = std::mem::take(&mut self.writing.locations);
                let mut records = VariableRecords {
                    body,
                    template,
                    locations: &mut locations,
                    length: None,
                };
                self.write(header, plan, resolve, &mut records);
                if records.length == Some(0) {
                    self.bad(SetError::TruncatedRecord {
                        offset,
                        template_id: template.id,
                    });
                }
                self.writing.locations = locations;
            }
        }
    }

    fn write<R: Records>(
        &mut self,
        header: &Header,
        plan: &SpanPlan,
        resolve: &dyn Resolve,
        records: &mut R,
    ) {
        let before = self.outcome.flows;
        if !self.trace.kept {
            while records.current().is_some() {
                records.advance();
                self.outcome.flows += 1;
            }
            self.writing
                .counters
                .records_sampled_out
                .add(u64::from(self.outcome.flows - before));
            return;
        }
        let metadata = self.metadata.of(header.observation_domain);
        let standard = self.writing.config.attributes >= AttributeLevel::Standard;
        let context = SetContext {
            header,
            trace_id: self.trace.id,
            parent: self.trace.process,
            received_at: self.arrival.received_at,
            span_time: self.writing.config.span_time,
            span_max_age: u64::try_from(self.writing.config.span_max_age.as_nanos())
                .unwrap_or(u64::MAX),
            metadata,
            init_time: metadata.find(crate::exporter::metadata::Metadata::init_time),
            agent: self
                .metadata
                .agent(self.arrival.port, header.observation_domain)
                .filter(|agent| standard && *agent != self.source),
            sampling: (standard || self.writing.config.scale_sampled)
                .then(|| Sampling::new(self.sampling, header, metadata)),
            show_sampling: standard,
            lists: Lists {
                templates: resolve,
                types: &self.metadata.types,
            },
            scale: self.writing.config.scale_sampled,
            tells_times: self.writing.tells_times,
        };
        let mut suspect = 0;
        loop {
            let left = self.writing.batches.spans_left();
            let mut written = 0_usize;
            let mut writer = self.writing.batches.writer();
            let is_full = loop {
                let Some((record, locations)) = records.current() else {
                    break false;
                };
                if written == left {
                    break true;
                }
                match write_flow::<R>(
                    plan,
                    record,
                    locations,
                    &context,
                    self.writing.ids.span_id(),
                    &mut self.writing.value,
                    &mut writer,
                ) {
                    Written::No => break true,
                    Written::Plain => {}
                    Written::Suspect => suspect += 1,
                }
                written += 1;
                records.advance();
            };
            let to = writer.position();
            let spans = u32::try_from(written).unwrap_or(u32::MAX);
            self.outcome.flows += spans;
            let Writing {
                batches, debug_log, ..
            } = &mut *self.writing;
            let octets = batches.commit(*self.member, to, spans, 0);
            if debug_log::is_on() {
                debug_log.flows(self.front, octets, written, self.now);
            }
            if !is_full {
                break;
            }
            if self.writing.batches.is_empty() {
                // A whole batch is too small for it.
                self.writing.counters.records_too_large.add(1);
                self.outcome.flows += 1;
                records.advance();
            } else {
                self.writing.batches.finish();
                self.writing.batches.enter(
                    self.member,
                    self.front,
                    self.now,
                    self.arrival.received_at,
                );
            }
        }
        self.writing.counters.times_suspect.add(suspect);
    }

    fn options(&mut self, set: &DataSet<'_, Arc<SpanPlan>>, plan: &OptionsPlan) {
        let mut records = DataRecords::new(set.template, set.body, set.offset);
        while let Some(record) = records.next() {
            match record {
                Ok((record, locations)) => {
                    self.outcome.options += 1;
                    self.writing.counters.options_records.add(1);
                    let record = OptionsRecord {
                        octets: record,
                        locations,
                    };
                    self.metadata
                        .learn(set.header.observation_domain, |metadata| {
                            plan.apply(record, metadata);
                        });
                    if let Some((domain, agent)) = plan.agent(record) {
                        let domain = domain.unwrap_or(set.header.observation_domain);
                        self.metadata.name_agent(self.arrival.port, domain, agent);
                    }
                    if plan.describe(record, &mut self.metadata.types) {
                        self.metadata.types_changed = true;
                    }
                }
                Err(error) => self.bad(error),
            }
        }
    }

    fn bad(&mut self, error: SetError) {
        let counters = &self.writing.counters;
        counters.sets_bad.add(1);
        match error {
            SetError::BadLength { .. } => &counters.sets_bad_length,
            SetError::Truncated { .. } => &counters.sets_truncated,
            SetError::ReservedId { .. } => &counters.sets_reserved_id,
            SetError::TooManyFields { .. } => &counters.sets_too_many_fields,
            SetError::EmptyRecord { .. } => &counters.sets_empty_record,
            SetError::TruncatedRecord { .. } => &counters.sets_truncated_record,
            _ => &counters.sets_malformed_template,
        }
        .add(1);
        self.outcome.problem.get_or_insert(error);
        self.outcome.uncounted = true;
    }
}

impl<C: Fn() -> UnixNanos> Visitor<Arc<SpanPlan>> for MessageReader<'_, C> {
    fn compile(&mut self, template: &Template) -> Arc<SpanPlan> {
        let level = self.writing.config.attributes;
        let types = &self.metadata.types;
        self.writing.plans.of(template, level, types)
    }

    fn data(&mut self, set: &DataSet<'_, Arc<SpanPlan>>) {
        if let Some(plan) = &set.plan.options {
            self.options(set, plan);
        } else {
            self.flows(
                set.header,
                set.template,
                set.plan,
                set.offset,
                set.body,
                &set.siblings,
            );
        }
    }

    fn event(&mut self, event: Event) {
        let counters = &self.writing.counters;
        match event {
            Event::Template { learning, .. } => {
                self.outcome.templates += 1;
                self.outcome.news |= learning != Learning::Refreshed;
                match learning {
                    Learning::New => &counters.templates_learnt,
                    Learning::Refreshed => &counters.templates_refreshed,
                    Learning::Replaced => &counters.templates_replaced,
                }
                .add(1);
            }
            Event::WithdrawalIgnored { .. } => counters.withdrawals_ignored.add(1),
            Event::Waiting { .. } => {
                self.outcome.waiting += 1;
                self.outcome.uncounted = true;
                counters.sets_waited.add(1);
            }
            Event::Expired { .. } => counters.sets_expired.add(1),
            Event::BadSet(error) => self.bad(error),
            _ => {}
        }
    }
}

/// The records of a Set, one at a time: the current one may be asked for again.
pub(crate) trait Records {
    /// All have the same length, and their fields lie where the plan says.
    const FIXED: bool;
    fn current(&mut self) -> Option<(&[u8], &[Location])>;
    fn advance(&mut self);
}

struct FixedRecords<'a> {
    body: &'a [u8],
    octets: usize,
    locations: &'a [Location],
}

impl Records for FixedRecords<'_> {
    const FIXED: bool = true;

    #[inline]
    fn current(&mut self) -> Option<(&[u8], &[Location])> {
        Some((self.body.get(..self.octets)?, self.locations))
    }

    #[inline]
    fn advance(&mut self) {
        self.body = self.body.get(self.octets..).unwrap_or_default();
    }
}

struct VariableRecords<'a> {
    body: &'a [u8],
    template: &'a Template,
    locations: &'a mut Vec<Location>,
    /// Of the current record, once it was found; 0: it goes past the end.
    length: Option<usize>,
}

impl Records for VariableRecords<'_> {
    const FIXED: bool = false;

    #[inline]
    fn current(&mut self) -> Option<(&[u8], &[Location])> {
        let length = match self.length {
            Some(length) => length,
            None => {
                if self.body.len() < self.template.min_record_octets() {
                    return None;
                }
                let length = self.template.locate(self.body, self.locations).unwrap_or(0);
                self.length = Some(length);
                length
            }
        };
        if length == 0 {
            return None;
        }
        Some((self.body.get(..length)?, self.locations))
    }

    #[inline]
    fn advance(&mut self) {
        if let Some(length) = self.length.take() {
            self.body = self.body.get(length..).unwrap_or_default();
        }
    }
}
