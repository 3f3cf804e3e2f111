//! Classic capture files: a header, then packets, each with its own header.
//!
//! Source: draft-ietf-opsawg-pcap.

use std::io::Read;

use otlp_wire::UnixNanos;

use super::{Layer, Packet};
use crate::capture::MAX_PACKET_OCTETS;
use crate::capture::error::CaptureError;
use crate::capture::input::Input;
use crate::capture::octets::Order;

const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;

/// Byte order, and what the second word of a time-stamp counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Dialect {
    order: Order,
    nanos_per_unit: u64,
}

/// By the first four octets.
pub(super) fn dialect(head: &[u8]) -> Option<Dialect> {
    [Order::Big, Order::Little].into_iter().find_map(|order| {
        let nanos_per_unit = match order.u32(head, 0)? {
            0xa1b2_c3d4 => 1_000,
            0xa1b2_3c4d => 1,
            _ => return None,
        };
        Some(Dialect {
            order,
            nanos_per_unit,
        })
    })
}

#[derive(Debug)]
pub(in crate::capture) struct Pcap {
    dialect: Dialect,
    link: u16,
}

impl Pcap {
    pub(super) fn open<R: Read>(
        dialect: Dialect,
        input: &mut Input<R>,
    ) -> Result<Self, CaptureError> {
        let mut header = Vec::new();
        input.need(FILE_HEADER, &mut header)?;
        // The upper half says how long frame check sequences are.
        let link = dialect.order.u32(&header, 20).unwrap_or(0) & 0xffff;
        Ok(Self {
            dialect,
            link: link as u16,
        })
    }

    pub(super) fn next<R: Read>(
        &mut self,
        input: &mut Input<R>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Packet>, CaptureError> {
        if !input.take(PACKET_HEADER, buffer)? {
            return Ok(None);
        }
        let word = |at| self.dialect.order.u32(buffer, at).unwrap_or(0);
        let (seconds, fraction, captured, original) = (word(0), word(4), word(8), word(12));
        let captured = usize::try_from(captured).unwrap_or(usize::MAX);
        if captured > MAX_PACKET_OCTETS {
            return Err(CaptureError::damaged(format!(
                "a packet of {captured} bytes"
            )));
        }
        let nanos =
            u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * self.dialect.nanos_per_unit;
        buffer.clear();
        input.need(captured, buffer)?;
        Ok(Some(Packet {
            layer: Layer::Link(self.link),
            number: None,
            at: Some(UnixNanos(nanos)),
            original_octets: usize::try_from(original).unwrap_or(usize::MAX),
        }))
    }
}
