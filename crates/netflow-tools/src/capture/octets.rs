//! Numbers at an offset, in either byte order.

/// The byte order of a file or a section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Big,
    Little,
}

impl Order {
    pub(super) fn u16(self, octets: &[u8], at: usize) -> Option<u16> {
        let octets = *octets.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Big => u16::from_be_bytes(octets),
            Self::Little => u16::from_le_bytes(octets),
        })
    }

    pub(super) fn u32(self, octets: &[u8], at: usize) -> Option<u32> {
        let octets = *octets.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Big => u32::from_be_bytes(octets),
            Self::Little => u32::from_le_bytes(octets),
        })
    }

    pub(super) fn u64(self, octets: &[u8], at: usize) -> Option<u64> {
        let octets = *octets.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Big => u64::from_be_bytes(octets),
            Self::Little => u64::from_le_bytes(octets),
        })
    }
}
