//! Which flows become spans, by what the selection asks of them.

use std::net::IpAddr;

use super::{Flow, FlowContext};
use crate::counters::translate::TranslateCounters;
use crate::enrich::networks::Networks;
use crate::filter::{Address, Asked, FlowView, Name, Number, Place};
use crate::flow::ids::Ids;
use crate::plan::sampling::{Origin, scaled};
use crate::plan::times::FlowTimes;
use crate::selection::{Decision, Draw, Kept, Selection};

/// What a decision depends on besides the flow.
#[derive(Clone, Copy)]
pub(super) struct Selecting<'a> {
    pub(super) selection: &'a Selection,
    pub(super) networks: Option<&'a Networks>,
}

impl FlowContext {
    /// Whether a flow becomes a span, and whether it counts at all.
    #[inline(always)]
    pub(super) fn decide(
        &self,
        flow: &impl Flow,
        interval: Option<(u64, Origin)>,
        draw: Draw,
        by: Selecting<'_>,
        ids: &mut Ids,
    ) -> Decision {
        match self.asked {
            None if draw.is_trace_kept(&self.odds) => Decision::Kept(Kept::default()),
            None => Decision::SampledOut,
            Some(asked) => {
                let view = self.view(flow, interval, asked, by.networks);
                let scaled = match interval {
                    Some((interval, _)) if !self.scale => interval,
                    _ => 1,
                };
                by.selection.decide(&view, scaled, &self.odds, draw, ids)
            }
        }
    }

    /// The filter excludes a flow for which there is no room for a span anyway.
    pub(super) fn is_filtered(&self, flow: &impl Flow, by: Selecting<'_>) -> bool {
        let (Some(asked), Some(filter)) = (self.asked, &by.selection.filter) else {
            return false;
        };
        let view = self.view(flow, self.interval(flow), asked, by.networks);
        !filter.matches(&view)
    }

    /// What filters see of a flow: the counts are those of its span.
    #[inline(never)]
    fn view<'a>(
        &self,
        flow: &impl Flow,
        interval: Option<(u64, Origin)>,
        asked: Asked,
        networks: Option<&'a Networks>,
    ) -> FlowView<'a> {
        let mut view = FlowView::default();
        flow.fill(&mut view);
        view.set_address(Place::Exporter, self.exporter);
        if asked.asks(Number::Duration)
            && let FlowTimes {
                told_start: Some(start),
                told_end: Some(end),
                ..
            } = flow.times()
        {
            view.set(Number::Duration, end.0.saturating_sub(start.0));
        }
        if let (true, Some((interval, _))) = (self.scale, interval) {
            for number in [Number::Bytes, Number::Packets] {
                if let Some(count) = view.number(number) {
                    view.set(number, scaled(count, interval));
                }
            }
        }
        if let Some(networks) = networks.filter(|_| asked.asks_names()) {
            for (place, name) in [
                (Place::Source, Name::SourceNetwork),
                (Place::Destination, Name::DestinationNetwork),
            ] {
                let address = view.address(place).map(Address::to_ip);
                if let Some(network) = address.and_then(|address: IpAddr| networks.name_of(address))
                {
                    view.set_name(name, network);
                }
            }
        }
        view
    }
}

/// Flows without a span, by reason.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LeftOut {
    filtered: u32,
    sampled_out: u32,
    sampled_by_size: u32,
}

impl LeftOut {
    /// Takes one in; `true` if flow metrics count it.
    pub(super) fn add(&mut self, decision: Decision) -> bool {
        match decision {
            Decision::Filtered => self.filtered += 1,
            Decision::SampledOut => self.sampled_out += 1,
            Decision::SampledBySize => self.sampled_by_size += 1,
            Decision::Kept(_) => {}
        }
        decision != Decision::Filtered
    }

    /// Counts them, and gives their sum.
    pub(super) fn count(self, counters: &TranslateCounters) -> u32 {
        counters.records_filtered.add(u64::from(self.filtered));
        counters
            .records_sampled_out
            .add(u64::from(self.sampled_out));
        counters
            .records_sampled_by_size
            .add(u64::from(self.sampled_by_size));
        self.filtered + self.sampled_out + self.sampled_by_size
    }
}
