//! Keeps an exporter on one worker: a classic BPF program that makes a worker's index out of a
//! datagram's source address, for the kernel to run on the reuseport group of each port.
//!
//! Ports don't count: an exporter that changes its source port, or sends to several of ours, meets
//! the same worker and so its templates. The program needs no privilege.

use std::net::IpAddr;

use libc::{
    BPF_A, BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_B, BPF_IMM, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD,
    BPF_LDX, BPF_MEM, BPF_MISC, BPF_MUL, BPF_RET, BPF_RSH, BPF_ST, BPF_TAX, BPF_W, BPF_X, BPF_XOR,
    SKF_NET_OFF, sock_filter,
};

/// 2^32 divided by the golden ratio. Its multiples spread evenly: of addresses that follow one
/// another every second goes to the second half of the workers.
const GOLDEN: u32 = 0x9E37_79B1;
/// An odd constant with well mixed bits, for the parts of an address that needn't keep an order.
const MIXER: u32 = 0x85EB_CA6B;

/// IPv4 header: the source address.
const IPV4_SOURCE: u32 = 12;
/// IPv6 header: the four words of the source address.
const IPV6_SOURCE: [u32; 4] = [8, 12, 16, 20];
/// The scratch word that holds the hash of the address but for its last word.
const SCRATCH: u32 = 0;

/// A program for [`Opening::steering`](super::Opening::steering).
#[derive(Clone)]
pub struct SteeringProgram {
    instructions: Vec<sock_filter>,
}

impl SteeringProgram {
    /// Gives each source address one of the indices `0..workers`.
    ///
    /// The kernel shows the program the UDP payload, hence addresses are loaded relative to the
    /// network header. The header's version distinguishes IPv4 from IPv6, since a dual-stack socket gets
    /// both. Addresses of one /24 (or /120) are dealt out evenly, other parts are mixed, and the
    /// hash is scaled to the number of workers by its upper half.
    #[must_use]
    pub fn by_source_address(workers: usize) -> Self {
        let workers = u32::try_from(workers).map_or(u32::from(u16::MAX), |n| n.clamp(1, 0xffff));
        let mut program = vec![
            step(BPF_LD | BPF_B | BPF_ABS, network(0)),
            step(BPF_ALU | BPF_RSH | BPF_K, 4),
        ];
        let ipv4 = ipv4_hash();
        let ipv6 = ipv6_hash();
        program.push(branch(BPF_JMP | BPF_JEQ | BPF_K, 6, 0, ipv6.len() + 1));
        program.extend(&ipv6);
        program.push(step(BPF_JMP, ipv4.len() as u32));
        program.extend(&ipv4);
        program.extend([
            step(BPF_ALU | BPF_RSH | BPF_K, 16),
            step(BPF_ALU | BPF_MUL | BPF_K, workers),
            step(BPF_ALU | BPF_RSH | BPF_K, 16),
            step(BPF_RET | BPF_A, 0),
        ]);
        Self {
            instructions: program,
        }
    }

    /// A program that the kernel refuses, to see what happens then.
    #[must_use]
    pub fn refused() -> Self {
        // It doesn't end with a return.
        Self {
            instructions: vec![step(BPF_MISC | BPF_TAX, 0)],
        }
    }

    pub(super) fn instructions(&self) -> &[sock_filter] {
        &self.instructions
    }
}

/// The worker that the program gives `source`, of so many: the program's arithmetic once more.
pub(super) fn worker_of(source: IpAddr, workers: usize) -> usize {
    let mixed = |mut hash: u32| {
        for _ in 0..2 {
            hash = hash.wrapping_mul(MIXER);
            hash ^= hash >> 15;
        }
        hash
    };
    let (before, last) = match source {
        IpAddr::V4(address) => (0, address.to_bits()),
        IpAddr::V6(address) => {
            let octets = address.octets();
            let word = |at: usize| {
                octets[at..]
                    .first_chunk()
                    .map_or(0, |word| u32::from_be_bytes(*word))
            };
            let first = [0, 4, 8]
                .into_iter()
                .fold(0, |hash: u32, at| mixed(hash.wrapping_add(word(at))));
            (first, word(12))
        }
    };
    let hash =
        mixed(before.wrapping_add(last >> 8)).wrapping_add((last & 0xff).wrapping_mul(GOLDEN));
    let workers = u32::try_from(workers).map_or(u32::from(u16::MAX), |n| n.clamp(1, 0xffff));
    ((hash >> 16).wrapping_mul(workers) >> 16) as usize
}

/// Leaves the hash of the IPv4 source address in the accumulator.
fn ipv4_hash() -> Vec<sock_filter> {
    let mut hash = vec![step(BPF_LD | BPF_IMM, 0), step(BPF_ST, SCRATCH)];
    hash.extend(last_word(network(IPV4_SOURCE)));
    hash
}

/// Leaves the hash of the IPv6 source address in the accumulator.
fn ipv6_hash() -> Vec<sock_filter> {
    let [first, second, third, last] = IPV6_SOURCE.map(network);
    let mut hash = vec![step(BPF_LD | BPF_W | BPF_ABS, first)];
    hash.extend(mix());
    for word in [second, third] {
        hash.extend([
            step(BPF_MISC | BPF_TAX, 0),
            step(BPF_LD | BPF_W | BPF_ABS, word),
            step(BPF_ALU | BPF_ADD | BPF_X, 0),
        ]);
        hash.extend(mix());
    }
    hash.push(step(BPF_ST, SCRATCH));
    hash.extend(last_word(last));
    hash
}

/// `mix(scratch + (word without its last octet)) + last octet * GOLDEN`, in the accumulator.
fn last_word(at: u32) -> Vec<sock_filter> {
    let mut hash = vec![
        step(BPF_LD | BPF_W | BPF_ABS, at),
        step(BPF_ALU | BPF_RSH | BPF_K, 8),
        step(BPF_LDX | BPF_MEM, SCRATCH),
        step(BPF_ALU | BPF_ADD | BPF_X, 0),
    ];
    hash.extend(mix());
    hash.extend([
        step(BPF_ST, SCRATCH),
        step(BPF_LD | BPF_W | BPF_ABS, at),
        step(BPF_ALU | BPF_AND | BPF_K, 0xff),
        step(BPF_ALU | BPF_MUL | BPF_K, GOLDEN),
        step(BPF_LDX | BPF_MEM, SCRATCH),
        step(BPF_ALU | BPF_ADD | BPF_X, 0),
    ]);
    hash
}

/// Two rounds of multiply and xor-shift on the accumulator: every bit reaches the upper half.
fn mix() -> Vec<sock_filter> {
    let round = [
        step(BPF_ALU | BPF_MUL | BPF_K, MIXER),
        step(BPF_MISC | BPF_TAX, 0),
        step(BPF_ALU | BPF_RSH | BPF_K, 15),
        step(BPF_ALU | BPF_XOR | BPF_X, 0),
    ];
    round.repeat(2)
}

/// An offset from the network header.
fn network(offset: u32) -> u32 {
    SKF_NET_OFF.cast_unsigned().wrapping_add(offset)
}

fn step(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

fn branch(code: u32, k: u32, then: u8, otherwise: usize) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: then,
        jf: otherwise as u8,
        k,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kernel_limits_are_kept() {
        let program = SteeringProgram::by_source_address(4);
        assert!(
            program.instructions().len() <= 255,
            "jumps have to fit an octet"
        );
    }

    #[test]
    fn few_exporters_of_one_network_reach_every_worker() {
        for workers in 2..=4_usize {
            for third in 0..=255 {
                let mut seen = vec![0; workers];
                for last in 1..=(4 * workers as u8) {
                    seen[run_ipv4(Ipv4Addr::new(192, 0, third, last), workers)] += 1;
                }
                assert!(
                    seen.iter().all(|count| *count >= 2),
                    "{workers} {third}: {seen:?}"
                );
            }
        }
    }

    #[test]
    fn exporters_of_many_networks_spread_evenly() {
        let mut seen = [0; 4];
        let mut seen_ipv6 = [0; 4];
        for network in 0..1000_u16 {
            let [high, low] = network.to_be_bytes();
            seen[run_ipv4(Ipv4Addr::new(10, high, low, 1), 4)] += 1;
            let address = Ipv6Addr::new(0x2001, 0xdb8, network, 0, 0, 0, 0, 1);
            seen_ipv6[run_ipv6(address, 4)] += 1;
        }
        for count in seen.into_iter().chain(seen_ipv6) {
            assert!((200..=300).contains(&count), "{seen:?} {seen_ipv6:?}");
        }
    }

    #[test]
    fn every_part_of_an_ipv6_address_counts() {
        for part in 0..16 {
            let mut seen = [0; 4];
            for value in 0..=255 {
                let mut octets = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6).octets();
                octets[part] = value;
                seen[run_ipv6(octets.into(), 4)] += 1;
            }
            assert!(
                seen.iter().all(|count| *count >= 32),
                "octet {part}: {seen:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn equal_addresses_give_equal_workers(
            address: u32,
            address_ipv6: u128,
            rest in proptest::collection::vec(any::<u8>(), 20),
            workers in 1..64_usize,
        ) {
            let address = Ipv4Addr::from(address);
            let worker = run_ipv4(address, workers);
            prop_assert!(worker < workers);
            let mut packet = ipv4_packet(address);
            for (at, value) in rest.iter().enumerate().filter(|(at, _)| !(12..16).contains(at)) {
                packet[at] = *value;
            }
            packet[0] = 0x40 | (packet[0] & 0xf);
            prop_assert_eq!(run(&packet, workers), worker);
            prop_assert_eq!(worker_of(address.into(), workers), worker);

            let address = Ipv6Addr::from(address_ipv6);
            let worker = run_ipv6(address, workers);
            prop_assert!(worker < workers);
            let mut packet = ipv6_packet(address);
            packet[1..8].copy_from_slice(&rest[1..8]);
            packet[24..40].copy_from_slice(&rest[..16]);
            prop_assert_eq!(run(&packet, workers), worker);
            prop_assert_eq!(worker_of(address.into(), workers), worker);
        }
    }

    fn run_ipv4(address: Ipv4Addr, workers: usize) -> usize {
        run(&ipv4_packet(address), workers)
    }

    fn run_ipv6(address: Ipv6Addr, workers: usize) -> usize {
        run(&ipv6_packet(address), workers)
    }

    fn ipv4_packet(source: Ipv4Addr) -> Vec<u8> {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[12..16].copy_from_slice(&source.octets());
        packet
    }

    fn ipv6_packet(source: Ipv6Addr) -> Vec<u8> {
        let mut packet = vec![0; 48];
        packet[0] = 0x60;
        packet[8..24].copy_from_slice(&source.octets());
        packet
    }

    /// Runs the program on a packet that begins with its network header, as the kernel would.
    fn run(packet: &[u8], workers: usize) -> usize {
        let program = SteeringProgram::by_source_address(workers);
        let (mut a, mut x, mut scratch, mut at) = (0_u32, 0_u32, [0_u32; 16], 0_usize);
        loop {
            let sock_filter { code, jt, jf, k } = program.instructions()[at];
            at += 1;
            let code = u32::from(code);
            let operand = if code & BPF_X == BPF_X { x } else { k };
            let offset = k.wrapping_sub(network(0)) as usize;
            match code {
                _ if code == BPF_LD | BPF_B | BPF_ABS => a = u32::from(packet[offset]),
                _ if code == BPF_LD | BPF_W | BPF_ABS => {
                    a = u32::from_be_bytes(*packet[offset..].first_chunk().unwrap());
                }
                _ if code == BPF_LD | BPF_IMM => a = k,
                _ if code == BPF_LDX | BPF_MEM => x = scratch[k as usize],
                _ if code == BPF_ST => scratch[k as usize] = a,
                _ if code == BPF_MISC | BPF_TAX => x = a,
                _ if code == BPF_JMP => at += k as usize,
                _ if code == BPF_JMP | BPF_JEQ => at += usize::from(if a == k { jt } else { jf }),
                _ if code == BPF_RET | BPF_A => return a as usize,
                _ if code & 0x07 == BPF_ALU => match code & 0xf0 {
                    BPF_ADD => a = a.wrapping_add(operand),
                    BPF_MUL => a = a.wrapping_mul(operand),
                    BPF_AND => a &= operand,
                    BPF_XOR => a ^= operand,
                    BPF_RSH => a >>= operand,
                    other => panic!("operation {other:#x} is not one that the program uses"),
                },
                other => panic!("instruction {other:#x} is not one that the program uses"),
            }
        }
    }
}
