//! Messages in the octets of a connection: each says its own length (RFC 7011, sections 3.1 and 10.4).

use netflow_wire::foreign;

/// Octets of a message header, and so of the shortest message.
const HEADER: usize = 16;
/// IPFIX.
const VERSION: u16 = 10;

/// Why the octets of a connection can't be divided into messages. Nothing after them can be, so the connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum FramingError {
    #[error(
        "it sends TLS where plain TCP is expected: send it to NETFLOW_LISTEN_TLS_PORT, or turn TLS off in the exporter"
    )]
    Tls,
    #[error(
        "it sends NetFlow v{0}, which can't be divided into messages over TCP: send it over UDP, or send IPFIX"
    )]
    NetFlow(u16),
    #[error("it looks like {0}, not IPFIX: only IPFIX can be received over TCP and TLS")]
    Other(&'static str),
    #[error(
        "a message begins with version {0}, not with 10 (IPFIX): only IPFIX can be received over TCP and TLS"
    )]
    Version(u16),
    #[error("a message says that it has {0} octets, fewer than its header")]
    TooShort(u16),
}

/// The whole messages at the beginning of some octets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Whole {
    pub(super) messages: usize,
    /// Of all of them.
    pub(super) octets: usize,
    /// What comes next can't be a message.
    pub(super) error: Option<FramingError>,
}

/// Finds the whole messages at the beginning of `octets`.
pub(super) fn whole(octets: &[u8]) -> Whole {
    let mut found = Whole::default();
    while let Some(length) = length_of(octets.get(found.octets..).unwrap_or_default()).transpose() {
        match length {
            Err(error) => {
                found.error = Some(error);
                break;
            }
            Ok(length) if found.octets + length <= octets.len() => {
                found.messages += 1;
                found.octets += length;
            }
            Ok(_) => break,
        }
    }
    found
}

/// The octets of the message that begins here, once that can be seen. The version is judged as soon as it is there.
pub(super) fn length_of(octets: &[u8]) -> Result<Option<usize>, FramingError> {
    let number = |at: usize| {
        let octets = octets.get(at..)?.first_chunk()?;
        Some(u16::from_be_bytes(*octets))
    };
    match number(0) {
        None => return Ok(None),
        Some(VERSION) => {}
        Some(version) => return Err(no_ipfix(version, octets)),
    }
    let Some(length) = number(2) else {
        return Ok(None);
    };
    if usize::from(length) < HEADER {
        return Err(FramingError::TooShort(length));
    }
    Ok(Some(usize::from(length)))
}

fn no_ipfix(version: u16, octets: &[u8]) -> FramingError {
    match version {
        // A handshake record of any version of TLS.
        0x1603 => FramingError::Tls,
        1 | 5 | 7 | 9 => FramingError::NetFlow(version),
        _ => match foreign::guess(octets, &[]) {
            Some(what) => FramingError::Other(what.name()),
            None => FramingError::Version(version),
        },
    }
}

/// The messages of octets that [`whole`] has found.
#[derive(Clone, Debug)]
pub(super) struct Messages {
    octets: Box<[u8]>,
    at: usize,
}

impl Messages {
    pub(super) fn new(octets: Box<[u8]>) -> Self {
        Self { octets, at: 0 }
    }

    /// The next one, and so on until there is none.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let rest = self.octets.get(self.at..)?;
        let length = length_of(rest).ok()??;
        self.at += length;
        rest.get(..length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(content: &[u8]) -> Vec<u8> {
        let mut message = vec![0, 10, 0, 0];
        message.extend([0; HEADER - 4]);
        message.extend(content);
        let length = u16::try_from(message.len()).unwrap();
        message[2..4].copy_from_slice(&length.to_be_bytes());
        message
    }

    fn taken(octets: &[u8]) -> Vec<Vec<u8>> {
        let mut messages = Messages::new(octets.into());
        std::iter::from_fn(|| messages.next().map(<[u8]>::to_vec)).collect()
    }

    proptest! {
        #[test]
        fn messages_cut_anywhere_are_the_messages_that_were_sent(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let sent: Vec<_> = contents.iter().map(|content| message(content)).collect();
            let stream = sent.concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let (mut buffer, mut received) = (Vec::new(), Vec::new());
            for ends in cuts.windows(2) {
                buffer.extend(&stream[ends[0]..ends[1]]);
                let found = whole(&buffer);
                prop_assert_eq!(found.error, None);
                let rest = buffer.split_off(found.octets);
                let messages = taken(&buffer);
                prop_assert_eq!(messages.len(), found.messages);
                received.extend(messages);
                buffer = rest;
            }
            prop_assert!(buffer.is_empty());
            prop_assert_eq!(received, sent);
        }

        #[test]
        fn octets_of_any_kind_make_progress_or_an_error(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            let found = whole(&octets);
            prop_assert!(found.octets <= octets.len());
            prop_assert!(found.messages * HEADER <= found.octets);
            prop_assert_eq!(taken(&octets[..found.octets]).concat(), &octets[..found.octets]);
        }
    }

    #[test]
    fn what_can_not_be_a_message_is_named() {
        let named = |octets: &[u8]| whole(octets).error.map(|error| error.to_string());
        let good = message(b"content");
        for (octets, part) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], "NETFLOW_LISTEN_TLS_PORT"),
            (&[0, 9, 0, 1, 0, 0], "NetFlow v9"),
            (&[0, 5, 0, 1, 0, 0], "NetFlow v5"),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "looks like"),
            (&[0, 10, 0, 15], "15 octets"),
            (&[7, 7], "version 1799"),
        ] {
            let said = named(octets).expect("an error");
            assert!(said.contains(part), "{said}");
            // What came before it is used.
            let found = whole(&[&good, octets].concat());
            assert_eq!((found.messages, found.octets), (1, good.len()));
            assert!(found.error.is_some());
        }
        assert_eq!(named(&good[..good.len() - 1]), None);
        assert_eq!(named(&[0]), None);
    }
}
