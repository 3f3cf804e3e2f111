//! One plan for all templates of one definition, whichever exporter sent them: routers of a model send the same ones, and a plan
//! that is in the processor's caches already costs nothing more.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use netflow_wire::{FieldSpecifier, Template, Version};

use crate::attributes::vocabulary::Vocabulary;
use crate::config::AttributeLevel;
use crate::filter::Asked;
use crate::plan::SpanPlan;
use crate::plan::elements::ElementTypes;

/// Definitions whose plans are shared.
const MAX_SHARED: usize = 1024;
/// Fields of one: what is longer is rare, and should not be kept after its template has gone.
const MAX_FIELDS: usize = 128;

/// The plans of one worker.
#[derive(Debug)]
pub(crate) struct Plans {
    words: &'static Vocabulary,
    /// What the selection asks of a flow.
    asked: Option<Asked>,
    shared: HashMap<Definition, Arc<SpanPlan>, RandomState>,
    /// Octets of these plans.
    octets: usize,
}

/// All of a template that its plan depends on.
#[derive(Debug, Eq, Hash, PartialEq)]
struct Definition {
    version: Version,
    scope_fields: Option<usize>,
    fields: Box<[FieldSpecifier]>,
}

impl Plans {
    pub(crate) fn new(words: &'static Vocabulary, asked: Option<Asked>) -> Self {
        Self {
            octets: 0,
            words,
            asked,
            shared: HashMap::default(),
        }
    }

    /// The plan of a template, compiled if need be.
    pub(crate) fn of(
        &mut self,
        template: &Template,
        level: AttributeLevel,
        types: &ElementTypes,
    ) -> Arc<SpanPlan> {
        let (words, asked) = (self.words, self.asked);
        let compile = || Arc::new(SpanPlan::compile(template, level, words, asked, types));
        // What an exporter says of elements holds for its own templates alone.
        if !types.is_empty() || template.fields.len() > MAX_FIELDS {
            return compile();
        }
        let definition = Definition {
            version: template.version,
            scope_fields: template.scope_fields,
            fields: template.fields.clone(),
        };
        if let Some(plan) = self.shared.get(&definition) {
            return Arc::clone(plan);
        }
        let plan = compile();
        if self.shared.len() < MAX_SHARED {
            self.octets += plan.octets();
            self.shared.insert(definition, Arc::clone(&plan));
        }
        plan
    }

    /// Octets of the plans that are shared.
    pub(crate) fn octets(&self) -> usize {
        self.octets
    }

    /// Forgets plans whose templates have all gone.
    pub(crate) fn forget_unused(&mut self) {
        self.shared.retain(|_, plan| Arc::strong_count(plan) > 1);
        self.octets = self.shared.values().map(|plan| plan.octets()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(id: u16, lengths: &[u16]) -> Template {
        let fields = lengths.iter().zip(1..);
        let fields: Vec<_> = fields
            .map(|(length, element)| FieldSpecifier::iana(element, *length))
            .collect();
        Template::new(Version::Ipfix, id, None, fields)
    }

    fn of(plans: &mut Plans, template: &Template) -> Arc<SpanPlan> {
        plans.of(template, AttributeLevel::All, &ElementTypes::default())
    }

    #[test]
    fn templates_of_one_definition_share_their_plan_until_all_have_gone() {
        let mut plans = Plans::new(Vocabulary::of(crate::config::Semconv::Netflow), None);
        let first = of(&mut plans, &template(256, &[8, 8]));
        assert!(Arc::ptr_eq(
            &first,
            &of(&mut plans, &template(999, &[8, 8]))
        ));
        assert!(!Arc::ptr_eq(
            &first,
            &of(&mut plans, &template(256, &[8, 4]))
        ));
        plans.forget_unused();
        assert_eq!(plans.shared.len(), 1);
        drop(first);
        plans.forget_unused();
        assert_eq!(plans.shared.len(), 0);
    }

    #[test]
    fn what_an_exporter_told_of_elements_is_not_shared() {
        let mut types = ElementTypes::default();
        assert!(types.learn(9999, 1, b"colour", None));
        let mut plans = Plans::new(Vocabulary::of(crate::config::Semconv::Netflow), None);
        let own = plans.of(&template(256, &[8]), AttributeLevel::All, &types);
        assert!(!Arc::ptr_eq(&own, &of(&mut plans, &template(256, &[8]))));
    }

    #[test]
    fn the_definitions_kept_are_bounded() {
        let mut plans = Plans::new(Vocabulary::of(crate::config::Semconv::Netflow), None);
        let held: Vec<_> = (1..=2000)
            .map(|length| of(&mut plans, &template(256, &[length])))
            .collect();
        assert_eq!(plans.shared.len(), MAX_SHARED);
        drop(held);
        of(&mut plans, &template(256, &[1; MAX_FIELDS + 1]));
        assert_eq!(plans.shared.len(), MAX_SHARED);
    }
}
