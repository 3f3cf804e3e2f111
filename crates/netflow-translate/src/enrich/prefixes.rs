//! Longest prefix of an address: networks laid out as ranges that don't overlap, searched by halves.
//!
//! `n` networks make at most `2 n + 1` ranges, whatever their lengths, so that memory is bounded by the file that names
//! them. IPv4 addresses begin at the ranges of their upper 16 bits; where these are many, at those of their upper 24.
//! docs/decisions has the comparison with tries.

use std::net::IpAddr;

use ipnet::IpNet;

/// Ranges with the same upper 16 bits, from which on the next 8 bits have an index: it takes 64 octets a range at most.
const MANY: u32 = 16;
/// Marks the number of a [`Block`] among numbers of ranges.
const BLOCK: u32 = 1 << 31;

/// Values by network; an address has that of the longest prefix that holds it.
#[derive(Clone, Debug)]
pub struct PrefixTable {
    v4: Ranges<u32>,
    /// By upper 16 bits, the last range that begins at or before them, or the block that has it; and one behind them.
    v4_index: Box<[u32]>,
    v4_blocks: Box<[Block]>,
    v6: Ranges<u128>,
}

/// By the third octet of an address, the last range that begins at or before it; and that of the address behind them all.
type Block = [u32; 257];

/// Ranges by their first address; each ends where the next begins.
#[derive(Clone, Debug)]
struct Ranges<A> {
    starts: Box<[A]>,
    /// As many.
    values: Box<[Option<u32>]>,
}

impl PrefixTable {
    /// Of networks with their values, each network once.
    #[must_use]
    pub fn new(networks: &[(IpNet, u32)]) -> Self {
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for (network, value) in networks {
            match network {
                IpNet::V4(network) => {
                    let (first, last) = (network.network(), network.broadcast());
                    v4.push((first.to_bits(), last.to_bits(), *value));
                }
                IpNet::V6(network) => {
                    let (first, last) = (network.network(), network.broadcast());
                    v6.push((first.to_bits(), last.to_bits(), *value));
                }
            }
        }
        let v4 = Ranges::new(v4, |last: u32| last.checked_add(1));
        // Of the first addresses of all prefixes of so many bits, and of the address behind the last one.
        let last_begun = |first: u64| {
            let after = v4
                .starts
                .partition_point(|start| u64::from(*start) <= first);
            u32::try_from(after - 1).unwrap_or(u32::MAX)
        };
        let mut blocks: Vec<Block> = Vec::new();
        let mut next = last_begun(0);
        let index = (0..=1 << 16).map(|upper: u64| {
            let first = next;
            next = last_begun((upper + 1) << 16);
            if upper == 1 << 16 || next - first < MANY {
                return first;
            }
            let mut block = [0; 257];
            for (range, third) in block.iter_mut().zip(0..) {
                *range = last_begun((upper << 16) + (third << 8));
            }
            blocks.push(block);
            BLOCK | (blocks.len() - 1) as u32
        });
        Self {
            v4_index: index.collect(),
            v4_blocks: blocks.into(),
            v4,
            v6: Ranges::new(v6, |last: u128| last.checked_add(1)),
        }
    }

    /// The value of the longest prefix that holds the address; an IPv4-mapped IPv6 address is an IPv4 one.
    #[inline]
    #[must_use]
    pub fn find(&self, address: IpAddr) -> Option<u32> {
        match address {
            IpAddr::V4(address) => self.find_v4(address.to_bits()),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => self.find_v4(address.to_bits()),
                None => self.v6.find(address.to_bits(), 0, self.v6.starts.len()),
            },
        }
    }

    #[inline]
    fn find_v4(&self, address: u32) -> Option<u32> {
        let upper = (address >> 16) as usize;
        let (from, to) = match *self.v4_index.get(upper)? {
            entry if entry & BLOCK != 0 => {
                let block = self.block(entry)?;
                let third = (address >> 8 & 0xff) as usize;
                (block[third], block[third + 1])
            }
            from => {
                let next = *self.v4_index.get(upper + 1)?;
                let is_range = next & BLOCK == 0;
                (from, if is_range { next } else { self.block(next)?[0] })
            }
        };
        self.v4.find(address, from as usize, to as usize + 1)
    }

    #[inline]
    fn block(&self, entry: u32) -> Option<&Block> {
        self.v4_blocks.get((entry & !BLOCK) as usize)
    }
}

impl<A: Copy + Default + Ord> Ranges<A> {
    /// Of first and last addresses with values; `next` is the address after one.
    fn new(mut networks: Vec<(A, A, u32)>, next: impl Fn(A) -> Option<A>) -> Self {
        // Networks either hold each other or don't touch: outer ones come before what they hold.
        networks.sort_by(|(first, last, _), (other_first, other_last, _)| {
            first.cmp(other_first).then(other_last.cmp(last))
        });
        let mut ranges: Vec<(A, Option<u32>)> = vec![(A::default(), None)];
        let mut begin = |start: A, value: Option<u32>| match ranges.last_mut() {
            Some(range) if range.0 == start => range.1 = value,
            Some(range) if range.1 == value => {}
            _ => ranges.push((start, value)),
        };
        let mut open: Vec<(A, u32)> = Vec::new();
        let close_before =
            |open: &mut Vec<(A, u32)>, limit: Option<A>, begin: &mut dyn FnMut(A, Option<u32>)| {
                while let Some((last, _)) = open.last().copied() {
                    if limit.is_some_and(|limit| last >= limit) {
                        break;
                    }
                    open.pop();
                    let outer = open.last().map(|(_, value)| *value);
                    if let Some(after) = next(last) {
                        begin(after, outer);
                    }
                }
            };
        for (first, last, value) in networks {
            close_before(&mut open, Some(first), &mut begin);
            begin(first, Some(value));
            open.push((last, value));
        }
        close_before(&mut open, None, &mut begin);
        let (starts, values): (Vec<_>, Vec<_>) = ranges.into_iter().unzip();
        Self {
            starts: starts.into(),
            values: values.into(),
        }
    }

    /// The value of the range that holds the address, which is one of `from..to`.
    #[inline]
    fn find(&self, address: A, from: usize, to: usize) -> Option<u32> {
        let starts = self.starts.get(from..to)?;
        let after = starts.partition_point(|start| *start <= address);
        *self.values.get(from + after.checked_sub(1)?)?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(networks: &[&str]) -> PrefixTable {
        let networks = networks.iter().map(|text| text.parse().unwrap());
        PrefixTable::new(&networks.zip(0..).collect::<Vec<_>>())
    }

    fn find(table: &PrefixTable, address: &str) -> Option<u32> {
        table.find(address.parse().unwrap())
    }

    #[test]
    fn the_longest_prefix_holds() {
        let table = table(&[
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.3/32",
            "2001:db8::/32",
            "::/0",
        ]);
        for (address, found) in [
            ("10.0.0.0", Some(0)),
            ("10.1.0.0", Some(1)),
            ("10.1.2.2", Some(1)),
            ("10.1.2.3", Some(2)),
            ("10.1.2.4", Some(1)),
            ("10.2.0.0", Some(0)),
            ("10.255.255.255", Some(0)),
            ("11.0.0.0", None),
            ("9.255.255.255", None),
            ("::ffff:10.1.2.3", Some(2)),
            ("2001:db8::1", Some(3)),
            ("2001:db9::1", Some(4)),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(4)),
        ] {
            assert_eq!(find(&table, address), found, "{address}");
        }
    }

    #[test]
    fn the_whole_space_and_its_ends_are_networks_too() {
        let table = table(&["0.0.0.0/0", "255.255.255.255/32", "0.0.0.0/32"]);
        assert_eq!(find(&table, "0.0.0.0"), Some(2));
        assert_eq!(find(&table, "0.0.0.1"), Some(0));
        assert_eq!(find(&table, "255.255.255.255"), Some(1));
        assert_eq!(find(&table, "::1"), None);
    }

    #[test]
    fn many_networks_share_their_upper_16_bits() {
        for upper in ["10.0", "10.1", "255.255"] {
            let names: Vec<_> = (0..256)
                .map(|third| format!("{upper}.{third}.0/24"))
                .collect();
            let table = table(&names.iter().map(String::as_str).collect::<Vec<_>>());
            for third in 0..256 {
                for last in [0, 255] {
                    let address = format!("{upper}.{third}.{last}");
                    assert_eq!(find(&table, &address), Some(third), "{address}");
                }
            }
            assert_eq!(find(&table, "9.255.255.255"), None);
            assert_eq!(find(&table, "10.2.0.0"), None);
        }
    }

    fn network() -> impl Strategy<Value = IpNet> {
        // Few bits, so that networks hold each other.
        let v4 = (any::<u32>(), 0_u8..=32).prop_map(|(bits, length)| {
            let address = std::net::Ipv4Addr::from_bits(bits & 0x8101_0103);
            IpNet::new(address.into(), length).unwrap().trunc()
        });
        // Many with the same upper 16 bits.
        let near = (any::<u16>(), 16_u8..=32).prop_map(|(bits, length)| {
            let address = std::net::Ipv4Addr::from_bits(0x8101_0000 | u32::from(bits & 0xc7c7));
            IpNet::new(address.into(), length).unwrap().trunc()
        });
        let v6 = (any::<u128>(), 0_u8..=128).prop_map(|(bits, length)| {
            let address = std::net::Ipv6Addr::from_bits(bits & (0x8101 << 112 | 0x0103));
            IpNet::new(address.into(), length).unwrap().trunc()
        });
        prop_oneof![v4, near, v6]
    }

    proptest! {
        #[test]
        fn as_a_search_through_all_networks(networks in prop::collection::vec(network(), 0..100)) {
            let mut networks: Vec<_> = networks.into_iter().zip(0..).collect();
            networks.sort();
            networks.dedup_by_key(|(network, _)| *network);
            let table = PrefixTable::new(&networks);
            let ends = networks.iter().flat_map(|(network, _)| [network.network(), network.broadcast()]);
            for address in ends.map(|address| address.to_canonical()) {
                let holding = networks.iter().filter(|(network, _)| network.contains(&address));
                let longest = holding.max_by_key(|(network, _)| network.prefix_len());
                prop_assert_eq!(table.find(address), longest.map(|(_, value)| *value), "{}", address);
            }
            prop_assert!(table.v4.starts.len() + table.v6.starts.len() <= 2 * networks.len() + 2);
        }
    }
}
