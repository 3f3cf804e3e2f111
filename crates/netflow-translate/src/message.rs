//! What is done with the Sets of one message: options taken in, records written, everything counted.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use netflow_wire::{
    DataRecords, DataSet, Event, Front, Header, Learning, Location, SetError, Template, Visitor,
};

use crate::exporter::Arrival;
use crate::exporter::metadata::{ExporterMetadata, Metadata};
use crate::flow::work::Outcome;
use crate::flow::{FlowContext, Flows, Place, write_flows};
use crate::plan::SpanPlan;
use crate::plan::compiled::Compiled;
use crate::plan::elements::{ListRoom, Lists, Resolve};
use crate::plan::options::{OptionsPlan, OptionsRecord};
use crate::plan::record::{Fixed, Layout, Record, SetContext, Variable};
use crate::plan::sampling::{ConfiguredSampling, Sampling};
use crate::plan::times::is_same_boot;
use crate::writing::Writing;

/// Everything that reading one message touches, and its outcome.
pub(crate) struct MessageReader<'a> {
    pub(crate) writing: &'a mut Writing,
    pub(crate) metadata: &'a mut ExporterMetadata,
    pub(crate) place: Place<'a>,
    /// The exporter's address.
    pub(crate) source: IpAddr,
    /// `NETFLOW_SAMPLING_OVERRIDE` for this exporter.
    pub(crate) sampling: &'a ConfiguredSampling,
    pub(crate) context: FlowContext,
    pub(crate) lists: ListRoom,
    pub(crate) arrival: Arrival,
    /// The Sets waited for their template: the exporter may have restarted since.
    pub(crate) has_waited: bool,
    pub(crate) now: Instant,
    pub(crate) outcome: Outcome,
}

impl MessageReader<'_> {
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
            self.outcome.flows_began = Some(self.writing.clock.now());
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
                let records = FixedRecords {
                    body,
                    octets: plan.record_octets,
                    locations,
                };
                self.write(header, template.id, plan, resolve, records);
            }
            None => {
                let mut locations = std::mem::take(&mut self.writing.locations);
                let front = template.locate_front(&mut locations);
                let mut records = VariableRecords {
                    body,
                    template,
                    front,
                    locations: &mut locations,
                    length: None,
                };
                self.write(header, template.id, plan, resolve, &mut records);
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
        template: u16,
        plan: &SpanPlan,
        resolve: &dyn Resolve,
        records: R,
    ) {
        let metadata = self.metadata.of(header.observation_domain);
        let interfaces = self.writing.interfaces.clone();
        let interfaces = interfaces.as_ref();
        let interfaces = interfaces.and_then(|all| all.of(self.source.to_canonical()));
        let named = metadata.find(|known| known.names_interfaces().then_some(()));
        let context = SetContext {
            words: self.writing.words,
            header,
            metadata,
            interfaces,
            names_interfaces: interfaces.is_some() || named.is_some(),
            received_at: self.arrival.received_at,
            init_time: metadata
                .find(Metadata::init_time)
                .filter(|start| !self.has_waited || is_same_boot(*start, header.export_time)),
            agent: self
                .metadata
                .agent(self.arrival.session, header.observation_domain)
                .filter(|agent| self.context.standard && *agent != self.source),
            icmp_swapped: &self.metadata.icmp_swapped,
            sampling: Sampling::new(self.sampling, header, template, metadata),
            lists: Lists::new(resolve, &self.metadata.types, &self.lists),
        };
        let mut flows = RecordFlows {
            records,
            plan,
            context: &context,
        };
        write_flows(
            &mut flows,
            &self.context,
            &mut self.place,
            self.writing,
            &mut self.outcome,
            self.now,
        );
    }

    fn options(&mut self, set: &DataSet<'_, Compiled>, plan: &OptionsPlan) {
        // Of a Set that waited until its template came in this message.
        let is_late = set.has_waited && !self.has_waited;
        self.writing
            .counters
            .sets_decoded_late
            .add(u64::from(is_late));
        let mut records = DataRecords::new(set.template, set.body, set.offset);
        while let Some(record) = records.next() {
            match record {
                Ok((record, locations)) => {
                    // The message's sequence number doesn't count it.
                    self.outcome.options += u32::from(!is_late);
                    self.writing.counters.options_records.add(1);
                    let record = OptionsRecord {
                        octets: record,
                        locations,
                    };
                    let domain = plan.domain(record);
                    let domain = domain.unwrap_or(set.header.observation_domain);
                    self.metadata.learn(domain, |metadata| {
                        plan.apply(record, metadata);
                    });
                    if let Some(agent) = plan.agent(record) {
                        self.metadata
                            .name_agent(self.arrival.session, domain, agent);
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
        self.outcome.problem.get_or_insert(error.into());
        self.outcome.uncounted = true;
    }
}

impl Visitor<Compiled> for MessageReader<'_> {
    fn compile(&mut self, _: &Template) -> Compiled {
        Compiled::default()
    }

    fn admits(&mut self, template: &Template, compiled: &Compiled) -> bool {
        compiled.has_span() || self.lists.may_compile(template)
    }

    fn data(&mut self, set: &DataSet<'_, Compiled>) {
        let level = self.writing.config.attributes;
        let types = &self.metadata.types;
        let plans = &mut self.writing.plans;
        let is_new = !set.plan.has_span();
        let plan = set.plan.span(|| plans.of(set.template, level, types));
        if is_new && Arc::strong_count(plan) == 1 {
            self.lists.compiled(plan.octets());
        }
        if let Some(plan) = &plan.options {
            self.options(set, plan);
        } else {
            self.flows(
                set.header,
                set.template,
                plan,
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
            Event::Withdrawn { templates, .. } => {
                counters.templates_withdrawn.add(templates as u64);
            }
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

/// The records of a Set, each with its template's plan.
struct RecordFlows<'a, R> {
    records: R,
    plan: &'a SpanPlan,
    context: &'a SetContext<'a>,
}

impl<R: Records> Flows for RecordFlows<'_, R> {
    type Flow<'b>
        = Record<'b, R::Layout>
    where
        Self: 'b;
    type Mark = R::Mark;
    const IS_CHEAP_AGAIN: bool = R::IS_CHEAP_AGAIN;

    #[inline]
    fn current(&mut self) -> Option<Self::Flow<'_>> {
        let (octets, locations) = self.records.current()?;
        Some(Record::new(self.plan, octets, locations, self.context))
    }

    #[inline]
    fn advance(&mut self) {
        self.records.advance();
    }

    #[inline]
    fn mark(&self) -> R::Mark {
        self.records.mark()
    }

    #[inline]
    fn go_back(&mut self, to: R::Mark) {
        self.records.go_back(to);
    }
}

/// The records of a Set, one at a time: the current one may be asked for again.
trait Records {
    type Layout: Layout;
    /// As in [`Flows`], with the two that follow.
    type Mark: Copy;
    const IS_CHEAP_AGAIN: bool;
    fn current(&mut self) -> Option<(&[u8], &[Location])>;
    fn advance(&mut self);
    fn mark(&self) -> Self::Mark;
    fn go_back(&mut self, to: Self::Mark);
}

impl<R: Records> Records for &mut R {
    type Layout = R::Layout;
    type Mark = R::Mark;
    const IS_CHEAP_AGAIN: bool = R::IS_CHEAP_AGAIN;

    #[inline]
    fn current(&mut self) -> Option<(&[u8], &[Location])> {
        (**self).current()
    }

    #[inline]
    fn advance(&mut self) {
        (**self).advance();
    }

    #[inline]
    fn mark(&self) -> R::Mark {
        (**self).mark()
    }

    #[inline]
    fn go_back(&mut self, to: R::Mark) {
        (**self).go_back(to);
    }
}

struct FixedRecords<'a> {
    body: &'a [u8],
    octets: usize,
    locations: &'a [Location],
}

impl<'a> Records for FixedRecords<'a> {
    type Layout = Fixed;
    /// The octets from it on.
    type Mark = &'a [u8];
    const IS_CHEAP_AGAIN: bool = true;

    #[inline]
    fn current(&mut self) -> Option<(&[u8], &[Location])> {
        Some((self.body.get(..self.octets)?, self.locations))
    }

    #[inline]
    fn advance(&mut self) {
        self.body = self.body.get(self.octets..).unwrap_or_default();
    }

    #[inline]
    fn mark(&self) -> &'a [u8] {
        self.body
    }

    #[inline]
    fn go_back(&mut self, to: &'a [u8]) {
        self.body = to;
    }
}

struct VariableRecords<'a> {
    body: &'a [u8],
    template: &'a Template,
    /// The same in every record, and always in `locations`.
    front: Front,
    locations: &'a mut Vec<Location>,
    /// Of the current record, once it was found; 0: it goes past the end.
    length: Option<usize>,
}

impl Records for VariableRecords<'_> {
    type Layout = Variable;
    type Mark = ();
    /// The fields of a record would be located again.
    const IS_CHEAP_AGAIN: bool = false;

    #[inline]
    fn current(&mut self) -> Option<(&[u8], &[Location])> {
        let length = match self.length {
            Some(length) => length,
            None => {
                if self.body.len() < self.template.min_record_octets() {
                    return None;
                }
                let length = self
                    .template
                    .locate_rest(self.front, self.body, self.locations);
                let length = length.unwrap_or(0);
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

    fn mark(&self) {}

    fn go_back(&mut self, (): ()) {}
}
