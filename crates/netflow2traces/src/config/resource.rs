//! The resource: which process made the spans.

use rand::RngExt;

use super::memory::Available;

/// What the configuration takes from the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    pub cores: usize,
    pub memory: Available,
    pub host_name: Option<String>,
    /// `service.instance.id`: another UUID for each start.
    pub instance_id: String,
}

impl Machine {
    /// Asks the system.
    #[must_use]
    pub fn read() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: Available::read(),
            host_name: host_name(),
            instance_id: uuid(rand::rng().random()),
        }
    }
}

/// In the order they are written; each key once. `attributes` replace what the daemon sets itself,
/// but `name` and `version`, when given, win.
pub(super) fn build(
    default_name: &str,
    name: Option<String>,
    version: Option<String>,
    attributes: Vec<(String, String)>,
    machine: &Machine,
) -> Vec<(String, String)> {
    let own_version = env!("CARGO_PKG_VERSION");
    let mut resource: Vec<(String, String)> = Vec::new();
    put(&mut resource, "service.name", default_name);
    put(&mut resource, "service.version", own_version);
    put(&mut resource, "service.instance.id", &machine.instance_id);
    put(&mut resource, "telemetry.sdk.name", "netflow2traces");
    put(&mut resource, "telemetry.sdk.language", "rust");
    put(&mut resource, "telemetry.sdk.version", own_version);
    if let Some(host_name) = &machine.host_name {
        put(&mut resource, "host.name", host_name);
    }
    for (key, value) in &attributes {
        put(&mut resource, key, value);
    }
    for (key, given) in [("service.name", name), ("service.version", version)] {
        if let Some(given) = given {
            put(&mut resource, key, &given);
        }
    }
    resource
}

fn put(resource: &mut Vec<(String, String)>, key: &str, value: &str) {
    match resource.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => value.clone_into(old),
        None => resource.push((key.to_owned(), value.to_owned())),
    }
}

/// The name that the kernel has; `HOSTNAME` is what shells and containers say elsewhere.
fn host_name() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::fs::read_to_string("/etc/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
}

/// A random UUID (RFC 9562 section 5.4) of these random octets.
fn uuid(mut octets: [u8; 16]) -> String {
    octets[6] = octets[6] & 0x0f | 0x40;
    octets[8] = octets[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(octets);
    let hex = format!("{number:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_uuid_says_its_version_and_variant() {
        assert_eq!(uuid([0; 16]), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
