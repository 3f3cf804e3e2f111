//! A syntax tree compiled to comparisons in a row, each of which leaves the row at one of its outcomes: no stack, no
//! recursion, no allocation.

use std::ops::RangeInclusive;

use super::syntax::{AddressRange, Ends, Expr, Term};
use super::view::{Address, FlowView, Name, Number, Place};

/// A program's ends, beyond any instruction.
const MATCH: u16 = u16::MAX;
const NO_MATCH: u16 = u16::MAX - 1;
const MAX_INSTRUCTIONS: usize = 60_000;

/// The next instruction follows, unless the test's outcome is `leaves_if`: a branch that the processor predicts.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    test: Test,
    leaves_if: bool,
    /// Only ever further on, so that every program ends.
    target: u16,
}

#[derive(Clone, Copy, Debug)]
enum Test {
    /// A number that the flow carries, which is most of them.
    Stored(Number, u64, u64),
    /// Any number.
    Number(Number, u64, u64),
    /// A stretch of `Program::numbers`.
    Numbers(Number, u32, u32),
    Bits(Number, u64),
    Address(Place, Address, u128),
    /// Stretches of `Program::addresses`, of IPv4 and IPv6.
    Addresses(Place, (u32, u32), (u32, u32)),
    /// One of `Program::names`.
    Name(Name, u32),
    /// Never holds: a jump.
    Never,
}

/// A filter, ready to run.
#[derive(Clone, Debug)]
pub(super) struct Program {
    code: Box<[Instruction]>,
    start: u16,
    /// Ranges in ascending order, apart from each other, of each list.
    numbers: Box<[(u64, u64)]>,
    addresses: Box<[(u128, u128)]>,
    names: Box<[Box<str>]>,
}

impl Program {
    /// `None`: it would be too long.
    pub(super) fn compile(tree: &Expr) -> Option<Self> {
        let mut compiler = Compiler::default();
        let start = compiler.expression(tree, MATCH, NO_MATCH)?;
        // Made from the end to the beginning.
        let last = u16::try_from(compiler.code.len()).ok()?.wrapping_sub(1);
        let turned = |to: u16| if to >= NO_MATCH { to } else { last - to };
        let code = compiler.code.iter().rev().map(|instruction| Instruction {
            target: turned(instruction.target),
            ..*instruction
        });
        Some(Self {
            code: code.collect(),
            start: turned(start),
            numbers: compiler.numbers.into(),
            addresses: compiler.addresses.into(),
            names: compiler.names.into(),
        })
    }

    #[inline]
    pub(super) fn matches(&self, flow: &FlowView<'_>) -> bool {
        let mut to = self.start;
        loop {
            let Some(row) = self.code.get(usize::from(to)..) else {
                return to == MATCH;
            };
            // Behind the last instruction nothing matches.
            let Some(left) = row
                .iter()
                .find(|instruction| self.holds(&instruction.test, flow) == instruction.leaves_if)
            else {
                return false;
            };
            to = left.target;
        }
    }

    #[inline]
    fn holds(&self, test: &Test, flow: &FlowView<'_>) -> bool {
        match *test {
            Test::Stored(number, from, to) => flow
                .stored(number)
                .is_some_and(|value| from <= value && value <= to),
            Test::Number(number, from, to) => flow
                .number(number)
                .is_some_and(|value| from <= value && value <= to),
            Test::Numbers(number, from, to) => flow
                .number(number)
                .is_some_and(|value| is_in(&self.numbers, (from, to), value)),
            Test::Bits(number, mask) => flow
                .number(number)
                .is_some_and(|value| value & mask == mask),
            Test::Address(place, from, to) => flow.address(place).is_some_and(|address| {
                address.is_v6 == from.is_v6 && from.bits <= address.bits && address.bits <= to
            }),
            Test::Addresses(place, v4, v6) => flow.address(place).is_some_and(|address| {
                let stretch = if address.is_v6 { v6 } else { v4 };
                is_in(&self.addresses, stretch, address.bits)
            }),
            Test::Name(name, index) => {
                let wanted = self.names.get(index as usize).map(|name| &**name);
                wanted.is_some() && flow.name(name) == wanted
            }
            Test::Never => false,
        }
    }
}

/// Whether a value lies in one of the ranges of a stretch.
fn is_in<T: Ord + Copy>(ranges: &[(T, T)], (from, to): (u32, u32), value: T) -> bool {
    let ranges = ranges.get(from as usize..to as usize).unwrap_or_default();
    let behind = ranges.partition_point(|(from, _)| *from <= value);
    behind
        .checked_sub(1)
        .and_then(|index| ranges.get(index))
        .is_some_and(|(_, to)| value <= *to)
}

#[derive(Default)]
struct Compiler {
    /// The last instruction first.
    code: Vec<Instruction>,
    numbers: Vec<(u64, u64)>,
    addresses: Vec<(u128, u128)>,
    names: Vec<Box<str>>,
}

impl Compiler {
    /// Where to begin, to end at `then` or `otherwise`.
    fn expression(&mut self, tree: &Expr, then: u16, otherwise: u16) -> Option<u16> {
        match tree {
            Expr::Any => Some(then),
            Expr::Not(inner) => self.expression(inner, otherwise, then),
            Expr::And(parts) => parts
                .iter()
                .rev()
                .try_fold(then, |next, part| self.expression(part, next, otherwise)),
            Expr::Or(parts) => parts
                .iter()
                .rev()
                .try_fold(otherwise, |next, part| self.expression(part, then, next)),
            Expr::Term(Term::Number(of, ranges)) => {
                self.ends(*of, then, otherwise, |compiler, number, then, otherwise| {
                    compiler.numbers(number, ranges, then, otherwise)
                })
            }
            Expr::Term(Term::Bits(number, mask)) => {
                self.emit(Test::Bits(*number, *mask), then, otherwise)
            }
            Expr::Term(Term::Address(of, ranges)) => {
                self.ends(*of, then, otherwise, |compiler, place, then, otherwise| {
                    compiler.addresses(place, ranges, then, otherwise)
                })
            }
            Expr::Term(Term::Network(of, names)) => {
                self.ends(*of, then, otherwise, |compiler, name, then, otherwise| {
                    names.iter().rev().try_fold(otherwise, |next, wanted| {
                        let index = u32::try_from(compiler.names.len()).ok()?;
                        compiler.names.push(wanted.clone());
                        compiler.emit(Test::Name(name, index), then, next)
                    })
                })
            }
        }
    }

    fn ends<T: Copy>(
        &mut self,
        of: Ends<T>,
        then: u16,
        otherwise: u16,
        mut one: impl FnMut(&mut Self, T, u16, u16) -> Option<u16>,
    ) -> Option<u16> {
        match of {
            Ends::One(end) => one(self, end, then, otherwise),
            Ends::Either(first, second) => {
                let next = one(self, second, then, otherwise)?;
                one(self, first, then, next)
            }
            Ends::Both(first, second) => {
                let next = one(self, second, then, otherwise)?;
                one(self, first, next, otherwise)
            }
        }
    }

    fn numbers(
        &mut self,
        number: Number,
        ranges: &[RangeInclusive<u64>],
        then: u16,
        otherwise: u16,
    ) -> Option<u16> {
        let ranges = ranges.iter().map(|range| (*range.start(), *range.end()));
        let test = match *merged(ranges, |value| value.checked_add(1)).as_slice() {
            [] => return Some(otherwise),
            [(from, to)] if number.is_stored() => Test::Stored(number, from, to),
            [(from, to)] => Test::Number(number, from, to),
            ref ranges => {
                let (from, to) = stretch(&mut self.numbers, ranges)?;
                Test::Numbers(number, from, to)
            }
        };
        self.emit(test, then, otherwise)
    }

    fn addresses(
        &mut self,
        place: Place,
        ranges: &[AddressRange],
        then: u16,
        otherwise: u16,
    ) -> Option<u16> {
        let of = |is_v6| {
            let ranges = ranges.iter().filter(move |range| range.from.is_v6 == is_v6);
            let ranges = ranges.map(|range| (range.from.bits, range.to));
            merged(ranges, |value| value.checked_add(1))
        };
        let (v4, v6) = (of(false), of(true));
        let test = match (v4.as_slice(), v6.as_slice()) {
            ([], []) => return Some(otherwise),
            ([(from, to)], []) => Test::Address(
                place,
                Address {
                    is_v6: false,
                    bits: *from,
                },
                *to,
            ),
            ([], [(from, to)]) => Test::Address(
                place,
                Address {
                    is_v6: true,
                    bits: *from,
                },
                *to,
            ),
            (v4, v6) => Test::Addresses(
                place,
                stretch(&mut self.addresses, v4)?,
                stretch(&mut self.addresses, v6)?,
            ),
        };
        self.emit(test, then, otherwise)
    }

    /// An instruction before all others.
    fn emit(&mut self, test: Test, then: u16, otherwise: u16) -> Option<u16> {
        let follows = |to: u16, code: &[Instruction]| match code.len() {
            0 => to == NO_MATCH,
            length => usize::from(to) == length - 1,
        };
        let (leaves_if, target) = if follows(otherwise, &self.code) {
            (true, then)
        } else if follows(then, &self.code) {
            (false, otherwise)
        } else {
            self.push(Test::Never, false, otherwise)?;
            (true, then)
        };
        self.push(test, leaves_if, target)
    }

    fn push(&mut self, test: Test, leaves_if: bool, target: u16) -> Option<u16> {
        if self.code.len() >= MAX_INSTRUCTIONS {
            return None;
        }
        let at = u16::try_from(self.code.len()).ok()?;
        self.code.push(Instruction {
            test,
            leaves_if,
            target,
        });
        Some(at)
    }
}

/// In ascending order, with those that touch each other made one.
fn merged<T: Ord + Copy>(
    ranges: impl Iterator<Item = (T, T)>,
    next: impl Fn(T) -> Option<T>,
) -> Vec<(T, T)> {
    let mut sorted: Vec<_> = ranges.collect();
    sorted.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(sorted.len());
    for (from, to) in sorted {
        match merged.last_mut() {
            Some((_, end)) if next(*end).is_none_or(|next| from <= next) => *end = (*end).max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// Where the values stand behind all others.
fn stretch<T: Copy>(all: &mut Vec<T>, more: &[T]) -> Option<(u32, u32)> {
    let from = u32::try_from(all.len()).ok()?;
    all.extend_from_slice(more);
    Some((from, u32::try_from(all.len()).ok()?))
}
