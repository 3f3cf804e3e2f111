//! Captures of the next generation: blocks of any type, of which those that hold packets are read.
//!
//! Source: draft-ietf-opsawg-pcapng.

use std::io::Read;

use otlp_wire::UnixNanos;

use super::{Layer, Packet};
use crate::capture::MAX_PACKET_OCTETS;
use crate::capture::error::CaptureError;
use crate::capture::input::Input;
use crate::capture::octets::Order;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Type and length before a block's body, the length again behind it.
const BLOCK_FRAME: u32 = 12;
/// A block that is read: a packet and options that say a lot about it.
const MAX_BLOCK_OCTETS: u32 = MAX_PACKET_OCTETS as u32 + 64 * 1024;
/// Interfaces of a section; a capture of all interfaces of a host has some dozens.
const MAX_INTERFACES: usize = 65_536;

const TS_RESOLUTION: u16 = 9;
const TS_OFFSET: u16 = 14;

/// By the first octets.
pub(super) fn is_section_header(head: &[u8]) -> bool {
    Order::Big.u32(head, 0) == Some(SECTION_HEADER) && order(head, 8).is_some()
}

fn order(octets: &[u8], at: usize) -> Option<Order> {
    [Order::Big, Order::Little]
        .into_iter()
        .find(|order| order.u32(octets, at) == Some(BYTE_ORDER_MAGIC))
}

#[derive(Debug)]
pub(in crate::capture) struct PcapNg {
    order: Order,
    interfaces: Vec<Interface>,
}

impl Default for PcapNg {
    fn default() -> Self {
        Self {
            order: Order::Big,
            interfaces: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    /// Octets at which packets are cut; 0: none are.
    snap_octets: u32,
    resolution: Resolution,
    /// Seconds added to every time.
    offset: i64,
}

/// Units of a second.
#[derive(Clone, Copy, Debug)]
enum Resolution {
    Decimal(u8),
    Binary(u8),
}

impl PcapNg {
    pub(super) fn next<R: Read>(
        &mut self,
        input: &mut Input<R>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Packet>, CaptureError> {
        loop {
            buffer.clear();
            if !input.take(8, buffer)? {
                return Ok(None);
            }
            let is_section = Order::Big.u32(buffer, 0) == Some(SECTION_HEADER);
            if is_section {
                self.begin_section(input, buffer)?;
                continue;
            }
            let kind = self.order.u32(buffer, 0).unwrap_or(0);
            let length = self.body_length(buffer)?;
            buffer.clear();
            let is_read = matches!(
                kind,
                INTERFACE_DESCRIPTION | PACKET | SIMPLE_PACKET | ENHANCED_PACKET
            );
            if !is_read {
                input.skip(u64::from(length))?;
                self.end_block(length, input)?;
                continue;
            }
            if length > MAX_BLOCK_OCTETS {
                return Err(CaptureError::damaged(format!("a block of {length} bytes")));
            }
            input.need(length as usize, buffer)?;
            self.end_block(length, input)?;
            if kind == INTERFACE_DESCRIPTION {
                self.describe_interface(buffer)?;
                continue;
            }
            return self.packet(kind, buffer).map(Some);
        }
    }

    /// A section has its own byte order and interfaces.
    fn begin_section<R: Read>(
        &mut self,
        input: &mut Input<R>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), CaptureError> {
        input.need(4, buffer)?;
        self.order = order(buffer, 8)
            .ok_or_else(|| CaptureError::damaged("a section without byte order"))?;
        self.interfaces.clear();
        let length = self.body_length(buffer)?;
        let rest = length
            .checked_sub(4)
            .ok_or_else(|| CaptureError::damaged("a section header that is too short"))?;
        input.skip(u64::from(rest))?;
        self.end_block(length, input)
    }

    /// Octets of the body, of the block whose type and length are in `head`.
    fn body_length(&self, head: &[u8]) -> Result<u32, CaptureError> {
        let length = self.order.u32(head, 4).unwrap_or(0);
        match length.checked_sub(BLOCK_FRAME) {
            Some(body) if body % 4 == 0 => Ok(body),
            _ => Err(CaptureError::damaged(format!("a block of {length} bytes"))),
        }
    }

    /// Reads the length behind a block, which must be the one before it.
    fn end_block<R: Read>(&self, length: u32, input: &mut Input<R>) -> Result<(), CaptureError> {
        let mut again = Vec::with_capacity(4);
        input.need(4, &mut again)?;
        if self.order.u32(&again, 0) == Some(length + BLOCK_FRAME) {
            return Ok(());
        }
        Err(CaptureError::damaged(
            "a block whose length is another at its end",
        ))
    }

    fn describe_interface(&mut self, body: &[u8]) -> Result<(), CaptureError> {
        let (Some(link), Some(snap_octets)) = (self.order.u16(body, 0), self.order.u32(body, 4))
        else {
            return Err(CaptureError::damaged("an interface that is too short"));
        };
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(CaptureError::damaged("more interfaces than are read"));
        }
        let mut interface = Interface {
            link,
            snap_octets,
            resolution: Resolution::Decimal(6),
            offset: 0,
        };
        let mut options = body.get(8..).unwrap_or_default();
        while let (Some(code), Some(length)) =
            (self.order.u16(options, 0), self.order.u16(options, 2))
        {
            let length = usize::from(length);
            let Some(value) = options.get(4..4 + length) else {
                break;
            };
            match (code, value) {
                (0, _) => break,
                (TS_RESOLUTION, [power, ..]) => {
                    interface.resolution = match power & 0x80 {
                        0 => Resolution::Decimal(*power),
                        _ => Resolution::Binary(power & 0x7f),
                    };
                }
                (TS_OFFSET, value) => {
                    let offset = self.order.u64(value, 0).unwrap_or(0);
                    interface.offset = offset.cast_signed();
                }
                _ => {}
            }
            options = options
                .get(4 + length.next_multiple_of(4)..)
                .unwrap_or_default();
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// Leaves only the packet's octets in `body`.
    fn packet(&self, kind: u32, body: &mut Vec<u8>) -> Result<Packet, CaptureError> {
        let short = || CaptureError::damaged("a packet block that is too short");
        let word = |at| self.order.u32(body, at).ok_or_else(short);
        let (header, index) = match kind {
            ENHANCED_PACKET => (20, word(0)?),
            PACKET => (20, u32::from(self.order.u16(body, 0).ok_or_else(short)?)),
            _ => (4, 0),
        };
        let interface = usize::try_from(index)
            .ok()
            .and_then(|index| self.interfaces.get(index))
            .ok_or_else(|| {
                CaptureError::damaged("a packet of an interface that is not described")
            })?;
        let (captured, original, at) = if kind == SIMPLE_PACKET {
            let original = word(0)?;
            let snap = match interface.snap_octets {
                0 => u32::MAX,
                snap => snap,
            };
            // Padding can't be distinguished from a packet that fills the block; the lengths can.
            let room = u32::try_from(body.len() - 4).unwrap_or(u32::MAX);
            (original.min(snap).min(room), original, None)
        } else {
            let ticks = u64::from(word(4)?) << 32 | u64::from(word(8)?);
            (word(12)?, word(16)?, interface.time(ticks))
        };
        let captured = usize::try_from(captured).unwrap_or(usize::MAX);
        if captured > body.len() - header {
            return Err(CaptureError::damaged(
                "a packet that is longer than its block",
            ));
        }
        if captured > MAX_PACKET_OCTETS {
            return Err(CaptureError::damaged(format!(
                "a packet of {captured} bytes"
            )));
        }
        body.drain(..header);
        body.truncate(captured);
        Ok(Packet {
            layer: Layer::Link(interface.link),
            number: None,
            at,
            original_octets: usize::try_from(original).unwrap_or(usize::MAX),
        })
    }
}

impl Interface {
    /// `None` for a time before 1970 or after 2554.
    fn time(&self, ticks: u64) -> Option<UnixNanos> {
        let ticks = i128::from(ticks);
        let second = 1_000_000_000_i128;
        let nanos = match self.resolution {
            Resolution::Decimal(power) => match 10_i128.checked_pow(u32::from(power)) {
                Some(units) => ticks * second / units,
                None => 0,
            },
            Resolution::Binary(power) => ticks.checked_mul(second)? >> power,
        };
        let nanos = nanos + i128::from(self.offset) * second;
        u64::try_from(nanos).ok().map(UnixNanos)
    }
}
