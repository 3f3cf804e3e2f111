//! One packet in how many an exporter looked at, from wherever it says so.
//!
//! Sources: Cisco's v5 header; RFC 3954 section 8 (34, 48–50); RFC 5477 (302, 304–306, 309–311); RFC 7014, of
//! whole flows (390, 396, 397).
//! Fractions of an interval (3 of every 10) are rounded to the nearest whole number.

use netflow_wire::{Header, Template, unsigned};

use crate::exporter::metadata::{DomainMetadata, Metered, Sampler};

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

/// selectorAlgorithm (element 304): which parameters say how many packets are selected (RFC 5477, section 8.2; IANA's
/// registry of packet selection algorithms).
mod algorithm {
    /// Reserved: nothing is said.
    pub(super) const NONE: u64 = 0;
    /// 305 packets of every 305 + 306.
    pub(super) const COUNT_BASED: u64 = 1;
    /// 309 packets of every 310.
    pub(super) const N_OUT_OF_N: u64 = 3;
    /// Each packet with the probability 311.
    pub(super) const PROBABILISTIC: u64 = 4;
}

/// Fields of a template about sampling.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordSampling {
    /// 304; 390, whose algorithms have the same numbers, of flows.
    algorithm: Option<u16>,
    /// 305 and 306; 396 and 397 of flows.
    packet_interval: Option<u16>,
    packet_space: Option<u16>,
    /// 309 and 310.
    size: Option<u16>,
    population: Option<u16>,
    /// 311.
    probability: Option<u16>,
    /// 50.
    sampler_interval: Option<u16>,
    /// 34.
    interval: Option<u16>,
    /// Some field above is there.
    tells: bool,
    /// 302 and 48: which sampler.
    samplers: [Option<u16>; 2],
    /// For samplers announced by interface: 10 and 252, 14 and 253, and the direction (61).
    input: [Option<u16>; 2],
    output: [Option<u16>; 2],
    direction: Option<u16>,
    /// A field above, and another of its element: of a repeated element the first that isn't zero counts.
    repeated: Box<[(u16, u16)]>,
}

/// Fields of repeated elements that are looked at.
const MAX_REPEATED: usize = 8;

/// flowDirection (61).
const INGRESS: u64 = 0;
const EGRESS: u64 = 1;

impl RecordSampling {
    pub(crate) fn new(template: &Template) -> Self {
        let field = |element: u16| {
            let found = template.fields.iter().position(|field| {
                field.enterprise == 0 && field.element == element && field.length > 0
            })?;
            u16::try_from(found).ok()
        };
        let mut plan = Self {
            algorithm: field(304).or_else(|| field(390)),
            packet_interval: field(305).or_else(|| field(396)),
            packet_space: field(306).or_else(|| field(397)),
            size: field(309),
            population: field(310),
            probability: field(311),
            sampler_interval: field(50),
            interval: field(34),
            tells: false,
            samplers: [field(302), field(48)],
            input: [field(10), field(252)],
            output: [field(14), field(253)],
            direction: field(61),
            repeated: Box::default(),
        };
        plan.repeated = plan.repeats(template);
        plan.tells = [
            plan.packet_interval,
            plan.size,
            plan.probability,
            plan.sampler_interval,
            plan.interval,
        ]
        .iter()
        .any(Option::is_some);
        plan
    }

    /// Fields that repeat the element of one of the plan's.
    fn repeats(&self, template: &Template) -> Box<[(u16, u16)]> {
        let of_counts = [
            self.packet_interval,
            self.packet_space,
            self.size,
            self.population,
            self.probability,
            self.sampler_interval,
            self.interval,
            self.algorithm,
            self.direction,
        ];
        let places = [self.samplers, self.input, self.output]
            .into_iter()
            .flatten();
        let fields = of_counts.into_iter().chain(places).flatten();
        let others = fields.flat_map(|first| {
            let of = |field: u16| template.fields.get(usize::from(field));
            let all = (first + 1..).zip(template.fields.iter().skip(usize::from(first) + 1));
            let same = all.filter(move |(_, field)| {
                field.length > 0
                    && of(first).is_some_and(|of| {
                        (of.enterprise, of.element) == (field.enterprise, field.element)
                    })
            });
            same.map(move |(other, _)| (first, other))
        });
        others.take(MAX_REPEATED).collect()
    }

    /// Of a field whose element the template repeats, the first that isn't zero.
    #[inline]
    fn told(&self, field: u16, number: &impl Fn(u16) -> u64) -> u16 {
        if self.repeated.is_empty() || number(field) != 0 {
            return field;
        }
        let others = self.repeated.iter().filter(|(first, _)| *first == field);
        let mut others = others.map(|(_, other)| *other);
        others.find(|other| number(*other) != 0).unwrap_or(field)
    }

    /// The number of the sampler that selected the packets.
    #[inline]
    pub(crate) fn sampler(&self, number: impl Fn(u16) -> u64) -> Option<u64> {
        let numbers = self.samplers.iter().flatten();
        let mut numbers = numbers.map(|field| number(self.told(*field, &number)));
        numbers
            .clone()
            .find(|id| *id != 0)
            .or_else(|| numbers.next())
    }

    /// The interval in the fields themselves, at least 1. The algorithm chooses among several parameters;
    /// one that says nothing yields to the next.
    #[inline]
    pub(crate) fn interval<'a>(
        &self,
        number: impl Fn(u16) -> u64,
        octets: impl Fn(u16) -> &'a [u8],
    ) -> Option<u64> {
        if !self.tells {
            return None;
        }
        self.told_interval(number, octets)
    }

    #[inline(never)]
    fn told_interval<'a>(
        &self,
        number: impl Fn(u16) -> u64,
        octets: impl Fn(u16) -> &'a [u8],
    ) -> Option<u64> {
        let told = |field| self.told(field, &number);
        let octets = |field| octets(told(field));
        let number = |field| number(told(field));
        let algorithm = self.algorithm.map_or(algorithm::NONE, number);
        let count_based = || {
            let (sampled, space) = (number(self.packet_interval?), number(self.packet_space?));
            (sampled > 0).then(|| ratio(sampled.saturating_add(space), sampled))
        };
        let n_out_of_n = || {
            let (size, population) = (number(self.size?), number(self.population?));
            (size > 0 && population >= size).then(|| ratio(population, size))
        };
        let probabilistic = || {
            let probability = float(octets(self.probability?))?;
            let is_one = probability > 0.0 && probability <= 1.0;
            is_one.then(|| (1.0 / probability).round() as u64)
        };
        let chosen = match algorithm {
            algorithm::COUNT_BASED => count_based(),
            algorithm::N_OUT_OF_N => n_out_of_n(),
            algorithm::PROBABILISTIC => probabilistic(),
            _ => None,
        };
        // Of an algorithm that filters or hashes, 311 is no share of all packets.
        let may_be_probability = matches!(algorithm, algorithm::NONE | algorithm::PROBABILISTIC);
        let plain = |field: Option<u16>| field.map(number).filter(|interval| *interval > 0);
        chosen
            .or_else(count_based)
            .or_else(n_out_of_n)
            .or_else(|| may_be_probability.then(probabilistic).flatten())
            .or_else(|| plain(self.sampler_interval))
            .or_else(|| plain(self.interval))
            // Without 306, 305 should be how many are taken in a row, but many exporters mean one in so many.
            .or_else(|| {
                let alone = self.packet_space.is_none();
                plain(self.packet_interval).filter(|interval| alone && *interval > 1)
            })
    }

    /// The interfaces that a record may have been metered at, the likelier one first: at the output of a flow
    /// metered on its way out, else at its input.
    #[inline(never)]
    fn interfaces(&self, number: impl Fn(u16) -> u64) -> [Option<u64>; 2] {
        let index = |fields: &[Option<u16>; 2]| {
            let fields = fields.iter().flatten();
            let mut indexes = fields.map(|field| number(self.told(*field, &number)));
            indexes.find(|index| *index != 0)
        };
        let (input, output) = (index(&self.input), index(&self.output));
        match self.egress(&number) {
            Some(true) => [output, input],
            _ => [input, output],
        }
    }

    /// Whether the direction is egress, where it is either.
    #[inline]
    pub(crate) fn egress(&self, number: impl Fn(u16) -> u64) -> Option<bool> {
        match number(self.told(self.direction?, &number)) {
            INGRESS => Some(false),
            EGRESS => Some(true),
            _ => None,
        }
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

/// What is written of counts besides themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scaling {
    /// `NETFLOW_SCALE_SAMPLED`: counts are multiplied by it.
    pub(crate) factor: Option<u64>,
    /// Counts times it are estimates, in attributes of their own.
    pub(crate) estimate: Option<u64>,
}

/// A count multiplied by the interval, at most 2^63 - 1.
#[inline]
pub(crate) fn scaled(value: u64, interval: u64) -> u64 {
    value.saturating_mul(interval).min(i64::MAX.cast_unsigned())
}

/// `NETFLOW_SAMPLING_OVERRIDE` for one exporter.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConfiguredSampling {
    /// For flows of any other interface.
    pub(crate) all: Option<u64>,
    /// Interfaces and their intervals: as few as the setting names.
    pub(crate) interfaces: Box<[(u64, u64)]>,
}

impl ConfiguredSampling {
    /// The interval of a flow; `interfaces` are those that it may have been metered at, the likelier one first.
    #[inline]
    pub(crate) fn interval(&self, interfaces: impl FnOnce() -> [Option<u64>; 2]) -> Option<u64> {
        if self.interfaces.is_empty() {
            return self.all;
        }
        let configured = |index: &u64| {
            let mut items = self.interfaces.iter();
            items
                .find(|(interface, _)| interface == index)
                .map(|(_, interval)| *interval)
        };
        let interfaces = interfaces();
        interfaces
            .iter()
            .flatten()
            .find_map(configured)
            .or(self.all)
    }

    /// One of them, for people.
    pub(crate) fn any(&self) -> Option<u64> {
        let first = self.interfaces.first().map(|(_, interval)| *interval);
        self.all.or(first)
    }
}

/// What is known of sampling when a Set is read.
#[derive(Clone, Copy)]
pub(crate) struct Sampling<'a> {
    configured: &'a ConfiguredSampling,
    /// Of the Set's records.
    template: u16,
    /// v5.
    header: Option<u64>,
    options: DomainMetadata<'a>,
    /// Options data have said something of sampling.
    is_announced: bool,
}

impl<'a> Sampling<'a> {
    pub(crate) fn new(
        configured: &'a ConfiguredSampling,
        header: &Header,
        template: u16,
        options: DomainMetadata<'a>,
    ) -> Self {
        let header = header
            .sampling
            .map(|sampling| u64::from(sampling.interval))
            .filter(|interval| *interval > 0);
        Self {
            configured,
            template,
            header,
            is_announced: options.knows_sampling(),
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
        if let Some(interval) = self.configured.interval(|| plan.interfaces(&number)) {
            return Some((interval, Origin::Config));
        }
        if let Some(interval) = plan.interval(&number, octets) {
            return Some((interval, Origin::Record));
        }
        if let Some(interval) = self.header {
            return Some((interval, Origin::Header));
        }
        if !self.is_announced {
            return None;
        }
        let record = Metered {
            id: plan.sampler(&number),
            interfaces: plan.interfaces(&number),
            egress: plan.egress(&number),
            template: self.template,
        };
        let Sampler { interval } = self.options.sampler(&record)?;
        Some((interval, Origin::Options))
    }
}

#[cfg(test)]
mod tests {
    use netflow_wire::{FieldSpecifier, Location, Version};

    use super::*;
    use crate::exporter::metadata::{ExporterMetadata, Scope};

    /// Calls `with` with the plan of a record of (element, octets, value), and what reads its fields.
    fn record<T>(
        fields: &[(u16, u16, u64)],
        with: impl FnOnce(&RecordSampling, &dyn Fn(u16) -> u64, &dyn Fn(u16) -> &'static [u8]) -> T,
    ) -> T {
        let specifiers: Vec<_> = fields
            .iter()
            .map(|(element, length, _)| FieldSpecifier::iana(*element, *length))
            .collect();
        let template = Template::new(Version::Ipfix, 256, None, specifiers);
        let mut octets = Vec::new();
        for (_, length, value) in fields {
            octets.extend(&value.to_be_bytes()[8 - usize::from(*length)..]);
        }
        let octets: &'static [u8] = octets.leak();
        let mut locations = Vec::new();
        template.locate(octets, &mut locations).unwrap();
        let field = |field: u16| -> &'static [u8] {
            locations
                .get(usize::from(field))
                .map_or(&[], |at: &Location| at.of(octets))
        };
        with(
            &RecordSampling::new(&template),
            &|at| unsigned(field(at)),
            &field,
        )
    }

    fn interval(fields: &[(u16, u16, u64)]) -> Option<u64> {
        record(fields, |plan, number, octets| plan.interval(number, octets))
    }

    /// 305, 306, 309, 310 and 311, as IOS-XR sends all of them, behind an algorithm.
    fn every_parameter(algorithm: u64) -> Option<u64> {
        interval(&[
            (304, 2, algorithm),
            (305, 4, 1),
            (306, 4, 99),
            (309, 4, 2),
            (310, 4, 1024),
            (311, 8, (1.0_f64 / 256.0).to_bits()),
        ])
    }

    #[test]
    fn the_algorithm_chooses_the_parameters() {
        assert_eq!(every_parameter(1), Some(100));
        assert_eq!(every_parameter(3), Some(512));
        assert_eq!(every_parameter(4), Some(256));
        // As without an algorithm.
        for other in [0, 2, 5, 6, 9, 300] {
            assert_eq!(every_parameter(other), Some(100), "{other}");
        }
    }

    #[test]
    fn a_chosen_parameter_that_says_nothing_yields() {
        assert_eq!(
            interval(&[(304, 2, 3), (309, 4, 0), (310, 4, 0), (34, 4, 50)]),
            Some(50)
        );
        // 1 of 304 without 306.
        assert_eq!(interval(&[(304, 2, 1), (305, 4, 100)]), Some(100));
        assert_eq!(interval(&[(304, 2, 1), (305, 4, 1)]), None);
        assert_eq!(
            interval(&[(304, 2, 1), (305, 4, 1), (310, 4, 64), (309, 4, 1)]),
            Some(64)
        );
    }

    #[test]
    fn without_an_algorithm_the_first_that_says_something_holds() {
        assert_eq!(interval(&[(34, 4, 0), (50, 4, 100)]), Some(100));
        assert_eq!(interval(&[(34, 4, 10), (50, 4, 100)]), Some(100));
        assert_eq!(interval(&[(34, 4, 10), (50, 4, 0)]), Some(10));
        assert_eq!(interval(&[(305, 4, 100), (34, 4, 10)]), Some(10));
        assert_eq!(
            interval(&[(305, 4, 1), (306, 4, 9), (309, 4, 1), (310, 4, 50)]),
            Some(10)
        );
        assert_eq!(interval(&[(305, 4, 3), (306, 4, 7)]), Some(3));
        // Of whole flows.
        assert_eq!(interval(&[(390, 2, 1), (396, 4, 1), (397, 4, 9)]), Some(10));
        assert_eq!(
            interval(&[(390, 2, 3), (309, 4, 1), (310, 4, 64)]),
            Some(64)
        );
        // More of them than there are.
        assert_eq!(interval(&[(309, 4, 50), (310, 4, 10)]), None);
        assert_eq!(interval(&[(8, 4, 1)]), None);
    }

    #[test]
    fn a_probability_is_an_interval_unless_the_algorithm_filters() {
        let of = |probability: f64| (311, 8, probability.to_bits());
        assert_eq!(interval(&[of(0.01)]), Some(100));
        assert_eq!(
            interval(&[(311, 4, u64::from(0.001_f32.to_bits()))]),
            Some(1000)
        );
        for probability in [0.0, -1.0, 1.5, f64::NAN] {
            assert_eq!(interval(&[of(probability)]), None);
        }
        assert_eq!(interval(&[(304, 2, 5), of(0.01)]), None);
    }

    #[test]
    fn a_record_was_metered_at_its_input_unless_its_direction_is_egress() {
        let interfaces =
            |fields: &[(u16, u16, u64)]| record(fields, |plan, number, _| plan.interfaces(number));
        assert_eq!(interfaces(&[(10, 4, 1), (14, 4, 2)]), [Some(1), Some(2)]);
        assert_eq!(
            interfaces(&[(10, 4, 1), (14, 4, 2), (61, 1, 1)]),
            [Some(2), Some(1)]
        );
        // Physical interfaces stand in for those that are 0.
        assert_eq!(
            interfaces(&[(10, 4, 0), (252, 4, 7), (253, 4, 8)]),
            [Some(7), Some(8)]
        );
        assert_eq!(interfaces(&[(8, 4, 1)]), [None, None]);
    }

    #[test]
    fn a_zero_interval_of_the_record_leaves_what_options_said() {
        let mut metadata = ExporterMetadata::default();
        let sampler = Sampler { interval: 1000 };
        metadata.learn(0, |known| known.sample(Scope::default(), sampler));
        let header = Header {
            version: Version::Ipfix,
            count: 0,
            sys_uptime_ms: None,
            export_time: 0,
            sequence: None,
            observation_domain: 0,
            sampling: None,
        };
        let of_record = |all, fields: &[(u16, u16, u64)]| {
            let configured = ConfiguredSampling {
                all,
                interfaces: [(5, 70)].into(),
            };
            let sampling = Sampling::new(&configured, &header, 256, metadata.of(0));
            record(fields, |plan, number, octets| {
                sampling.of_record(plan, number, octets)
            })
        };
        assert_eq!(
            of_record(None, &[(34, 4, 0)]),
            Some((1000, Origin::Options))
        );
        assert_eq!(of_record(None, &[(34, 4, 64)]), Some((64, Origin::Record)));
        assert_eq!(
            of_record(Some(7), &[(34, 4, 64)]),
            Some((7, Origin::Config))
        );
        assert_eq!(
            of_record(None, &[(34, 4, 64), (10, 4, 5)]),
            Some((70, Origin::Config))
        );
    }
}
