//! What a syntax tree means, evaluated in the plainest way: nothing is shared with the compiled program.

use std::net::IpAddr;

use super::super::syntax::{Ends, Expr, Term};
use super::super::view::{FlowView, Name, Number, Place};

/// A flow as lists of what it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    pub(super) numbers: Vec<(Number, u64)>,
    pub(super) addresses: Vec<(Place, IpAddr)>,
    pub(super) names: Vec<(Name, String)>,
}

impl Flow {
    pub(super) fn view(&self) -> FlowView<'_> {
        let mut view = FlowView::default();
        for (number, value) in &self.numbers {
            view.set(*number, *value);
        }
        for (place, address) in &self.addresses {
            view.set_address(*place, (*address).into());
        }
        for (name, value) in &self.names {
            view.set_name(*name, value);
        }
        view
    }

    fn number(&self, wanted: Number) -> Option<u64> {
        let find = |wanted| {
            let found = self.numbers.iter().find(|(number, _)| *number == wanted);
            found.map(|(_, value)| *value)
        };
        let rate = |count: Option<u64>, factor: u128| match (count, find(Number::Duration)) {
            (Some(count), Some(nanos @ 1..)) => {
                let rate = u128::from(count) * factor * 1_000_000_000 / u128::from(nanos);
                Some(rate.min(u128::from(u64::MAX)) as u64)
            }
            _ => None,
        };
        match wanted {
            Number::Dscp => find(Number::Dscp).or_else(|| Some(find(Number::Tos)? / 4)),
            Number::BitsPerSecond => rate(find(Number::Bytes), 8),
            Number::PacketsPerSecond => rate(find(Number::Packets), 1),
            Number::BytesPerPacket => find(Number::Bytes)?.checked_div(find(Number::Packets)?),
            Number::TcpFlags if find(Number::Protocol).is_some_and(|number| number != 6) => None,
            stored => find(stored),
        }
    }

    fn address(&self, wanted: Place) -> Option<IpAddr> {
        let found = self.addresses.iter().find(|(place, _)| *place == wanted);
        found.map(|(_, address)| *address)
    }

    fn name(&self, wanted: Name) -> Option<&str> {
        let found = self.names.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.as_str())
    }
}

pub(super) fn holds(tree: &Expr, flow: &Flow) -> bool {
    match tree {
        Expr::Any => true,
        Expr::Not(inner) => !holds(inner, flow),
        Expr::And(parts) => parts.iter().all(|part| holds(part, flow)),
        Expr::Or(parts) => parts.iter().any(|part| holds(part, flow)),
        Expr::Term(Term::Number(of, ranges)) => at(of, |number| {
            let value = flow.number(number);
            value.is_some_and(|value| ranges.iter().any(|range| range.contains(&value)))
        }),
        Expr::Term(Term::Bits(number, mask)) => {
            let value = flow.number(*number);
            value.is_some_and(|value| {
                (0..64).all(|bit| mask >> bit & 1 == 0 || value >> bit & 1 == 1)
            })
        }
        Expr::Term(Term::Address(of, ranges)) => at(of, |place| {
            ranges.iter().any(|range| match flow.address(place) {
                Some(IpAddr::V4(address)) => {
                    let value = u128::from(u32::from(address));
                    !range.from.is_v6 && (range.from.bits..=range.to).contains(&value)
                }
                Some(IpAddr::V6(address)) => {
                    let value = u128::from(address);
                    range.from.is_v6 && (range.from.bits..=range.to).contains(&value)
                }
                None => false,
            })
        }),
        Expr::Term(Term::Network(of, wanted)) => at(of, |name| {
            let known = flow.name(name);
            known.is_some_and(|known| wanted.iter().any(|wanted| **wanted == *known))
        }),
    }
}

fn at<T: Copy>(ends: &Ends<T>, holds: impl Fn(T) -> bool) -> bool {
    match *ends {
        Ends::One(one) => holds(one),
        Ends::Either(first, second) => holds(first) || holds(second),
        Ends::Both(first, second) => holds(first) && holds(second),
    }
}
