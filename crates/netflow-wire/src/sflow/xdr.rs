//! A cursor over XDR (RFC 4506): big-endian words, opaque data padded to multiples of four octets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::octets::u32_at;

/// A stretch of the datagram that is read from its front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Xdr<'a> {
    octets: &'a [u8],
    /// Where the stretch begins in the datagram.
    base: usize,
    at: usize,
}

impl<'a> Xdr<'a> {
    pub(super) fn new(octets: &'a [u8], base: usize) -> Self {
        Self {
            octets,
            base,
            at: 0,
        }
    }

    /// Where in the datagram the next word lies.
    pub(super) fn offset(&self) -> usize {
        self.base + self.at
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.octets.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Option<u32> {
        let word = u32_at(self.octets, self.at)?;
        self.at += 4;
        Some(word)
    }

    /// As many words; one check for all of them.
    #[inline]
    pub(super) fn words<const N: usize>(&mut self) -> Option<[u32; N]> {
        let (words, _) = self.octets.get(self.at..)?.as_chunks::<4>();
        let words = words.first_chunk::<N>()?.map(u32::from_be_bytes);
        self.at += 4 * N;
        Some(words)
    }

    /// `len` octets; their padding may be missing at the very end.
    #[inline]
    pub(super) fn fixed(&mut self, len: usize) -> Option<&'a [u8]> {
        let octets = self.rest().get(..len)?;
        self.at = (self.at + len.next_multiple_of(4)).min(self.octets.len());
        Some(octets)
    }

    /// Octets behind their number.
    #[inline]
    pub(super) fn opaque(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        // More than is left, and `next_multiple_of` might not be there for it.
        if len > self.octets.len() {
            return None;
        }
        self.fixed(len)
    }

    /// A structure behind its format: enterprise (20 bits) and number (12), then opaque data.
    #[inline]
    pub(super) fn tagged(&mut self) -> Option<(u32, u32, Self)> {
        let [format, len] = self.words()?;
        let (base, len) = (self.offset(), usize::try_from(len).ok()?);
        // More than is left, and `next_multiple_of` might not be there for it.
        if len > self.octets.len() {
            return None;
        }
        let octets = self.fixed(len)?;
        Some((format >> 12, format & 0xfff, Self::new(octets, base)))
    }

    pub(super) fn ipv4(&mut self) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from(self.u32()?)))
    }

    pub(super) fn ipv6(&mut self) -> Option<IpAddr> {
        let octets: [u8; 16] = self.fixed(16)?.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)))
    }

    /// An address behind its type; the inner `None` is an unknown one.
    pub(super) fn address(&mut self) -> Option<Option<IpAddr>> {
        Some(match self.u32()? {
            0 => None,
            1 => Some(self.ipv4()?),
            2 => Some(self.ipv6()?),
            _ => return None,
        })
    }

    /// A MAC address, which is six octets and two of padding.
    pub(super) fn mac(&mut self) -> Option<[u8; 6]> {
        self.fixed(6)?.try_into().ok()
    }
}
