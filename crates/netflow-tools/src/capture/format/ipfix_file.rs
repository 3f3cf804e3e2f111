//! IPFIX Files: IPFIX Messages one behind another, without anything around them (RFC 5655, section 3).

use std::io::Read;

use super::{Layer, Packet};
use crate::capture::error::CaptureError;
use crate::capture::input::Input;
use netflow_wire::{u16_at, u32_at};
use otlp_wire::UnixNanos;

const HEADER: usize = 16;

/// By the first octets: version 10 and a length that holds the header.
pub(super) fn is_message(head: &[u8]) -> bool {
    head.len() >= HEADER
        && u16_at(head, 0) == Some(10)
        && u16_at(head, 2).is_some_and(|length| usize::from(length) >= HEADER)
}

#[derive(Debug)]
pub(in crate::capture) struct IpfixFile;

impl IpfixFile {
    #[expect(clippy::unused_self, reason = "as the other formats")]
    pub(super) fn next<R: Read>(
        &mut self,
        input: &mut Input<R>,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Packet>, CaptureError> {
        if !input.take(HEADER, buffer)? {
            return Ok(None);
        }
        if !is_message(buffer) {
            return Err(CaptureError::damaged(
                "something else than an IPFIX Message between IPFIX Messages",
            ));
        }
        let length = usize::from(u16_at(buffer, 2).unwrap_or(0));
        input.need(length - HEADER, buffer)?;
        let export_seconds = u32_at(buffer, 4).unwrap_or(0);
        Ok(Some(Packet {
            layer: Layer::Message,
            number: None,
            at: Some(UnixNanos(u64::from(export_seconds) * 1_000_000_000)),
            original_octets: length,
        }))
    }
}
