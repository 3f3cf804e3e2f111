//! The decoding state of one exporter, over all its Transport Sessions and Observation Domains.
//!
//! A message goes in; the Sets of Data Records come out with the Template they follow, and everything else
//! that happened as an [`Event`]. A Set costs at most itself, never its neighbours.

use std::time::Instant;

use crate::error::SetError;
use crate::held::{HeldSet, HeldSets};
use crate::limits::Limits;
use crate::message::{Header, Message, Version};
use crate::session::Session;
use crate::set::{Set, SetKind};
use crate::template::{Template, TemplateRecord, TemplateRecords};
use crate::template_cache::{Learning, Learnt, TemplateCache, TemplateKey, Uptime};

/// A Set of Data Records and the Template they follow.
#[derive(Debug)]
pub struct DataSet<'a, P> {
    /// Of its message.
    pub header: &'a Header,
    /// What its fields are.
    pub template: &'a Template,
    /// What the caller compiled of it.
    pub plan: &'a P,
    /// Where the Set began in its datagram.
    pub offset: usize,
    /// The records and their padding.
    pub body: &'a [u8],
    /// The Templates beside it, for the lists of RFC 6313.
    pub siblings: Siblings<'a, P>,
    /// It is of an earlier message, or stood before its Template in this one.
    pub has_waited: bool,
}

/// Octets of waiting options data that the Options Templates of one message have read at once, so that no message takes
/// long; the rest comes from [`Decoder::next_ready`].
const MAX_OPTIONS_AT_ONCE: usize = 16 << 10;

/// Templates of one Transport Session and Observation Domain, by ID.
#[derive(Debug)]
pub struct Siblings<'a, P> {
    templates: &'a TemplateCache<P>,
    key: TemplateKey,
    now: Instant,
    limits: &'a Limits,
}

impl<'a, P> Siblings<'a, P> {
    /// The Template with this ID, and what the caller compiled of it.
    #[must_use]
    pub fn find(&self, id: u16) -> Option<&'a Learnt<P>> {
        let key = TemplateKey { id, ..self.key };
        self.templates.find(key, None, self.now, self.limits)
    }
}

/// What happened besides data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A Template or Options Template was sent.
    Template {
        /// Its ID.
        id: u16,
        /// What it did.
        learning: Learning,
    },
    /// A withdrawal came over UDP and was ignored: one forged datagram must not blind us (RFC 7011, section 8.4).
    WithdrawalIgnored {
        /// The Template ID, or 2 or 3 for all.
        id: u16,
    },
    /// A withdrawal came over a connection, and its Templates are forgotten.
    Withdrawn {
        /// The Template ID, or 2 or 3 for all.
        id: u16,
        /// Templates that were known.
        templates: usize,
    },
    /// A Set waits for its Template.
    Waiting {
        /// The Template ID.
        id: u16,
        /// Octets of its records.
        octets: usize,
    },
    /// A Set that waited was dropped to make room, for its age, or because its session ended.
    Expired {
        /// The Template ID.
        id: u16,
        /// Octets of its records.
        octets: usize,
    },
    /// A Set, or the rest of it, is unusable.
    BadSet(SetError),
}

/// What a caller does with a message. `P` is what it compiles of a Template.
pub trait Visitor<P> {
    /// Compiles a Template; called once for each definition, when its first data comes.
    fn compile(&mut self, template: &Template) -> P;
    /// Whether a Set's records may be read now. If not, the Set waits: [`Decoder::next_ready`] gives it.
    fn admits(&mut self, template: &Template, plan: &P) -> bool {
        let _ = (template, plan);
        true
    }
    /// Data Records have come.
    fn data(&mut self, set: &DataSet<'_, P>);
    /// Something else has happened.
    fn event(&mut self, event: Event);
}

/// The decoding state of one exporter. `C` is kept with every Set that has to wait.
#[derive(Debug)]
pub struct Decoder<P, C> {
    templates: TemplateCache<P>,
    held: HeldSets<C>,
    /// A Template was learnt, so that Sets that waited may be ready.
    learnt: bool,
}

impl<P, C> Default for Decoder<P, C> {
    fn default() -> Self {
        Self {
            templates: TemplateCache::default(),
            held: HeldSets::default(),
            learnt: false,
        }
    }
}

impl<P, C: Clone> Decoder<P, C> {
    /// Reads the Sets of a v9 or IPFIX message that came in `session`.
    pub fn read(
        &mut self,
        session: Session,
        message: &Message<'_>,
        context: &C,
        now: Instant,
        limits: &Limits,
        visitor: &mut impl Visitor<P>,
    ) {
        let header = &message.header;
        let uptime = Uptime::of(header);
        let mut options_left = MAX_OPTIONS_AT_ONCE;
        let key = |id| TemplateKey {
            session,
            version: header.version,
            domain: header.observation_domain,
            id,
        };
        for set in message.sets() {
            match set {
                Err(error) => visitor.event(Event::BadSet(error)),
                Ok(Set {
                    kind: SetKind::Data(id),
                    offset,
                    body,
                }) => {
                    if let Some(known) = self.templates.find(key(id), uptime, now, limits) {
                        let plan = known.plan(|template| visitor.compile(template));
                        if visitor.admits(&known.template, plan) {
                            visitor.data(&DataSet {
                                header,
                                template: &known.template,
                                plan,
                                offset,
                                body,
                                siblings: Siblings {
                                    templates: &self.templates,
                                    key: key(id),
                                    now,
                                    limits,
                                },
                                has_waited: false,
                            });
                            continue;
                        }
                        self.learnt = true;
                    }
                    if body.is_empty() {
                        continue;
                    }
                    let set = HeldSet::new(key(id), *header, offset, body, context.clone(), now);
                    visitor.event(Event::Waiting {
                        id,
                        octets: body.len(),
                    });
                    self.held
                        .hold(set, limits, |set| visitor.event(expired(&set)));
                }
                Ok(set) => {
                    for record in TemplateRecords::new(set, header.version, limits) {
                        match record {
                            Err(error) => visitor.event(Event::BadSet(error)),
                            Ok(TemplateRecord::Withdrawal(id)) => {
                                visitor.event(if session.transport.has_connections() {
                                    let templates = self.templates.withdraw(key(id));
                                    Event::Withdrawn { id, templates }
                                } else {
                                    Event::WithdrawalIgnored { id }
                                });
                            }
                            Ok(TemplateRecord::Definition(template)) => {
                                let id = template.id;
                                let is_options = template.scope_fields.is_some();
                                let learning =
                                    self.templates.learn(key(id), template, uptime, now, limits);
                                self.learnt = true;
                                visitor.event(Event::Template { id, learning });
                                if is_options {
                                    let left = &mut options_left;
                                    self.read_held_options(key(id), left, now, limits, visitor);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Reads options data that waited for the Options Template that has just come: what they say holds for the flows
    /// behind it in the message, and for flows that wait.
    fn read_held_options(
        &mut self,
        key: TemplateKey,
        left: &mut usize,
        now: Instant,
        limits: &Limits,
        visitor: &mut impl Visitor<P>,
    ) {
        let fits = |set: &HeldSet<C>, left: usize| set.key == key && set.body.len() <= left;
        if !self.held.iter().any(|set| fits(set, *left)) {
            return;
        }
        let admits = self
            .templates
            .find(key, None, now, limits)
            .is_some_and(|known| {
                let plan = known.plan(|template| visitor.compile(template));
                visitor.admits(&known.template, plan)
            });
        if !admits {
            return;
        }
        while let Some(set) = self.held.take(|set| fits(set, *left)) {
            *left -= set.body.len();
            self.read_held(&set, now, limits, visitor);
        }
    }

    /// Whether [`next_ready`](Self::next_ready) may give one.
    #[must_use]
    pub fn may_be_ready(&self) -> bool {
        self.learnt && self.held.len() > 0
    }

    /// The next Set that waited and whose Template is known by now. To be asked after each message until
    /// there is none.
    pub fn next_ready(&mut self, now: Instant, limits: &Limits) -> Option<HeldSet<C>> {
        if !self.learnt || self.held.len() == 0 {
            self.learnt = false;
            return None;
        }
        let templates = &self.templates;
        let ready = self.held.take(|set| {
            templates
                .find(set.key, Uptime::of(&set.header), now, limits)
                .is_some()
        });
        self.learnt = ready.is_some();
        ready
    }

    /// Reads a Set that [`next_ready`](Self::next_ready) gave.
    pub fn read_held(
        &mut self,
        set: &HeldSet<C>,
        now: Instant,
        limits: &Limits,
        visitor: &mut impl Visitor<P>,
    ) {
        if let Some(known) = self
            .templates
            .find(set.key, Uptime::of(&set.header), now, limits)
        {
            let plan = known.plan(|template| visitor.compile(template));
            visitor.data(&DataSet {
                header: &set.header,
                template: &known.template,
                plan,
                offset: set.offset,
                body: &set.body,
                siblings: Siblings {
                    templates: &self.templates,
                    key: set.key,
                    now,
                    limits,
                },
                has_waited: true,
            });
        }
    }

    /// The exporter has restarted: Templates of a session that were learnt before are not used until they are sent
    /// again (RFC 3954, section 7), and data waits for them.
    pub fn distrust(&mut self, session: Session, version: Version, domain: u32) {
        self.templates.set_trusted(session, version, domain, false);
    }

    /// It has not: they are used again, also for data that waits.
    pub fn trust(&mut self, session: Session, version: Version, domain: u32) {
        self.templates.set_trusted(session, version, domain, true);
        self.learnt = true;
    }

    /// Takes a Template in that was known before and last sent at `refreshed`, as if it had come then with `uptime`.
    pub fn restore(
        &mut self,
        key: TemplateKey,
        template: Template,
        uptime: Option<Uptime>,
        refreshed: Instant,
        limits: &Limits,
    ) {
        self.templates
            .learn(key, template, uptime, refreshed, limits);
        self.learnt = true;
    }

    /// Something that [`compile`](Visitor::compile) looks at has changed: it is called anew for every Template, when
    /// data of it comes.
    pub fn forget_plans(&mut self) {
        self.templates.forget_plans();
    }

    /// Forgets Templates and Sets whose time is over; returns how many Templates.
    pub fn expire(&mut self, now: Instant, limits: &Limits, mut event: impl FnMut(Event)) -> usize {
        self.held.expire(now, limits, |set| event(expired(&set)));
        self.templates.expire(now, limits)
    }

    /// A session has ended: forgets its Templates and the Sets that wait in it; returns how many Templates.
    pub fn end_session(&mut self, session: Session, mut event: impl FnMut(Event)) -> usize {
        self.held.end_session(session, |set| event(expired(&set)));
        self.templates.end_session(session)
    }

    /// The Templates known.
    #[must_use]
    pub fn templates(&self) -> &TemplateCache<P> {
        &self.templates
    }

    /// The Sets that wait, oldest first.
    pub fn held(&self) -> impl Iterator<Item = &HeldSet<C>> {
        self.held.iter()
    }

    /// Sets that wait, and their octets.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.held.len(), self.held.octets())
    }
}

fn expired<C>(set: &HeldSet<C>) -> Event {
    Event::Expired {
        id: set.key.id,
        octets: set.body.len(),
    }
}
