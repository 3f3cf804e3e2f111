//! One packet in how many an exporter looked at, from wherever it says so.
//!
//! Sources: Cisco's v5 header; RFC 3954 section 8 (34, 35, 48–50); RFC 5477 (302, 304–306, 309–311).

use netflow_wire::{Header, Template, unsigned};

use crate::exporter::metadata::{DomainMetadata, Sampler};

/// Where an interval was learnt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    Header,
    Record,
    Options,
    Config,
}

impl Origin {
    pub(crate) const ALL: [Self; 4] = [Self::Header, Self::Record, Self::Options, Self::Config];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Record => "record",
            Self::Options => "options",
            Self::Config => "config",
        }
    }
}

/// Fields of a template that tell sampling.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecordSampling {
    /// 34, else 50.
    interval: Option<u16>,
    /// 305 and 306.
    packet_interval: Option<u16>,
    packet_space: Option<u16>,
    /// 309 and 310.
    size: Option<u16>,
    population: Option<u16>,
    /// 311.
    probability: Option<u16>,
    /// 48 or 302: which sampler.
    pub(crate) sampler: Option<u16>,
    /// 10: for samplers told by interface.
    interface: Option<u16>,
}

impl RecordSampling {
    pub(crate) fn new(template: &Template) -> Self {
        let field = |element: u16| {
            let found = template.fields.iter().position(|field| {
                field.enterprise == 0 && field.element == element && field.length > 0
            })?;
            u16::try_from(found).ok()
        };
        Self {
            interval: field(34).or_else(|| field(50)),
            packet_interval: field(305),
            packet_space: field(306),
            size: field(309),
            population: field(310),
            probability: field(311),
            sampler: field(302).or_else(|| field(48)),
            interface: field(10),
        }
    }

    /// The interval that the fields themselves tell, at least 1.
    #[inline]
    pub(crate) fn interval<'a>(
        &self,
        number: impl Fn(u16) -> u64,
        octets: impl Fn(u16) -> &'a [u8],
    ) -> Option<u64> {
        if let Some(interval) = self.interval.map(&number).filter(|interval| *interval > 0) {
            return Some(interval);
        }
        if let Some(sampled) = self
            .packet_interval
            .map(&number)
            .filter(|sampled| *sampled > 0)
        {
            let space = self.packet_space.map_or(0, &number);
            return Some(ratio(sampled.saturating_add(space), sampled));
        }
        if let (Some(size), Some(population)) = (self.size, self.population) {
            let (size, population) = (number(size), number(population));
            if size > 0 && population >= size {
                return Some(ratio(population, size));
            }
        }
        let probability = float(octets(self.probability?))?;
        if probability > 0.0 && probability <= 1.0 {
            return Some((1.0 / probability).round() as u64);
        }
        None
    }
}

/// `numerator / denominator` to the nearest whole number, at least 1.
fn ratio(numerator: u64, denominator: u64) -> u64 {
    (numerator.saturating_add(denominator / 2) / denominator.max(1)).max(1)
}

fn float(octets: &[u8]) -> Option<f64> {
    match octets.len() {
        4 => Some(f64::from(f32::from_bits(unsigned(octets) as u32))),
        8 => Some(f64::from_bits(unsigned(octets))),
        _ => None,
    }
}

/// A count multiplied by the interval, at most 2^63 - 1.
pub(crate) fn scaled(value: u64, interval: u64) -> u64 {
    value.saturating_mul(interval).min(i64::MAX.cast_unsigned())
}

/// What is known of sampling when a Set is read.
#[derive(Clone, Copy)]
pub(crate) struct Sampling<'a> {
    /// `NETFLOW_SAMPLING_OVERRIDE` for this exporter.
    configured: Option<u64>,
    /// v5.
    header: Option<u64>,
    options: DomainMetadata<'a>,
}

impl<'a> Sampling<'a> {
    pub(crate) fn new(
        configured: Option<u64>,
        header: &Header,
        options: DomainMetadata<'a>,
    ) -> Self {
        let header = header
            .sampling
            .map(|sampling| u64::from(sampling.interval))
            .filter(|interval| *interval > 0);
        Self {
            configured,
            header,
            options,
        }
    }

    /// The interval that holds for a record, and where it was learnt.
    #[inline]
    pub(crate) fn of_record<'r>(
        &self,
        plan: &RecordSampling,
        number: impl Fn(u16) -> u64,
        octets: impl Fn(u16) -> &'r [u8],
    ) -> Option<(u64, Origin)> {
        if let Some(interval) = self.configured {
            return Some((interval, Origin::Config));
        }
        if let Some(interval) = plan.interval(&number, octets) {
            return Some((interval, Origin::Record));
        }
        if let Some(interval) = self.header {
            return Some((interval, Origin::Header));
        }
        let id = plan.sampler.map(&number);
        let interface = plan.interface.map(&number);
        let Sampler { interval } = self.options.find(|known| known.sampler(id, interface))?;
        Some((interval, Origin::Options))
    }
}
