//! `NETFLOW_SAMPLING_OVERRIDE`.

use super::SamplingOverride;
use super::values::{Rejection, items, network_of};

/// `CIDR=N` and `CIDR@IFINDEX=N,…`, the most specific network first, and in it interfaces first.
pub(crate) fn sampling_overrides(text: &str) -> Result<Vec<SamplingOverride>, Rejection> {
    let mut overrides: Vec<SamplingOverride> = Vec::new();
    for item in items(text) {
        let Some((network, interval)) = item.split_once('=') else {
            return Err(Rejection(format!("{item} lacks \"=\" and an interval")));
        };
        let (network, interface) = match network.trim().split_once('@') {
            None => (network.trim(), None),
            Some((network, index)) => match index.trim().parse::<u32>() {
                Ok(index) => (network.trim(), Some(index)),
                Err(_) => {
                    return Err(Rejection(format!(
                        "{index} is not an interface index (0 to {})",
                        u32::MAX
                    )));
                }
            },
        };
        let exporters = network_of(network)?;
        let interval = match interval.trim().parse::<u32>() {
            Ok(interval) if interval > 0 => interval,
            _ => {
                return Err(Rejection(format!(
                    "{} is not a sampling interval (1 to {})",
                    interval.trim(),
                    u32::MAX
                )));
            }
        };
        let is_same =
            |known: &SamplingOverride| (known.exporters, known.interface) == (exporters, interface);
        if overrides.iter().any(is_same) {
            return Err(Rejection(format!("{item} is configured twice")));
        }
        overrides.push(SamplingOverride {
            exporters,
            interface,
            interval,
        });
    }
    if overrides.is_empty() {
        return Err(Rejection::new("the list has no items"));
    }
    overrides.sort_by_key(|known| {
        let length = known.exporters.prefix_len();
        (std::cmp::Reverse(length), known.interface.is_none())
    });
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_network_comes_first() {
        let overrides =
            sampling_overrides("10.0.0.0/8=100, 10.1.0.0/16=200,192.0.2.1=300").unwrap();
        let intervals: Vec<u32> = overrides.iter().map(|known| known.interval).collect();
        assert_eq!(intervals, [300, 200, 100]);
    }

    #[test]
    fn an_interface_comes_before_its_whole_network() {
        let overrides = sampling_overrides("10.0.0.0/8=100,10.0.0.0/8@7=50").unwrap();
        let items: Vec<_> = overrides
            .iter()
            .map(|known| (known.interface, known.interval))
            .collect();
        assert_eq!(items, [(Some(7), 50), (None, 100)]);
        for text in [
            "10.0.0.0/8@=1",
            "10.0.0.0/8@x=1",
            "10.0.0.1@7=1,10.0.0.1@7=2",
        ] {
            assert!(sampling_overrides(text).is_err(), "{text}");
        }
    }

    #[test]
    fn networks_are_strict() {
        assert_eq!(
            sampling_overrides("10.0.0.1/8=100"),
            Err(Rejection::new(
                "10.0.0.1/8 has bits set beyond its prefix length (did you mean 10.0.0.0/8?)"
            ))
        );
        for text in [
            "10.0.0.0/33=1",
            "10.0.0.0/8",
            "10.0.0.0/8=0",
            "10.0.0.0/8=x",
            ",",
        ] {
            assert!(sampling_overrides(text).is_err(), "{text}");
        }
    }
}
