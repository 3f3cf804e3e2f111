use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::syntax::{AddressRange, Ends, Expr, Term};
use super::super::view::{Address, Name, Number, Place};
use super::super::words::{Form, Subject, WORDS};
use super::plain::{self, Flow};
use super::{Filter, printed};

/// Every number that words ask for, and how it is written.
fn asked() -> Vec<(Ends<Number>, Form)> {
    let subjects = WORDS.iter().map(|(_, subject)| *subject);
    let ends = subjects.flat_map(|subject| match subject {
        Subject::Single(number, form) => vec![(Ends::One(number), form)],
        Subject::Pair(first, second, _, form) => vec![
            (Ends::One(first), form),
            (Ends::One(second), form),
            (Ends::Either(first, second), form),
            (Ends::Both(first, second), form),
        ],
        _ => Vec::new(),
    });
    ends.collect()
}

/// Few values, so that flows and filters meet; and their edges.
fn value(form: Form) -> BoxedStrategy<u64> {
    match form {
        Form::Plain(max) => select(vec![0, 1, 2, 22, 23, max - 1, max]).boxed(),
        Form::Scaled => select(vec![0, 1, 999, 1_000, 1_001, 8_000, u64::MAX - 1]).boxed(),
        Form::Duration => select(vec![0, 1, 2, 1_000])
            .prop_map(|ms| ms * 1_000_000)
            .boxed(),
        Form::Protocol => select(vec![0, 1, 6, 17, 58, 255]).boxed(),
        Form::Dscp => select(vec![0, 1, 46, 63]).boxed(),
        Form::Mac => select(vec![0, 1, 0x0053_0000_0001, 0xffff_ffff_ffff]).boxed(),
        Form::Direction => (0..=1_u64).boxed(),
        Form::Version => select(vec![1, 5, 9, 10]).boxed(),
    }
}

fn range(form: Form) -> BoxedStrategy<RangeInclusive<u64>> {
    let between = (value(form), value(form)).prop_map(|(a, b)| a.min(b)..=a.max(b));
    match form {
        // Not written as ranges.
        Form::Mac => value(form).prop_map(|value| value..=value).boxed(),
        _ => prop_oneof![
            value(form).prop_map(|value| value..=value),
            between,
            value(form).prop_map(|from| from..=u64::MAX),
        ]
        .boxed(),
    }
}

fn number_term() -> impl Strategy<Value = Term> {
    select(asked()).prop_flat_map(|(of, form)| {
        let ranges = vec(range(form), 1..4).prop_map(|ranges| {
            // Open ends are only written alone.
            let open = ranges
                .iter()
                .find(|range| *range.end() == u64::MAX)
                .cloned();
            open.map_or(ranges, |open| vec![open])
        });
        ranges.prop_map(move |ranges| Term::Number(of, ranges))
    })
}

fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = select(vec![0, 1, 0x0a00_0001, 0x0a00_0002, 0x0aff_ffff, u32::MAX])
        .prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits)));
    let v6 = select(vec![
        0,
        1,
        0x0a00_0001,
        0xffff_0a00_0001,
        0x2001_0db8 << 96,
        u128::MAX,
    ])
    .prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)));
    prop_oneof![v4, v6]
}

fn address_range() -> impl Strategy<Value = AddressRange> {
    (address(), address()).prop_map(|(one, other)| {
        let (one, other) = (Address::from(one), Address::from(other));
        let other = if one.is_v6 == other.is_v6 { other } else { one };
        let (from, to) = if one.bits <= other.bits {
            (one, other)
        } else {
            (other, one)
        };
        AddressRange { from, to: to.bits }
    })
}

fn ends<T: Copy + std::fmt::Debug>(first: T, second: T) -> impl Strategy<Value = Ends<T>> {
    prop_oneof![
        Just(Ends::One(first)),
        Just(Ends::One(second)),
        Just(Ends::Either(first, second)),
        Just(Ends::Both(first, second)),
    ]
}

fn network_name() -> impl Strategy<Value = String> {
    select(vec!["office", "data centre", "and", "10.0.0.0/8"]).prop_map(str::to_owned)
}

fn tree() -> impl Strategy<Value = Expr> {
    let place = prop_oneof![
        ends(Place::Source, Place::Destination),
        Just(Ends::One(Place::Exporter)),
        Just(Ends::One(Place::NextHop)),
    ];
    let term = prop_oneof![
        4 => number_term(),
        1 => (1..=255_u64).prop_map(|mask| Term::Bits(Number::TcpFlags, mask)),
        2 => (place, vec(address_range(), 1..4)).prop_map(|(of, ranges)| Term::Address(of, ranges)),
        1 => (ends(Name::SourceNetwork, Name::DestinationNetwork), vec(network_name(), 1..3))
            .prop_map(|(of, names)| Term::Network(of, names.into_iter().map(Into::into).collect())),
    ];
    let leaf = prop_oneof![20 => term.prop_map(Expr::Term), 1 => Just(Expr::Any)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| Expr::Not(Box::new(inner))),
            vec(inner.clone(), 2..5).prop_map(Expr::And),
            vec(inner, 2..5).prop_map(Expr::Or),
        ]
    })
}

/// Each number is there or not.
fn flow() -> impl Strategy<Value = Flow> {
    let stored = asked().into_iter().filter_map(|(of, form)| match of {
        Ends::One(number) if (number as usize) < Number::BitsPerSecond as usize => {
            Some((number, form))
        }
        _ => None,
    });
    let numbers: Vec<_> = stored
        .map(|(number, form)| {
            prop::option::weighted(0.8, value(form)).prop_map(move |value| Some((number, value?)))
        })
        .collect();
    let flags = prop::option::of(0..=255_u64);
    let optional = || prop::option::weighted(0.8, address());
    let addresses = (optional(), optional(), optional(), optional());
    let names = (
        prop::option::of(network_name()),
        prop::option::of(network_name()),
    );
    (numbers, flags, addresses, names).prop_map(|(numbers, flags, addresses, names)| {
        let mut numbers: Vec<_> = numbers.into_iter().flatten().collect();
        numbers.extend(flags.map(|flags| (Number::TcpFlags, flags)));
        let (source, destination, exporter, hop) = addresses;
        let addresses = [
            (Place::Source, source),
            (Place::Destination, destination),
            (Place::Exporter, exporter),
            (Place::NextHop, hop),
        ];
        let names = [
            (Name::SourceNetwork, names.0),
            (Name::DestinationNetwork, names.1),
        ];
        Flow {
            numbers,
            addresses: addresses
                .into_iter()
                .filter_map(|(place, at)| Some((place, at?)))
                .collect(),
            names: names
                .into_iter()
                .filter_map(|(name, of)| Some((name, of?)))
                .collect(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compiled_filters_agree_with_the_syntax_tree(tree in tree(), flows in vec(flow(), 8)) {
        let text = printed::text(&tree);
        let filter: Filter = match text.parse() {
            Ok(filter) => filter,
            Err(error) => return Err(TestCaseError::fail(format!("{text}: {error}"))),
        };
        for flow in &flows {
            let holds = plain::holds(&tree, flow);
            prop_assert_eq!(filter.matches(&flow.view()), holds, "{}\n{:?}", text, flow);
            let asked = filter.asked();
            let mut needed = flow.clone();
            needed.numbers.retain(|(number, _)| asked.asks(*number));
            needed.addresses.retain(|(place, _)| asked.asks_address(*place));
            prop_assert_eq!(filter.matches(&needed.view()), holds, "{}\n{:?}", text, needed);
        }
    }

    #[test]
    fn any_text_is_a_filter_or_an_error_with_a_place(text in "[ -~\\n\u{e4}]{0,60}") {
        if let Err(error) = text.parse::<Filter>() {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.column()));
            prop_assert!(error.mark(&text).contains('^'));
        }
    }

    #[test]
    fn any_words_are_a_filter_or_an_error_with_a_place(
        words in vec(select(WORDS.iter().flat_map(|(words, _)| words.iter().copied()).chain([
            "src", "dst", "in", "out", "not", "and", "or", "(", ")", "[", "]", ",", "=", "<", ">=", "!", "!=",
            "80", "1-2", "1k", "10.0.0.0/8", "::1", "tcp", "SA", "'x'",
        ]).collect::<Vec<_>>()), 0..14),
    ) {
        let text = words.join(" ");
        if let Err(error) = text.parse::<Filter>() {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.column()));
        }
    }
}
