//! One fuzz input as a sequence of datagrams: for each three octets (port, seconds since the one before,
//! flags), two of length, and the payload. What is cut off at the end is the last datagram.

/// A datagram of the sequence.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Few ports, so that they meet each other.
    pub port: u16,
    /// Seconds that pass before it.
    pub seconds: u8,
    /// For what a target wants to vary.
    pub flags: u8,
    pub octets: &'a [u8],
}

/// The steps of an input.
pub fn steps(mut input: &[u8]) -> impl Iterator<Item = Step<'_>> {
    std::iter::from_fn(move || {
        let (head, rest) = input.split_first_chunk::<5>()?;
        let [port, seconds, flags, high, low] = *head;
        let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
        let (octets, rest) = rest.split_at(length);
        input = rest;
        Some(Step {
            port: u16::from(port),
            seconds,
            flags,
            octets,
        })
    })
}

/// The opposite of [`steps`].
pub fn push(out: &mut Vec<u8>, step: &Step<'_>) {
    out.extend([step.port as u8, step.seconds, step.flags]);
    let length = u16::try_from(step.octets.len()).unwrap_or(u16::MAX);
    out.extend(length.to_be_bytes());
    out.extend(&step.octets[..usize::from(length)]);
}
