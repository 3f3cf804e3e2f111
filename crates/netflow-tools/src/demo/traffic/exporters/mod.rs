//! Three exporters as routers are: conversations in, datagrams out, with sequence numbers, uptime,
//! templates and options data kept as each version asks. No sockets, no clock.

mod ipfix;
mod v5;
mod v9;

use std::net::Ipv4Addr;

use netflow_wire::write::{Field, WriteError};

use self::ipfix::DataCentre;
use self::v5::Branch;
use self::v9::Core;
use super::conversations::{
    Conversation, Direction, ECHO_REPLY, ECHO_REPLY_V6, Host, Side, Site, UnixMillis,
};
use crate::traffic::{ICMP, ICMP_V6, TCP};

/// Octets of a datagram's records at most, so that it fits an Ethernet frame with its headers and
/// templates.
const MAX_RECORD_OCTETS: usize = 1_000;
/// How often templates and options are re-sent (RFC 7011 section 8.4 asks for it over UDP).
const REFRESH_MS: u64 = 15_000;

/// One direction of a conversation, as records report it.
#[derive(Clone, Copy, Debug)]
struct Flow {
    source: Host,
    destination: Host,
    source_port: u16,
    destination_port: u16,
    protocol: u8,
    tos: u8,
    application: (u8, u16),
    seen: Direction,
    /// The other direction, if one record reports both.
    reverse: Option<Direction>,
    end_reason: u8,
}

/// What an exporter is.
pub(super) trait Exporter: Send {
    /// For people: version and place.
    fn name(&self) -> &'static str;

    /// The loopback address it sends from, where that is possible.
    fn address(&self) -> Ipv4Addr;

    /// The place whose conversations it sees.
    fn site(&self) -> Site;

    /// Sees a conversation, and returns how many records it will export for it.
    fn observe(&mut self, conversation: &Conversation) -> usize;

    /// The datagrams that export everything observed since the last call, at this time.
    fn export(&mut self, now: UnixMillis) -> Result<Vec<Vec<u8>>, WriteError>;
}

/// The three, as if booted a while before `now`.
pub(super) fn all(now: UnixMillis) -> Vec<Box<dyn Exporter>> {
    vec![
        Box::new(Branch::new(now.saturating_sub(3_456_789_000))),
        Box::new(Core::new(now.saturating_sub(987_654_000))),
        Box::new(DataCentre::new()),
    ]
}

fn observe_both_ways(flows: &mut Vec<Flow>, conversation: &Conversation) -> usize {
    flows.push(there(conversation));
    let Some(back) = conversation.back else {
        return 1;
    };
    let there = there(conversation);
    let (source_port, destination_port) = match conversation.protocol {
        ICMP => (0, ECHO_REPLY),
        ICMP_V6 => (0, ECHO_REPLY_V6),
        _ => (there.destination_port, there.source_port),
    };
    flows.push(Flow {
        source: there.destination,
        destination: there.source,
        source_port,
        destination_port,
        seen: back,
        ..there
    });
    2
}

fn there(conversation: &Conversation) -> Flow {
    // flowEndReason (RFC 5102): 1 idle timeout, 2 active timeout, 3 end of flow.
    let end_reason = match (conversation.goes_on, conversation.protocol) {
        (true, _) => 2,
        (false, TCP) => 3,
        (false, _) => 1,
    };
    Flow {
        source: conversation.client,
        destination: conversation.server,
        source_port: conversation.client_port,
        destination_port: conversation.server_port,
        protocol: conversation.protocol,
        tos: conversation.tos,
        application: conversation.application,
        seen: conversation.there,
        reverse: None,
        end_reason,
    }
}

/// Whether templates are to be sent, which is then noted.
fn due(refreshed: &mut Option<UnixMillis>, now: UnixMillis) -> bool {
    let due = refreshed.is_none_or(|last| now.abs_diff(last) >= REFRESH_MS);
    if due {
        *refreshed = Some(now);
    }
    due
}

/// Packets and octets that a sampler of one packet in `interval` sees of a flow. A flow without a
/// sampled packet would not be told; here it is told of with one.
fn sampled(seen: &Direction, interval: u64) -> (u32, u32) {
    let packets = (seen.packets / interval).max(1);
    let octets = seen.octets / seen.packets.max(1) * packets;
    (
        u32::try_from(packets).unwrap_or(u32::MAX),
        u32::try_from(octets).unwrap_or(u32::MAX),
    )
}

/// SNMP index of the interface on this side, the same at every exporter.
fn interface(side: Side) -> u16 {
    match side {
        Side::Internet => 1,
        Side::Offices => 2,
        Side::Servers => 3,
    }
}

fn next_hop(side: Side) -> Ipv4Addr {
    match side {
        Side::Internet => Ipv4Addr::new(192, 0, 2, 254),
        Side::Offices => Ipv4Addr::new(10, 20, 0, 1),
        Side::Servers => Ipv4Addr::new(10, 40, 1, 1),
    }
}

/// Octets of a record with these fields, all of fixed length.
const fn octets(fields: &[Field]) -> usize {
    let mut sum = 0;
    let mut rest = fields;
    while let Some((first, others)) = rest.split_first() {
        sum += first.length as usize;
        rest = others;
    }
    sum
}

/// Milliseconds of uptime, which wraps as sysUpTime does.
fn since(boot: UnixMillis, time: UnixMillis) -> u32 {
    (time.saturating_sub(boot) & u64::from(u32::MAX)) as u32
}

fn seconds(time: UnixMillis) -> u32 {
    u32::try_from(time / 1_000).unwrap_or(u32::MAX)
}
