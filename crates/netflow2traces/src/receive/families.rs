//! Whether a host can be reached over IPv4 at all: one with IPv6 addresses alone receives nothing on 0.0.0.0, and nothing
//! else would say so. Text of the kernel in, a yes or no out.

use std::fs;
use std::net::Ipv4Addr;

/// Whether this host has addresses of IPv6 alone, besides loopback and link-local ones. `false` where the kernel doesn't
/// tell.
pub(super) fn only_ipv6() -> bool {
    let read = |path| fs::read_to_string(path).ok();
    match (read("/proc/net/fib_trie"), read("/proc/net/if_inet6")) {
        (Some(ipv4), Some(ipv6)) => !has_ipv4(&ipv4) && has_ipv6(&ipv6),
        _ => false,
    }
}

/// `/proc/net/fib_trie`: a local address stands in the line before `/32 host LOCAL`.
fn has_ipv4(trie: &str) -> bool {
    let mut address = None;
    for line in trie.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("|-- ") {
            address = text.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && address.is_some_and(|address| !address.is_loopback() && !address.is_link_local())
        {
            return true;
        }
    }
    false
}

/// `/proc/net/if_inet6`: address, interface, prefix length, scope, flags, name; scope 0 is global.
fn has_ipv6(addresses: &str) -> bool {
    addresses
        .lines()
        .any(|line| line.split_whitespace().nth(3) == Some("00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\nLocal:\n     |-- 127.0.0.0\n        /8 host LOCAL\n     \
                            |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 127.255.255.255\n        /32 link BROADCAST\n";

    #[test]
    fn addresses_of_a_host_are_read() {
        assert!(!has_ipv4(LOOPBACK));
        let ethernet = format!(
            "{LOOPBACK}     |-- 192.0.2.7\n        /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n"
        );
        assert!(has_ipv4(&ethernet));
        assert!(!has_ipv4(""));
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n";
        let link_local = "fe800000000000000000000000000001 02 40 20 80     eth0\n";
        let global = "20010db8000000000000000000000007 02 40 00 80     eth0\n";
        assert!(!has_ipv6(loopback) && !has_ipv6(link_local) && !has_ipv6(""));
        assert!(has_ipv6(&[loopback, link_local, global].concat()));
    }
}
