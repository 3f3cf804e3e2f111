//! A comparison: what is compared, how, and with which values.

use winnow::stream::Stream as _;

use super::error::FilterError;
use super::lexer::{Comparison, Kind, Token};
use super::parser::{Parsed, Tokens, stop};
use super::syntax::{Ends, Expr, Term};
use super::values;
use super::view::{Address, Name, Number, Place};
use super::words::{self, OTHERS, Sides, Subject, WORDS};

const END: Token<'static> = Token {
    kind: Kind::End,
    text: "",
    column: 1,
};

const TERM: &str = "a comparison such as \"src net 10.0.0.0/8\", \"port 443\" or \"bytes > 1m\"";

/// Which ends of a flow a comparison is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    First,
    Second,
    Either,
    Both,
}

impl Side {
    fn of<T>(self, first: T, second: T) -> Ends<T> {
        match self {
            Self::First => Ends::One(first),
            Self::Second => Ends::One(second),
            Self::Either => Ends::Either(first, second),
            Self::Both => Ends::Both(first, second),
        }
    }
}

/// The word before a comparison that says which end is meant, as it was written.
struct Before<'t> {
    side: Side,
    sides: Sides,
    token: Token<'t>,
}

fn peek<'t>(input: &Tokens<'_, 't>) -> Token<'t> {
    input.peek_token().copied().unwrap_or(END)
}

fn peek_second<'t>(input: &Tokens<'_, 't>) -> Token<'t> {
    input.get(1).copied().unwrap_or(END)
}

/// The next token; the end stays.
fn take<'t>(input: &mut Tokens<'_, 't>) -> Token<'t> {
    let token = peek(input);
    if token.kind != Kind::End {
        input.next_token();
    }
    token
}

/// One comparison.
pub(super) fn term(input: &mut Tokens<'_, '_>) -> Parsed<Expr> {
    let before = before(input);
    let token = take(input);
    let Some(subject) = subject(&token, input) else {
        return match (&before, values::protocol_name(token.text)) {
            (None, Some(number)) if token.kind == Kind::Word => {
                let number = u64::from(number);
                Ok(Expr::Term(Term::Number(
                    Ends::One(Number::Protocol),
                    vec![number..=number],
                )))
            }
            _ => stop(unknown(&token, before.as_ref())),
        };
    };
    let side = match (&before, subject) {
        (None, _) => Side::Either,
        (Some(before), Subject::Pair(.., sides, _)) if sides.allows(before.sides) => before.side,
        (Some(before), Subject::Host | Subject::Net | Subject::Network)
            if before.sides == Sides::Ends =>
        {
            before.side
        }
        (Some(before), subject) => return stop(misplaced(before, subject, &token)),
    };
    match subject {
        Subject::Any => Ok(Expr::Any),
        Subject::Family(is_v6) => Ok(Expr::Term(Term::Address(
            Ends::Either(Place::Source, Place::Destination),
            vec![values::whole_family(is_v6)],
        ))),
        Subject::Host => addresses(input, side.of(Place::Source, Place::Destination), false),
        Subject::Net => addresses(input, side.of(Place::Source, Place::Destination), true),
        Subject::At(place) => addresses(input, Ends::One(place), false),
        Subject::Network => names(input, side),
        Subject::Pair(first, second, _, form) => numbers(input, side.of(first, second), form),
        Subject::Single(number, form) => numbers(input, Ends::One(number), form),
        Subject::Flags => flags(input),
    }
}

impl Sides {
    fn allows(self, given: Self) -> bool {
        self == Self::Any || self == given
    }
}

/// `src`, `dst`, `src or dst`, `src and dst`, `in`, `out`.
fn before<'t>(input: &mut Tokens<'_, 't>) -> Option<Before<'t>> {
    let token = peek(input);
    let (first, sides) = side(&token)?;
    input.next_token();
    let joint = peek(input);
    let both = match side(&peek_second(input)) {
        Some((second, same)) if same == sides && second != first => match joint.kind {
            _ if joint.is("and") => Some(Side::Both),
            _ if joint.is("or") => Some(Side::Either),
            Kind::And => Some(Side::Both),
            Kind::Or => Some(Side::Either),
            _ => None,
        },
        _ => None,
    };
    if both.is_some() {
        input.next_token();
        input.next_token();
    }
    Some(Before {
        side: both.unwrap_or(first),
        sides,
        token,
    })
}

fn side(token: &Token<'_>) -> Option<(Side, Sides)> {
    let known = [
        ("src", Side::First, Sides::Ends),
        ("source", Side::First, Sides::Ends),
        ("dst", Side::Second, Sides::Ends),
        ("destination", Side::Second, Sides::Ends),
        ("in", Side::First, Sides::Interfaces),
        ("out", Side::Second, Sides::Interfaces),
    ];
    let (_, side, sides) = known.iter().find(|(word, ..)| token.is(word))?;
    Some((*side, *sides))
}

/// What the word asks for; some are two words.
fn subject(token: &Token<'_>, input: &mut Tokens<'_, '_>) -> Option<Subject> {
    if token.kind != Kind::Word {
        return None;
    }
    let second = peek(input);
    let pairs = [
        ("icmp", "type", "icmp-type"),
        ("icmp", "code", "icmp-code"),
        ("next", "hop", "nexthop"),
        ("next", "ip", "nexthop"),
        ("router", "ip", "exporter"),
        ("exporter", "ip", "exporter"),
    ];
    let pair = pairs
        .iter()
        .find(|(first, behind, _)| token.is(first) && second.is(behind));
    match pair {
        Some((_, _, word)) => {
            input.next_token();
            words::subject(word)
        }
        None => words::subject(token.text),
    }
}

fn unknown(token: &Token<'_>, before: Option<&Before<'_>>) -> FilterError {
    let known = WORDS.iter().flat_map(|(names, _)| names.iter().copied());
    let expected = match before {
        Some(before) => format!(
            "{} after {:?}",
            match before.sides {
                Sides::Interfaces => "\"if\" or \"vlan\"",
                _ =>
                    "\"host\", \"net\", \"network\", \"port\", \"as\", \"mask\", \"vlan\" or \"mac\"",
            },
            before.token.text
        ),
        None => TERM.to_owned(),
    };
    if token.kind != Kind::Word {
        return FilterError::expected(expected, token);
    }
    let meant = words::nearest(token.text, known.chain(OTHERS.iter().copied()));
    let meant = meant.map(str::to_owned).or_else(|| instead(token.text));
    match meant {
        Some(meant) => FilterError::at(
            token,
            format!(
                "{:?} is not a word of the filter language; did you mean {meant:?}?",
                token.text
            ),
        ),
        None => FilterError::expected(expected, token),
    }
}

/// What a value on its own is probably a value of.
fn instead(word: &str) -> Option<String> {
    if values::single_address(word).is_some() {
        Some(format!("host {word}"))
    } else if values::prefix(word).is_some() {
        Some(format!("net {word}"))
    } else {
        None
    }
}

fn misplaced(before: &Before<'_>, subject: Subject, token: &Token<'_>) -> FilterError {
    let (word, given) = (token.text, before.token.text);
    let message = match subject {
        Subject::Pair(_, _, Sides::Interfaces, _) => {
            format!("interfaces are \"in {word}\" and \"out {word}\", not {given:?}")
        }
        Subject::Pair(..) | Subject::Host | Subject::Net | Subject::Network => {
            format!("the ends of a flow are \"src {word}\" and \"dst {word}\", not {given:?}")
        }
        _ => format!("a flow has one {word:?}: leave {given:?} out"),
    };
    FilterError::at(&before.token, message)
}

/// How values are compared, and whether they stand between brackets.
fn comparison<'t>(input: &mut Tokens<'_, 't>) -> Parsed<(Comparison, bool, Option<Token<'t>>)> {
    let words = [
        ("eq", Comparison::Equal),
        ("ne", Comparison::NotEqual),
        ("lt", Comparison::Less),
        ("le", Comparison::LessOrEqual),
        ("gt", Comparison::Greater),
        ("ge", Comparison::GreaterOrEqual),
    ];
    let token = peek(input);
    let is_negated = (token.is("not") || token.kind == Kind::Not) && peek_second(input).is("in");
    if is_negated {
        input.next_token();
    }
    if is_negated || token.is("in") {
        input.next_token();
        let open = take(input);
        if open.kind != Kind::OpenList {
            return stop(FilterError::expected("\"[\" after \"in\"", &open));
        }
        let how = if is_negated {
            Comparison::NotEqual
        } else {
            Comparison::Equal
        };
        return Ok((how, true, Some(open)));
    }
    let how = match token.kind {
        Kind::Comparison(how) => Some(how),
        _ => words
            .iter()
            .find(|(word, _)| token.is(word))
            .map(|(_, how)| *how),
    };
    if how.is_some() {
        input.next_token();
    }
    Ok((how.unwrap_or(Comparison::Equal), false, how.map(|_| token)))
}

/// Values with commas between them, or with or without commas in brackets.
fn list<'t, T>(
    input: &mut Tokens<'_, 't>,
    open: Option<Token<'t>>,
    mut value: impl FnMut(Token<'t>, &mut Tokens<'_, 't>) -> Result<T, FilterError>,
) -> Parsed<Vec<T>> {
    let mut found = Vec::new();
    loop {
        let token = take(input);
        match (token.kind, open) {
            (Kind::CloseList, Some(_)) if !found.is_empty() => return Ok(found),
            (Kind::End, Some(open)) => {
                return stop(FilterError::at(
                    &open,
                    "this \"[\" is never closed: a \"]\" is missing",
                ));
            }
            _ => {}
        }
        match value(token, input) {
            Ok(value) => found.push(value),
            Err(error) => return stop(error),
        }
        if peek(input).kind == Kind::Comma {
            input.next_token();
        } else if open.is_none() {
            return Ok(found);
        }
    }
}

/// The term, or with `!=` that it doesn't hold.
fn compared(how: Comparison, term: Term) -> Expr {
    let term = Expr::Term(term);
    match how {
        Comparison::NotEqual => term.negated(),
        _ => term,
    }
}

fn numbers(input: &mut Tokens<'_, '_>, of: Ends<Number>, form: words::Form) -> Parsed<Expr> {
    let (how, in_list, operator) = comparison(input)?;
    let open = operator.filter(|_| in_list);
    let first = peek(input);
    let mut ranges = list(input, open, |token, _| values::numbers(&token, form))?;
    if !matches!(how, Comparison::Equal | Comparison::NotEqual) {
        let [range] = ranges.as_slice() else {
            return stop(FilterError::at(
                &first,
                "only one value can be compared so; with several: \"in [ ]\"",
            ));
        };
        if range.start() != range.end() {
            return stop(FilterError::at(
                &first,
                "a range can't be compared so: write one of its ends",
            ));
        }
        let value = *range.start();
        ranges = match how {
            Comparison::Less => value.checked_sub(1).map(|to| 0..=to),
            Comparison::LessOrEqual => Some(0..=value),
            Comparison::Greater => value.checked_add(1).map(|from| from..=u64::MAX),
            _ => Some(value..=u64::MAX),
        }
        .into_iter()
        .collect();
    }
    Ok(compared(how, Term::Number(of, ranges)))
}

/// Equal or not is all that can be asked.
fn only_equality<'t>(
    input: &mut Tokens<'_, 't>,
    what: &str,
) -> Parsed<(Comparison, Option<Token<'t>>)> {
    let (how, in_list, operator) = comparison(input)?;
    match (how, operator) {
        (Comparison::Equal | Comparison::NotEqual, operator) => {
            Ok((how, operator.filter(|_| in_list)))
        }
        (_, operator) => stop(FilterError::at(
            &operator.unwrap_or(END),
            format!("{what} can only be equal or not"),
        )),
    }
}

fn addresses(input: &mut Tokens<'_, '_>, of: Ends<Place>, is_net: bool) -> Parsed<Expr> {
    let (how, open) = only_equality(input, "addresses")?;
    let ranges = list(input, open, |token, input| {
        let value = values::addresses(&token)?;
        if !is_net || token.text.contains(['/', '-']) {
            return Ok(value);
        }
        // The old form: an address and a mask.
        let mask = peek(input);
        match values::single_address(mask.text) {
            Some(Address { is_v6: false, bits }) if !value.from.is_v6 => {
                input.next_token();
                values::with_mask(value.from, bits)
                    .ok_or_else(|| FilterError::at(&mask, "the ones of a mask must be together"))
            }
            _ => Err(FilterError::expected(
                "a prefix such as 10.0.0.0/8 after \"net\"",
                &token,
            )),
        }
    })?;
    Ok(compared(how, Term::Address(of, ranges)))
}

fn names(input: &mut Tokens<'_, '_>, side: Side) -> Parsed<Expr> {
    let (how, open) = only_equality(input, "names")?;
    let names = list(input, open, |token, _| match token.kind {
        Kind::Word | Kind::Quoted => Ok(token.value().into()),
        _ => Err(FilterError::expected(
            "the name of a network (in quotation marks if it has blanks)",
            &token,
        )),
    })?;
    let of = side.of(Name::SourceNetwork, Name::DestinationNetwork);
    Ok(compared(how, Term::Network(of, names)))
}

fn flags(input: &mut Tokens<'_, '_>) -> Parsed<Expr> {
    let token = take(input);
    match values::flags(&token) {
        Some(mask) => Ok(Expr::Term(Term::Bits(Number::TcpFlags, mask))),
        None => stop(FilterError::expected(
            "the letters of flags that are all set, of F, S, R, P, A, U, E, C or X for all of the first six",
            &token,
        )),
    }
}
