//! A syntax tree as text.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::super::syntax::{AddressRange, Ends, Expr, Term};
use super::super::view::{Name, Number, Place};
use super::super::words::{Form, Sides, Subject, WORDS};

pub(super) fn text(tree: &Expr) -> String {
    let joined = |parts: &[Expr], word: &str| {
        let parts: Vec<String> = parts
            .iter()
            .map(|part| format!("({})", text(part)))
            .collect();
        parts.join(word)
    };
    match tree {
        Expr::Any => "any".to_owned(),
        Expr::Not(inner) => format!("not ({})", text(inner)),
        Expr::And(parts) => joined(parts, " and "),
        Expr::Or(parts) => joined(parts, " or "),
        Expr::Term(term) => of_term(term),
    }
}

fn of_term(term: &Term) -> String {
    match term {
        Term::Number(of, ranges) => {
            let (word, form) = word(of);
            match ranges.as_slice() {
                [range] if *range.end() == u64::MAX => {
                    format!("{word} >= {}", value(*range.start(), form))
                }
                [range] if *range.start() == 0 && form != Form::Mac => {
                    format!("{word} <= {}", value(*range.end(), form))
                }
                [range] => format!("{word} {}", one(range, form)),
                ranges => {
                    let ranges: Vec<String> = ranges.iter().map(|range| one(range, form)).collect();
                    format!("{word} in [{}]", ranges.join(", "))
                }
            }
        }
        Term::Bits(_, mask) => {
            let letters = "FSRPAUEC".chars().enumerate();
            let letters = letters.filter(|(bit, _)| mask >> bit & 1 == 1);
            format!(
                "flags {}",
                letters.map(|(_, letter)| letter).collect::<String>()
            )
        }
        Term::Address(of, ranges) => {
            let ranges: Vec<String> = ranges.iter().map(addresses).collect();
            let word = match of {
                Ends::One(Place::Exporter) => "exporter",
                Ends::One(Place::NextHop) => "nexthop",
                Ends::One(Place::Source) => "src ip",
                Ends::One(Place::Destination) => "dst ip",
                Ends::Either(..) => "ip",
                Ends::Both(..) => "src and dst ip",
            };
            format!("{word} in [{}]", ranges.join(" "))
        }
        Term::Network(of, names) => {
            let side = match of {
                Ends::One(Name::SourceNetwork) => "src ",
                Ends::One(Name::DestinationNetwork) => "dst ",
                Ends::Either(..) => "",
                Ends::Both(..) => "src and dst ",
            };
            format!("{side}network in ['{}']", names.join("', '"))
        }
    }
}

fn word(of: &Ends<Number>) -> (String, Form) {
    let (first, side) = match *of {
        Ends::One(number) => (number, None),
        Ends::Either(first, _) => (first, Some("")),
        Ends::Both(first, _) => (first, Some("and")),
    };
    let known = WORDS.iter().find_map(|(words, subject)| match *subject {
        Subject::Single(number, form) if number == first => Some((words[0].to_owned(), form)),
        Subject::Pair(a, b, sides, form) if a == first || b == first => {
            let names = if sides == Sides::Interfaces {
                ["in", "out"]
            } else {
                ["src", "dst"]
            };
            let side = match side {
                Some("") => String::new(),
                Some(_) => format!("{} and {} ", names[0], names[1]),
                None => format!("{} ", names[usize::from(b == first)]),
            };
            Some((format!("{side}{}", words[0]), form))
        }
        _ => None,
    });
    known.expect("every number has a word")
}

fn one(range: &RangeInclusive<u64>, form: Form) -> String {
    match range.start() == range.end() {
        true => value(*range.start(), form),
        false => format!(
            "{}-{}",
            value(*range.start(), form),
            value(*range.end(), form)
        ),
    }
}

fn value(value: u64, form: Form) -> String {
    match form {
        Form::Mac => {
            let octets: Vec<String> = value.to_be_bytes()[2..]
                .iter()
                .map(|octet| format!("{octet:02x}"))
                .collect();
            octets.join(":")
        }
        // Only whole milliseconds are made.
        Form::Duration => (value / 1_000_000).to_string(),
        Form::Scaled if value > 0 && value.is_multiple_of(1_000) => format!("{}k", value / 1_000),
        _ => value.to_string(),
    }
}

fn addresses(range: &AddressRange) -> String {
    let text = |bits: u128| match range.from.is_v6 {
        true => Ipv6Addr::from_bits(bits).to_string(),
        false => Ipv4Addr::from_bits(bits as u32).to_string(),
    };
    match range.from.bits == range.to {
        true => text(range.to),
        false => format!("{}-{}", text(range.from.bits), text(range.to)),
    }
}
