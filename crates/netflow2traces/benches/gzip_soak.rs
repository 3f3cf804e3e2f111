//! Our own gzip against an inflater that isn't ours, for as many spans as are asked for: whatever is compressed comes back,
//! octet for octet. `cargo bench -p netflow2traces --bench gzip_soak -- 100` takes a hundred million spans (one million
//! without a number); about six minutes, one core. Ends with an error at the first difference.
//!
//! Every body is fresh traffic of another seed. Each is compressed as it is and once more damaged: octets changed, parts
//! cut out, repeated or moved, so that lengths lie and values run into each other, as only a hostile exporter's names or a
//! defect in the writer could make them.
#![expect(clippy::print_stdout, reason = "a bench prints")]

use std::io::Read as _;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flate2::read::GzDecoder;
use netflow2traces::config::AttributeLevel::{All, Minimal, Standard};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};
use support::{Batches, Form, Traffic};

mod support;

/// Of bodies of one kind before the next kind's turn.
const BODIES: usize = 20;

fn main() -> ExitCode {
    // cargo adds `--bench`.
    let number = std::env::args().skip(1).find(|word| word != "--bench");
    let Ok(millions) = number.as_deref().unwrap_or("1").parse::<u64>() else {
        println!("how many million spans? a whole number");
        return ExitCode::from(2);
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let first_seed = since.map_or(0, |since| since.as_secs());
    let mut damage = Xoshiro256PlusPlus::seed_from_u64(first_seed);
    let mut seen = Seen::default();
    let began = Instant::now();
    for turn in 0.. {
        if seen.spans >= millions * 1_000_000 {
            break;
        }
        let form = [Form::V5, Form::Ipfix4, Form::Ipfix6][turn % 3];
        let traffic = [Traffic::HeavyTailed, Traffic::Random][turn / 3 % 2];
        let level = [Minimal, Standard, All][turn / 6 % 3];
        let seed = first_seed + turn as u64;
        for (index, batch) in Batches::new(form, traffic, level, seed)
            .take(BODIES)
            .enumerate()
        {
            let mut body = batch.octets.to_vec();
            for is_damaged in [false, true] {
                if is_damaged {
                    harm(&mut body, &mut damage);
                }
                seen.spans += u64::from(batch.flow_spans);
                if let Err(difference) = seen.check(&body) {
                    println!(
                        "{form:?}, {traffic:?}, {level:?}, seed {seed}, body {index}, damaged: {is_damaged}: {difference}"
                    );
                    return ExitCode::FAILURE;
                }
            }
        }
        if turn % 18 == 17 {
            println!("{seen} after {} s", began.elapsed().as_secs());
        }
    }
    println!("no difference: {seen} in {} s", began.elapsed().as_secs());
    ExitCode::SUCCESS
}

/// Changes a body at up to 40 places, three times in four near its end: what stands behind a length that lies can't be
/// understood any more, and a body of which half isn't understood is left to another compressor.
fn harm(body: &mut Vec<u8>, random: &mut Xoshiro256PlusPlus) {
    let from = [0, 80, 80, 80][random.random_range(0..4)] * body.len() / 100;
    for _ in 0..random.random_range(1..40) {
        let at = random.random_range(from..body.len());
        let part = at..(at + random.random_range(1..3_000)).min(body.len());
        match random.random_range(0..5) {
            0 => body[at] = random.random(),
            1 => body[at] ^= 1 << random.random_range(0..8),
            2 => drop(body.drain(part)),
            3 => {
                let to = random
                    .random_range(from..at + 1)
                    .min(body.len() - part.len());
                body.copy_within(part, to);
            }
            _ => {
                let octet = random.random();
                body[part].fill(octet);
            }
        }
    }
}

#[derive(Default)]
struct Seen {
    spans: u64,
    octets: u64,
    compressed: u64,
    /// Bodies that `compress` left to others, since they didn't shrink to half.
    left: u64,
}

impl Seen {
    fn check(&mut self, body: &[u8]) -> Result<(), String> {
        self.octets += body.len() as u64;
        let Some(gzip) = otlp_wire::gzip::compress(body) else {
            self.left += 1;
            return Ok(());
        };
        self.compressed += gzip.len() as u64;
        let mut decoder = GzDecoder::new(&gzip[..]);
        let mut plain = Vec::with_capacity(body.len());
        decoder
            .read_to_end(&mut plain)
            .map_err(|error| format!("not a gzip member: {error}"))?;
        let rest = decoder.into_inner().len();
        if rest > 0 {
            return Err(format!("{rest} octets behind the member"));
        }
        match plain.iter().zip(body).position(|(a, b)| a != b) {
            Some(at) => Err(format!("the octet at {at} of {} differs", body.len())),
            None if plain.len() != body.len() => Err(format!(
                "{} octets came back of {}",
                plain.len(),
                body.len()
            )),
            None => Ok(()),
        }
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} million spans, {} MB to {} MB, {} bodies not compressed",
            self.spans / 1_000_000,
            self.octets / 1_000_000,
            self.compressed / 1_000_000,
            self.left
        )
    }
}
