//! `NETFLOW_TRACE_SHAPE`: which trace a flow belongs to.
//!
//! Architecture invariant: a shape gives a flow a trace id and says whether there are spans of the work on its datagram;
//! everything else about a span is the same in every shape.

use std::sync::Arc;
use std::time::Duration;

use otlp_wire::{TraceId, UnixNanos};

use crate::config;
use crate::flow::conversation::{ConversationCounts, Conversations};
use crate::flow::ids::Ids;
use crate::metrics::Endpoints;
use crate::selection::{Draw, TraceOdds};

/// `NETFLOW_TRACE_SHAPE`: what makes a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TraceShape {
    /// A datagram with its records, and the work on them.
    Packet,
    /// Each record by itself.
    Flow,
    /// The records of one pair of endpoints, in both directions.
    Conversation {
        /// How long a conversation keeps its trace.
        window: Duration,
        /// Of the hash that makes trace ids; `None`: to be drawn.
        key: Option<[u8; 16]>,
    },
}

/// What makes a trace.
#[derive(Debug)]
pub(crate) enum Shape {
    /// The datagram: its flows are children of its spans.
    Packet,
    /// The flow itself.
    Flow,
    /// The conversation that the flow is of.
    Conversation(Box<Conversations>),
}

impl Shape {
    pub(crate) fn new(config: &config::Translate, ids: &mut Ids) -> Self {
        match config.shape {
            TraceShape::Packet => Self::Packet,
            TraceShape::Flow => Self::Flow,
            TraceShape::Conversation { window, key } => {
                let key = key.unwrap_or_else(|| ids.trace_id());
                Self::Conversation(Box::new(Conversations::new(key, window)))
            }
        }
    }

    /// Flows are in the trace of their datagram, beside the spans of the work on it.
    #[inline(always)]
    pub(crate) fn is_packet(&self) -> bool {
        matches!(self, Self::Packet)
    }

    /// How a flow of this trace is chosen; `None`: it has its datagram's, which is kept or isn't.
    #[inline(always)]
    pub(crate) fn draw(
        &self,
        own: Option<TraceId>,
        is_datagram_kept: bool,
        odds: &TraceOdds,
    ) -> Draw {
        match (self, own) {
            (Self::Flow, Some(own)) => Draw::of_trace(own),
            (_, own) => Draw::Apart {
                is_trace_kept: own.map_or(is_datagram_kept, |own| odds.keeps(own)),
            },
        }
    }

    /// Records of a conversation are counted together with those of other workers.
    pub(crate) fn share(&mut self, counts: &Arc<ConversationCounts>) {
        if let Self::Conversation(conversations) = self {
            conversations.share(counts);
        }
    }

    /// A flow's trace depends on its endpoints.
    pub(crate) fn wants_endpoints(&self) -> bool {
        matches!(self, Self::Conversation(_))
    }

    /// The trace of a flow that ended at `end`; `None`: its datagram's.
    #[inline(always)]
    pub(crate) fn trace(
        &self,
        ends: Option<&Endpoints>,
        end: UnixNanos,
        received_at: UnixNanos,
        ids: &mut Ids,
    ) -> Option<TraceId> {
        let conversations = match self {
            Self::Packet => return None,
            Self::Flow => return Some(ids.trace_id()),
            Self::Conversation(conversations) => conversations,
        };
        let trace = ends.and_then(|ends| conversations.trace(ends, end, received_at));
        Some(trace.unwrap_or_else(|| ids.trace_id()))
    }
}
