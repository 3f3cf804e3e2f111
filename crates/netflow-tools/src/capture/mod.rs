//! Captures: the octets of a file in, UDP payloads and IPFIX messages of TCP connections out, each with its frame's
//! number, its time and its sender.
//!
//! Classic pcap, pcapng, either of them gzipped, IPFIX Files (RFC 5655) and text of hexadecimal octets, told
//! apart by their first octets. Every number in a capture is untrusted: every length is checked, a
//! claimed length is never allocated before its octets are there, and fragments that wait for each other are
//! bounded. What is not given out is counted in [`Tally`] with a reason.

mod contents;
mod error;
mod format;
mod fragments;
mod input;
mod ip;
mod link;
mod octets;
mod segments;
mod skipped;

use std::io::Read;
use std::net::SocketAddr;

use netflow_wire::Transport;
use otlp_wire::UnixNanos;

use format::{Format, Layer};
use fragments::Fragments;
use input::Input;
use ip::{Ip, Udp};
use link::Network;
use segments::{Segment, Segments};

pub use contents::Content;
pub use error::CaptureError;
pub use skipped::{Seen, Skipped, Tally};

/// The longest packet or message that is read. Captures are cut at 256 KiB by the tools that make them.
pub const MAX_PACKET_OCTETS: usize = 256 * 1024;

/// A UDP payload, an IPFIX message of a TCP connection, or a message of a file that has no packets.
#[derive(Clone, Copy, Debug)]
pub struct UdpPayload<'a> {
    /// The frame's number in its file, from 1; of fragments the last one's. A message's number or a line's where
    /// a file has no frames.
    pub frame: u64,
    /// When it was captured; not every file says it.
    pub at: Option<UnixNanos>,
    /// Source and destination; a file of messages has none.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// How it came; UDP too where a file doesn't say it.
    pub transport: Transport,
    /// It is the first message of its connection.
    pub begins_session: bool,
    /// The payload.
    pub octets: &'a [u8],
    /// The capture holds only its beginning.
    pub is_cut: bool,
}

/// A capture that is being read.
#[derive(Debug)]
pub struct Capture<R> {
    input: Input<R>,
    format: Format,
    fragments: Fragments,
    segments: Segments,
    /// When the packet that was read last was captured.
    at: Option<UnixNanos>,
    /// The packet that was read last.
    packet: Vec<u8>,
    /// The payload that was given last.
    payload: Vec<u8>,
    frame: u64,
    tally: Tally,
    ended: bool,
}

impl<R: Read> Capture<R> {
    /// Looks at the first octets.
    ///
    /// # Errors
    /// When the file can't be read or is no capture.
    pub fn open(reader: R) -> Result<Self, CaptureError> {
        let mut input = Input::new(reader)?;
        let format = Format::recognise(&mut input)?;
        Ok(Self {
            input,
            format,
            fragments: Fragments::default(),
            segments: Segments::default(),
            at: None,
            packet: Vec::new(),
            payload: Vec::new(),
            frame: 0,
            tally: Tally::default(),
            ended: false,
        })
    }

    /// The next payload; `None` at the end of the file.
    ///
    /// # Errors
    /// When the file is damaged, ends in the middle of a packet, or can't be read further. What was given before
    /// is good; nothing more comes.
    pub fn next_payload(&mut self) -> Result<Option<UdpPayload<'_>>, CaptureError> {
        loop {
            if let Some(message) = self.segments.next() {
                self.payload = message.octets;
                self.tally.payloads += 1;
                return Ok(Some(UdpPayload {
                    frame: self.frame,
                    at: self.at,
                    addresses: Some(message.ends),
                    transport: Transport::Tcp,
                    begins_session: message.begins,
                    octets: &self.payload,
                    is_cut: false,
                }));
            }
            if self.ended {
                return Ok(None);
            }
            self.packet.clear();
            let packet = match self.format.next(&mut self.input, &mut self.packet) {
                Ok(Some(packet)) => packet,
                Ok(None) => {
                    self.end();
                    continue;
                }
                Err(error) => {
                    self.end();
                    return Err(error);
                }
            };
            self.frame = packet.number.unwrap_or(self.frame + 1);
            self.at = packet.at;
            self.tally.packets += 1;
            let (addresses, is_cut) = match packet.layer {
                Layer::Message => {
                    std::mem::swap(&mut self.packet, &mut self.payload);
                    (None, false)
                }
                Layer::Link(link) => match self.udp(link, packet.original_octets, packet.at) {
                    Ok((addresses, is_cut)) => (Some(addresses), is_cut),
                    Err(skipped) => {
                        self.tally.skip(skipped, self.frame);
                        continue;
                    }
                },
            };
            self.tally.payloads += 1;
            if is_cut {
                self.tally.skip(Skipped::Cut, self.frame);
            }
            return Ok(Some(UdpPayload {
                frame: self.frame,
                at: packet.at,
                addresses,
                transport: Transport::Udp,
                begins_session: false,
                octets: &self.payload,
                is_cut,
            }));
        }
    }

    /// What was read so far, and what of it was not given out.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The number of the packet that was read last; 0 before the first.
    #[must_use]
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// Puts the UDP payload of `self.packet` into `self.payload`.
    fn udp(
        &mut self,
        link: u16,
        original_octets: usize,
        at: Option<UnixNanos>,
    ) -> Result<((SocketAddr, SocketAddr), bool), Skipped> {
        // What a snapped packet lacks looks like damage.
        let damaged = if self.packet.len() < original_octets {
            Skipped::CutHeader
        } else {
            Skipped::Malformed
        };
        let packet = match link::network(link, &self.packet) {
            Network::Ip(packet) => packet,
            Network::Other(ether_type) => {
                let content = Content::of_frame(ether_type);
                self.tally.note(content, self.frame);
                return Err(Skipped::NotUdp);
            }
            Network::UnknownLink => return Err(Skipped::UnknownLink(link)),
            Network::Malformed => return Err(damaged),
        };
        match ip::read(packet) {
            Ip::Udp(Udp {
                addresses,
                payload,
                is_cut,
            }) => {
                if is_cut && damaged == Skipped::Malformed {
                    // A length that goes past a packet that was captured whole.
                    return Err(Skipped::Malformed);
                }
                self.payload.clear();
                self.payload.extend_from_slice(payload);
                Ok((addresses, is_cut))
            }
            Ip::Fragment(fragment) => {
                self.tally.fragments += 1;
                let frame = self.frame;
                let tally = &mut self.tally;
                let whole = self.fragments.add(&fragment, at, frame, |skipped, frame| {
                    tally.skip(skipped, frame);
                });
                let Some(whole) = whole else {
                    return Err(Skipped::PartOfDatagram);
                };
                match ip::read_payload(fragment.addresses, whole.protocol, &whole.octets) {
                    Ip::Udp(udp) if !udp.is_cut => {
                        self.payload.clear();
                        self.payload.extend_from_slice(udp.payload);
                        Ok((udp.addresses, false))
                    }
                    Ip::Other(_) => Err(Skipped::NotUdp),
                    _ => Err(Skipped::Malformed),
                }
            }
            Ip::Other(other) if other.protocol == ip::TCP => {
                let is_cut = other.is_cut || damaged == Skipped::CutHeader;
                match self.segments.add(other.addresses, other.octets, is_cut) {
                    Segment::Taken => Err(Skipped::PartOfStream),
                    Segment::Gap => Err(Skipped::StreamGap),
                    Segment::Other => {
                        let content = Content::of_packet(other.protocol, other.octets);
                        self.tally.note(content, self.frame);
                        Err(Skipped::NotUdp)
                    }
                }
            }
            Ip::Other(other) => {
                let content = Content::of_packet(other.protocol, other.octets);
                self.tally.note(content, self.frame);
                Err(Skipped::NotUdp)
            }
            Ip::Malformed => Err(damaged),
        }
    }

    fn end(&mut self) {
        self.ended = true;
        for _ in 0..self.segments.finish() {
            self.tally.skip(Skipped::StreamGap, self.frame);
        }
        let tally = &mut self.tally;
        self.fragments
            .give_up(|skipped, frame| tally.skip(skipped, frame));
    }
}

#[cfg(test)]
mod tests;
