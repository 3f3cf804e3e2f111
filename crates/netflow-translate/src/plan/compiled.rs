//! What is compiled of a Template: its plan for flow records, and that for the lists that name it.

use std::cell::OnceCell;
use std::sync::Arc;

use netflow_wire::Template;

use crate::plan::SpanPlan;
use crate::plan::elements::{ElementTypes, ListPlan, ListRoom};

/// Each is compiled when data first ask for it: a datagram may hold thousands of Templates.
#[derive(Debug, Default)]
pub(crate) struct Compiled {
    span: OnceCell<Arc<SpanPlan>>,
    list: OnceCell<ListPlan>,
}

impl Compiled {
    /// The plan for flow records and options data; `compile` is called the first time.
    #[inline]
    pub(crate) fn span(&self, compile: impl FnOnce() -> Arc<SpanPlan>) -> &Arc<SpanPlan> {
        self.span.get_or_init(compile)
    }

    /// That plan exists.
    pub(crate) fn has_span(&self) -> bool {
        self.span.get().is_some()
    }

    /// Octets of the plans that no other Template shares.
    pub(crate) fn own_octets(&self) -> usize {
        let span = self.span.get().filter(|plan| Arc::strong_count(plan) == 1);
        span.map_or(0, |plan| plan.octets()) + self.list.get().map_or(0, ListPlan::octets)
    }

    /// The plan for lists. `None`: it doesn't exist, and `room` forbids to compile it.
    pub(crate) fn list(
        &self,
        template: &Template,
        types: &ElementTypes,
        room: &ListRoom,
    ) -> Option<&ListPlan> {
        if self.list.get().is_none() && !room.may_compile(template) {
            return None;
        }
        Some(self.list.get_or_init(|| {
            let plan = ListPlan::compile(template, types);
            room.compiled(plan.octets());
            plan
        }))
    }
}
