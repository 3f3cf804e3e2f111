//! Tokens to a syntax tree: `not` binds closest, then `and`, then `or`.

use winnow::Parser as _;
use winnow::combinator::{Infix, Prefix, expression};
use winnow::error::{ErrMode, ParserError};
use winnow::stream::{Stream as _, TokenSlice};
use winnow::token::any;

use super::error::FilterError;
use super::lexer::{Kind, Token};
use super::syntax::Expr;
use super::terms;

/// Brackets within brackets.
const MAX_DEPTH: usize = 64;

pub(super) type Tokens<'i, 't> = TokenSlice<'i, Token<'t>>;
pub(super) type Parsed<T> = Result<T, ErrMode<FilterError>>;

impl<'i, 't> ParserError<Tokens<'i, 't>> for FilterError {
    type Inner = Self;

    fn from_input(input: &Tokens<'i, 't>) -> Self {
        match input.peek_token() {
            Some(token) => Self::expected("something else", token),
            None => Self::new(1, 0, "the filter ends too early"),
        }
    }

    fn into_inner(self) -> Result<Self, Self> {
        Ok(self)
    }
}

/// An error that no other reading may hide.
pub(super) fn stop<T>(error: FilterError) -> Parsed<T> {
    Err(ErrMode::Cut(error))
}

/// Parses all tokens, the last of which is [`Kind::End`].
pub(super) fn parse(tokens: &[Token<'_>]) -> Result<Expr, FilterError> {
    check_depth(tokens)?;
    let mut input = TokenSlice::new(tokens);
    let parsed = filter(&mut input).map_err(|error| {
        error
            .into_inner()
            .unwrap_or_else(|_| FilterError::new(1, 0, "the filter ends too early"))
    })?;
    match input.peek_token() {
        None
        | Some(Token {
            kind: Kind::End, ..
        }) => Ok(parsed),
        Some(
            close @ Token {
                kind: Kind::Close, ..
            },
        ) => Err(FilterError::at(close, "this \")\" has no \"(\" before it")),
        Some(other) => Err(FilterError::expected(BETWEEN, other)),
    }
}

const BETWEEN: &str = "\"and\", \"or\" or the end of the filter";

/// Only brackets and chains of `not` make the parser call itself.
fn check_depth(tokens: &[Token<'_>]) -> Result<(), FilterError> {
    let (mut depth, mut nots) = (0_usize, 0_usize);
    for token in tokens {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        nots = if is_not(token) { nots + 1 } else { 0 };
        if depth > MAX_DEPTH || nots > MAX_DEPTH {
            return Err(FilterError::at(
                token,
                format!("more than {MAX_DEPTH} brackets or \"not\" within each other"),
            ));
        }
    }
    Ok(())
}

fn filter(input: &mut Tokens<'_, '_>) -> Parsed<Expr> {
    expression(operand)
        .prefix(prefix)
        .infix(infix)
        .parse_next(input)
}

fn is_not(token: &Token<'_>) -> bool {
    token.kind == Kind::Not || token.is("not")
}

fn prefix<'i, 't>(
    input: &mut Tokens<'i, 't>,
) -> Parsed<Prefix<Tokens<'i, 't>, Expr, ErrMode<FilterError>>> {
    any.verify(|token: &&Token<'_>| is_not(token))
        .map(|_| Prefix(3, |_: &mut _, inner: Expr| Ok(inner.negated())))
        .parse_next(input)
}

fn infix<'i, 't>(
    input: &mut Tokens<'i, 't>,
) -> Parsed<Infix<Tokens<'i, 't>, Expr, ErrMode<FilterError>>> {
    any.verify_map(|token: &Token<'_>| match token.kind {
        Kind::And => Some(true),
        Kind::Or => Some(false),
        _ if token.is("and") => Some(true),
        _ if token.is("or") => Some(false),
        _ => None,
    })
    .map(|is_and| {
        if is_and {
            Infix::Left(2, |_: &mut _, left: Expr, right| Ok(left.and(right)))
        } else {
            Infix::Left(1, |_: &mut _, left: Expr, right| Ok(left.or(right)))
        }
    })
    .parse_next(input)
}

fn operand(input: &mut Tokens<'_, '_>) -> Parsed<Expr> {
    if input.peek_token().is_some_and(is_not) {
        // Operands are tried before what stands in front of them.
        return Err(ErrMode::Backtrack(FilterError::from_input(input)));
    }
    let Some(open) = input.peek_token().filter(|token| token.kind == Kind::Open) else {
        return terms::term(input);
    };
    let open = *open;
    input.next_token();
    let inner = filter(input)?;
    match input.next_token() {
        Some(Token {
            kind: Kind::Close, ..
        }) => Ok(inner),
        Some(Token {
            kind: Kind::End, ..
        })
        | None => stop(FilterError::at(
            &open,
            "this \"(\" is never closed: a \")\" is missing",
        )),
        Some(other) => stop(FilterError::expected("\"and\", \"or\" or \")\"", other)),
    }
}
