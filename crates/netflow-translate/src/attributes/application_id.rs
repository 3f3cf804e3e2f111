//! `applicationId` (element 95, RFC 6759): the organisation that defined the application, and its number there.

use netflow_wire::unsigned;

/// PANA-L7-PEN: the enterprise number that stands behind the engine says whose selectors follow (RFC 6759, section 5).
const PEN_ENGINE: u8 = 20;
/// Octets of an enterprise number.
const PEN_OCTETS: usize = 4;

/// An application id, whatever its length: the selector stands in the least significant octets (RFC 6759, section 4.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ApplicationId {
    /// Classification Engine ID.
    pub(crate) engine: u8,
    /// Of engine 20.
    pub(crate) enterprise: Option<u32>,
    pub(crate) selector: u64,
}

impl ApplicationId {
    /// Reads the octets of a field; `None` where there are none, or where the selector takes more than 64 bits.
    pub(crate) fn read(octets: &[u8]) -> Option<Self> {
        let (engine, rest) = octets.split_first()?;
        let (enterprise, selector) = match rest.first_chunk::<PEN_OCTETS>() {
            Some(enterprise) if *engine == PEN_ENGINE && rest.len() > PEN_OCTETS => {
                let selector = rest.get(PEN_OCTETS..).unwrap_or_default();
                (Some(u32::from_be_bytes(*enterprise)), selector)
            }
            _ => (None, rest),
        };
        let excess = selector.len().saturating_sub(8);
        if selector.iter().take(excess).any(|octet| *octet != 0) {
            return None;
        }
        Some(Self {
            engine: *engine,
            enterprise,
            selector: unsigned(selector),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(engine: u8, enterprise: Option<u32>, selector: u64) -> Option<ApplicationId> {
        Some(ApplicationId {
            engine,
            enterprise,
            selector,
        })
    }

    #[test]
    fn the_selector_has_as_many_octets_as_are_there() {
        assert_eq!(ApplicationId::read(&[3, 0, 80]), id(3, None, 80));
        assert_eq!(ApplicationId::read(&[13, 0, 0, 1, 197]), id(13, None, 453));
        assert_eq!(ApplicationId::read(&[1]), id(1, None, 0));
        assert_eq!(ApplicationId::read(&[]), None);
        let mut long = [0; 12];
        long[0] = 13;
        long[11] = 9;
        assert_eq!(ApplicationId::read(&long), id(13, None, 9));
        long[1] = 1;
        assert_eq!(ApplicationId::read(&long), None);
    }

    #[test]
    fn engine_20_has_an_enterprise_number() {
        let forti = [20, 0, 0, 0x30, 0x44, 0, 0, 0x9e, 0x78];
        assert_eq!(ApplicationId::read(&forti), id(20, Some(12_356), 40_568));
        // Too short for one.
        assert_eq!(ApplicationId::read(&[20, 0, 1, 2]), id(20, None, 258));
    }
}
