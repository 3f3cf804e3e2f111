//! State by agent: an exporter's address may stand for many devices, each with its own resource and counts.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use otlp_wire::ResourceFront;

use crate::batch::Membership;
use crate::exporter::NewExporter;
use crate::exporter::sequence::Sequence;

/// Agents of all exporters; the one not seen for longest makes room. What is lost with one is made anew from
/// its next datagram, but for that datagram's loss.
const MAX_AGENTS: usize = 16_384;
/// Sub-agents of one agent whose sequence is followed.
const MAX_SUB_AGENTS: usize = 128;

/// What an agent takes besides its resource and its sub-agents, with its places in the table and the row.
const AGENT: usize = size_of::<Agent>() + 192;
/// What a sub-agent takes.
const SUB_AGENT: usize = 2 * size_of::<(u32, Sequence)>();

/// An exporter's address and the agent's, if it sends one.
pub(super) type AgentKey = (IpAddr, Option<IpAddr>);

/// Where the spans of an agent that has a name go.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) front: Arc<ResourceFront>,
    pub(super) member: Membership,
    /// Of the names in it.
    pub(super) version: u32,
}

impl Resource {
    pub(super) fn new(front: ResourceFront, version: u32) -> Self {
        Self {
            front: Arc::new(front),
            member: Membership::default(),
            version,
        }
    }
}

#[derive(Debug)]
pub(super) struct Agent {
    /// `None`: the device that sends them, as its NetFlow.
    pub(super) resource: Option<Resource>,
    sub_agents: Vec<(u32, Sequence)>,
    weight: usize,
    last_seen: Instant,
    /// Seen since the hand of the clock last passed.
    referenced: bool,
}

impl Agent {
    /// What it takes, about.
    fn octets(&self) -> usize {
        let resource = self.resource.as_ref();
        AGENT
            + resource.map_or(0, |resource| resource.front.octets().len())
            + self.sub_agents.len() * SUB_AGENT
    }

    /// It takes more or less than when it was last weighed.
    pub(super) fn has_changed(&self) -> bool {
        self.octets() != self.weight
    }

    /// The count of a sub-agent; `None` when there are too many of them.
    pub(super) fn sequence(&mut self, sub_agent: u32) -> Option<&mut Sequence> {
        let known = self.sub_agents.iter().position(|(id, _)| *id == sub_agent);
        let index = match known {
            Some(index) => index,
            None if self.sub_agents.len() >= MAX_SUB_AGENTS => return None,
            None => {
                self.sub_agents.push((sub_agent, Sequence::default()));
                self.sub_agents.len() - 1
            }
        };
        self.sub_agents.get_mut(index).map(|(_, sequence)| sequence)
    }
}

#[derive(Debug, Default)]
pub(super) struct Agents {
    by_key: HashMap<AgentKey, Box<Agent>, RandomState>,
    /// In the order of the clock's hand.
    clock: VecDeque<AgentKey>,
    /// Of all agents, as they were last weighed.
    octets: usize,
    /// Agents that went because all together were too heavy.
    shed: u64,
}

impl Agents {
    /// The state of an agent, with a resource if it has a name; made anew if names have changed since.
    pub(super) fn entry(
        &mut self,
        (exporter, agent): AgentKey,
        now: Instant,
        new: &impl NewExporter,
    ) -> &mut Agent {
        let key = (exporter, agent);
        let resource = || agent.map(|_| Resource::new(new.front(exporter, agent), new.version()));
        if !self.by_key.contains_key(&key) {
            while self.clock.len() >= MAX_AGENTS {
                self.evict();
            }
            self.clock.push_back(key);
        }
        let agent = self.by_key.entry(key).or_insert_with(|| {
            Box::new(Agent {
                resource: resource(),
                sub_agents: Vec::new(),
                weight: 0,
                last_seen: now,
                referenced: true,
            })
        });
        let version = agent.resource.as_ref().map(|resource| resource.version);
        if version.is_some_and(|version| version != new.version()) {
            agent.resource = resource();
        }
        agent.last_seen = now;
        agent.referenced = true;
        agent
    }

    /// Octets of all agents, about.
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    /// Agents that went because all together were too heavy.
    pub(super) fn shed(&self) -> u64 {
        self.shed
    }

    /// Weighs an agent that was just heard; others go while all together are heavier than `most`.
    pub(super) fn settle(&mut self, key: AgentKey, most: usize) {
        let Some(agent) = self.by_key.get_mut(&key) else {
            return;
        };
        let weight = agent.octets();
        self.octets = self.octets - agent.weight + weight;
        agent.weight = weight;
        while self.octets > most && self.by_key.len() > 1 {
            let before = self.by_key.len();
            self.evict();
            self.shed += (before - self.by_key.len()) as u64;
        }
    }

    /// The hand gives a second chance to agents that were seen since it last passed.
    fn evict(&mut self) {
        let Some(candidate) = self.clock.pop_front() else {
            return;
        };
        match self.by_key.get_mut(&candidate) {
            Some(agent) if agent.referenced => {
                agent.referenced = false;
                self.clock.push_back(candidate);
            }
            _ => {
                if let Some(gone) = self.by_key.remove(&candidate) {
                    self.octets -= gone.weight;
                }
            }
        }
    }

    /// Forgets what was not seen for `idle`.
    pub(super) fn expire(&mut self, now: Instant, idle: Duration) {
        let octets = &mut self.octets;
        self.by_key.retain(|_, agent| {
            let keep = now.saturating_duration_since(agent.last_seen) <= idle;
            *octets -= if keep { 0 } else { agent.weight };
            keep
        });
        self.clock.retain(|key| self.by_key.contains_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sampling::ConfiguredSampling;

    struct Plain;

    impl NewExporter for Plain {
        fn front(&self, _: IpAddr, _: Option<IpAddr>) -> ResourceFront {
            ResourceFront::new([], "test", "1")
        }

        fn version(&self) -> u32 {
            0
        }

        fn sampling(&self, _: IpAddr) -> ConfiguredSampling {
            ConfiguredSampling::default()
        }
    }

    #[test]
    fn agents_and_their_parts_are_bounded() {
        let (mut agents, now) = (Agents::default(), Instant::now());
        let exporter = IpAddr::from([192, 0, 2, 1]);
        for number in 0..MAX_AGENTS as u32 + 100 {
            let agent = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
            agents.entry((exporter, Some(agent)), now, &Plain);
            agents.settle((exporter, Some(agent)), usize::MAX);
        }
        assert_eq!(agents.by_key.len(), MAX_AGENTS);
        assert_eq!(agents.clock.len(), MAX_AGENTS);
        let agent = agents.entry((exporter, None), now, &Plain);
        let followed = (0..1000).filter(|id| agent.sequence(*id).is_some());
        assert_eq!(followed.count(), MAX_SUB_AGENTS);
        assert!(agent.sequence(5).is_some());
        agents.settle((exporter, None), 1 << 20);
        assert!(agents.octets() <= 1 << 20 && agents.by_key.len() > 1000);
        agents.expire(now + Duration::from_secs(2), Duration::from_secs(1));
        assert!(agents.by_key.is_empty() && agents.clock.is_empty());
        assert_eq!(agents.octets(), 0);
    }
}
