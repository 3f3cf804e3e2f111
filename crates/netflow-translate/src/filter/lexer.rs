//! A filter's text as tokens, each with its column.

use winnow::Parser as _;
use winnow::combinator::{alt, delimited, fail, opt, preceded, repeat, terminated};
use winnow::error::EmptyError;
use winnow::stream::{LocatingSlice, Stream as _};
use winnow::token::{one_of, take_till, take_while};

use super::error::FilterError;

/// How a value is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A keyword, a number, an address: whatever has no blank in it.
    Word,
    /// Between quotation marks, which `text` has too.
    Quoted,
    Comparison(Comparison),
    Not,
    And,
    Or,
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
    End,
}

/// A piece of a filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) text: &'t str,
    /// In characters from 1.
    pub(super) column: usize,
}

impl Token<'_> {
    /// A word, whatever its case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// What stands between quotation marks, or the word.
    pub(super) fn value(&self) -> &str {
        match self.kind {
            Kind::Quoted => self.text.get(1..self.text.len() - 1).unwrap_or_default(),
            _ => self.text,
        }
    }
}

type Input<'t> = LocatingSlice<&'t str>;

/// All tokens, and [`Kind::End`] behind them.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, FilterError> {
    let mut input = LocatingSlice::new(text);
    let mut tokens = Vec::new();
    // Columns count characters; offsets count octets.
    let (mut column, mut counted) = (1, 0);
    let mut column_at = |offset: usize| {
        column += text
            .get(counted..offset)
            .unwrap_or_default()
            .chars()
            .count();
        counted = offset;
        column
    };
    loop {
        let skipped: Result<(), EmptyError> = blank.parse_next(&mut input);
        debug_assert!(skipped.is_ok(), "blanks may be absent");
        if input.peek_token().is_none() {
            let end = text.len();
            tokens.push(Token {
                kind: Kind::End,
                text: "",
                column: column_at(end),
            });
            return Ok(tokens);
        }
        let rest = input;
        match token.with_span().parse_next(&mut input) {
            Ok((kind, span)) => tokens.push(Token {
                kind,
                text: text.get(span.clone()).unwrap_or_default(),
                column: column_at(span.start),
            }),
            Err(EmptyError) => {
                let at = text.len() - rest.len();
                let message = match rest.chars().next() {
                    Some(mark @ ('"' | '\'')) => {
                        format!("a name begins with {mark} here, and the closing {mark} is missing")
                    }
                    Some(other) => format!("{other:?} has no meaning in a filter"),
                    None => "something is missing".to_owned(),
                };
                return Err(FilterError::new(column_at(at), 1, message));
            }
        }
    }
}

/// Blanks, and comments up to the end of their line.
fn blank(input: &mut Input<'_>) -> Result<(), EmptyError> {
    let comment = ('#', take_till(0.., '\n')).void();
    let blanks = take_while(1.., char::is_whitespace).void();
    repeat::<_, (), (), _, _>(0.., alt((blanks, comment))).parse_next(input)
}

fn token(input: &mut Input<'_>) -> Result<Kind, EmptyError> {
    alt((
        alt((
            '('.value(Kind::Open),
            ')'.value(Kind::Close),
            '['.value(Kind::OpenList),
            ']'.value(Kind::CloseList),
            ','.value(Kind::Comma),
            ('&', opt('&')).value(Kind::And),
            ('|', opt('|')).value(Kind::Or),
        )),
        comparison.map(Kind::Comparison),
        '!'.value(Kind::Not),
        quoted.value(Kind::Quoted),
        take_while(1.., is_word).value(Kind::Word),
    ))
    .parse_next(input)
}

fn comparison(input: &mut Input<'_>) -> Result<Comparison, EmptyError> {
    alt((
        preceded('!', '=').value(Comparison::NotEqual),
        preceded('<', '=').value(Comparison::LessOrEqual),
        preceded('>', '=').value(Comparison::GreaterOrEqual),
        preceded('<', '>').value(Comparison::NotEqual),
        '<'.value(Comparison::Less),
        '>'.value(Comparison::Greater),
        terminated('=', opt('=')).value(Comparison::Equal),
    ))
    .parse_next(input)
}

fn quoted(input: &mut Input<'_>) -> Result<(), EmptyError> {
    match one_of(['"', '\'']).parse_next(input)? {
        '"' => delimited("", take_till(0.., '"'), '"')
            .void()
            .parse_next(input),
        '\'' => delimited("", take_till(0.., '\''), '\'')
            .void()
            .parse_next(input),
        _ => fail.parse_next(input),
    }
}

fn is_word(character: char) -> bool {
    !character.is_whitespace() && !"()[],&|<>=!#\"'".contains(character) && !character.is_control()
}
