//! Every bound of the decoder.

use std::time::Duration;

/// What one exporter may make the decoder hold. UDP sources can be forged, so each of these
/// bounds protects against one source only.
///
/// With the defaults a [`Decoder`](crate::Decoder) holds at most 3 MiB, besides what the caller compiles and
/// the contexts of Sets that wait: 64 Ki fields of 8 octets, 4096 Templates of up to 500 octets with the
/// reserve of their tables, 256 Sets of 256 KiB together. `tests/memory_bounds.rs` measures it under floods.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Fields of one Template. A Template with more is refused.
    pub max_fields: usize,
    /// Fields of zero length in one Template, which cost work and carry no data; with more it is refused. It
    /// bounds the fields that are visited by the octets that were sent.
    pub max_empty_fields: usize,
    /// Templates of one exporter, over all its sessions and domains; the one unused for longest makes room.
    pub max_templates: usize,
    /// Fields of all Templates of one exporter together; the Templates unused for longest make room.
    pub max_template_fields: usize,
    /// A Template neither re-sent nor first learnt within this time is forgotten (RFC 7011, section 10.3.7).
    pub template_lifetime: Duration,
    /// Sets that wait for their Template, by exporter.
    pub max_held_sets: usize,
    /// Octets of these Sets, by exporter.
    pub max_held_octets: usize,
    /// How long such a Set waits.
    pub max_held_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_fields: 1024,
            max_empty_fields: 64,
            max_templates: 4096,
            max_template_fields: 64 * 1024,
            template_lifetime: Duration::from_secs(24 * 60 * 60),
            max_held_sets: 256,
            max_held_octets: 256 * 1024,
            // Cisco routers re-send every 30 minutes unless configured otherwise.
            max_held_age: Duration::from_secs(31 * 60),
        }
    }
}
