//! Reader of TraceQL: text in, a [`Pipeline`] out. Whatever the text, it ends, and takes memory and
//! stack in proportion to its bounded length and depth.

use regex_lite::RegexBuilder;

use super::cursor::{Cursor, Met, go_duration};
use super::expression::{Comparison, Expression, Junction};
use super::field::{Field, INTRINSICS, KINDS, STATUSES, Value};
use super::pipeline::{Aggregate, Pipeline, Spansets, Stage};
use super::{MAX_DEPTH, MAX_PATTERN_OCTETS, QueryError};

pub(super) fn pipeline(query: &str) -> Result<Pipeline, QueryError> {
    let mut parser = Parser {
        cursor: Cursor::new(query)?,
        depth: 0,
    };
    parser
        .pipeline()
        .map_err(|(what, at)| QueryError::TraceQl { what, at })
}

pub(super) fn field_name(name: &str) -> Option<Field> {
    let mut cursor = Cursor::new(name).ok()?;
    let field = field(&mut cursor).ok()?;
    cursor.peek().is_none().then_some(field)
}

const COMPARISONS: [(&str, Comparison); 6] = [
    // The longer ones first.
    ("!=", Comparison::NotEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<=", Comparison::LessOrEqual),
    ("=", Comparison::Equal),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
];

const METRICS: [&str; 11] = [
    "avg_over_time",
    "bottomk",
    "compare",
    "count_over_time",
    "histogram_over_time",
    "max_over_time",
    "min_over_time",
    "quantile_over_time",
    "rate",
    "sum_over_time",
    "topk",
];

const STAGES: &str = "count(), min(), max(), avg(), sum(), select() or a { was expected after |";

struct Parser {
    cursor: Cursor,
    depth: usize,
}

/// A side of a comparison.
enum Operand {
    Nil,
    Is(Expression),
}

impl Parser {
    fn pipeline(&mut self) -> Result<Pipeline, Met> {
        let spansets = self.spansets()?;
        let mut stages = Vec::new();
        loop {
            self.cursor.skip_spaces();
            if self.cursor.take("|") {
                stages.push(self.stage()?);
            } else if self.takes_word("with") {
                self.hints()?;
            } else {
                break;
            }
        }
        self.cursor.skip_spaces();
        match self.cursor.peek() {
            None => Ok(Pipeline { spansets, stages }),
            Some('>' | '<' | '~' | '!') => Err(self.cursor.met(
                "how spans relate in the tree (>, >>, <, <<, ~) can't be asked here; &&, || or the \
                 end was expected",
            )),
            Some(_) => Err(self.cursor.met("&&, ||, | or the end was expected")),
        }
    }

    fn spansets(&mut self) -> Result<Spansets, Met> {
        let first = self.spanset()?;
        let mut rest = Vec::new();
        while let Some(junction) = self.junction() {
            rest.push((junction, self.spanset()?));
        }
        Ok(match rest.is_empty() {
            true => first,
            false => Spansets::Chain(Box::new(first), rest),
        })
    }

    fn spanset(&mut self) -> Result<Spansets, Met> {
        self.cursor.skip_spaces();
        if self.cursor.take("(") {
            let inner = self.deeper(Self::spansets)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if !self.cursor.take("{") {
            return Err(self.cursor.met("a { was expected"));
        }
        self.cursor.skip_spaces();
        if self.cursor.take("}") {
            return Ok(Spansets::Of(Expression::Constant(Value::Bool(true))));
        }
        let place = self.cursor.place();
        let condition = self.expression()?;
        if !is_condition(&condition) {
            self.cursor.return_to(place);
            return Err(self.cursor.met("a condition was expected"));
        }
        self.cursor.skip_spaces();
        match self.cursor.take("}") {
            true => Ok(Spansets::Of(condition)),
            false => Err(self.unexpected_in_condition()),
        }
    }

    fn unexpected_in_condition(&self) -> Met {
        match self.cursor.peek() {
            Some('+' | '-' | '*' | '/' | '%' | '^') => self
                .cursor
                .met("arithmetic can't be asked here; &&, || or } was expected"),
            _ => self.cursor.met("&&, || or } was expected"),
        }
    }

    fn junction(&mut self) -> Option<Junction> {
        self.cursor.skip_spaces();
        if self.cursor.take("&&") {
            Some(Junction::And)
        } else if self.cursor.take("||") {
            Some(Junction::Or)
        } else {
            None
        }
    }

    /// Conditions joined by && and ||.
    fn expression(&mut self) -> Result<Expression, Met> {
        let first = self.comparison()?;
        let mut rest = Vec::new();
        loop {
            let place = self.cursor.place();
            let Some(junction) = self.junction() else {
                break;
            };
            if rest.is_empty() && !is_condition(&first) {
                self.cursor.return_to(place);
                return Err(self.cursor.met("a comparison was expected"));
            }
            self.cursor.skip_spaces();
            let place = self.cursor.place();
            let next = self.comparison()?;
            if !is_condition(&next) {
                self.cursor.return_to(place);
                return Err(self.cursor.met("a condition was expected"));
            }
            rest.push((junction, next));
        }
        Ok(match rest.is_empty() {
            true => first,
            false => Expression::Chain(Box::new(first), rest),
        })
    }

    fn comparison(&mut self) -> Result<Expression, Met> {
        let left = self.operand()?;
        self.cursor.skip_spaces();
        for (sign, wanted) in [("=~", true), ("!~", false)] {
            let place = self.cursor.place();
            if self.cursor.take(sign) {
                return self.pattern(left, wanted, place);
            }
        }
        let place = self.cursor.place();
        let found = COMPARISONS
            .iter()
            .find(|(sign, _)| self.cursor.take(sign))
            .map(|(_, comparison)| *comparison);
        let Some(comparison) = found else {
            return match left {
                Operand::Is(expression) => Ok(expression),
                Operand::Nil => Err(self.cursor.met("= or != was expected")),
            };
        };
        self.cursor.skip_spaces();
        let right_place = self.cursor.place();
        let right = self.operand()?;
        let (left, right) = match (left, right) {
            (Operand::Is(left), Operand::Is(right)) => (left, right),
            (Operand::Is(Expression::Field(field)), Operand::Nil)
            | (Operand::Nil, Operand::Is(Expression::Field(field)))
                if !comparison.orders() =>
            {
                let wanted = comparison == Comparison::NotEqual;
                return Ok(Expression::Exists { field, wanted });
            }
            _ => {
                self.cursor.return_to(place);
                return Err(self.cursor.met("nil goes with = or != and an attribute"));
            }
        };
        for (one, other) in [(&left, &right), (&right, &left)] {
            if let Some(expected) = mismatch(one, comparison, other) {
                self.cursor.return_to(right_place);
                return Err(self.cursor.met(expected));
            }
        }
        Ok(Expression::Compare(
            Box::new(left),
            comparison,
            Box::new(right),
        ))
    }

    fn pattern(&mut self, left: Operand, wanted: bool, sign: usize) -> Result<Expression, Met> {
        let is_text = match &left {
            Operand::Is(Expression::Field(field)) => type_of(field) == Some(Values::Texts),
            Operand::Is(Expression::Constant(Value::Text(_))) => true,
            _ => false,
        };
        let attribute =
            matches!(&left, Operand::Is(Expression::Field(field)) if type_of(field).is_none());
        let Operand::Is(text) = left else {
            self.cursor.return_to(sign);
            return Err(self.cursor.met("= or != was expected"));
        };
        if !is_text && !attribute {
            self.cursor.return_to(sign);
            return Err(self
                .cursor
                .met("=~ and !~ go with texts; = or != was expected"));
        }
        self.cursor.skip_spaces();
        let Some(quote @ ('"' | '`' | '\'')) = self.cursor.peek() else {
            return Err(self.cursor.met("a pattern in quotes was expected"));
        };
        let place = self.cursor.place();
        let pattern = self.cursor.quoted(quote)?;
        // Tempo's patterns have to match the whole text.
        let pattern = RegexBuilder::new(&format!("^(?s:{pattern})$"))
            .size_limit(MAX_PATTERN_OCTETS)
            .build()
            .map_err(|_| {
                let what = "a regular expression (RE2, of moderate size) was expected".to_owned();
                (what, place + 1)
            })?;
        Ok(Expression::Match {
            text: Box::new(text),
            pattern,
            wanted,
        })
    }

    fn operand(&mut self) -> Result<Operand, Met> {
        self.cursor.skip_spaces();
        if self.cursor.take("!") {
            self.cursor.skip_spaces();
            let place = self.cursor.place();
            return match self.deeper(Self::operand)? {
                Operand::Is(inner) if is_condition(&inner) => {
                    Ok(Operand::Is(Expression::Not(Box::new(inner))))
                }
                _ => {
                    self.cursor.return_to(place);
                    Err(self
                        .cursor
                        .met("a condition, in parentheses, was expected after !"))
                }
            };
        }
        if self.cursor.take("(") {
            let inner = self.deeper(Self::expression)?;
            self.cursor.skip_spaces();
            return match self.cursor.take(")") {
                true => Ok(Operand::Is(inner)),
                false => Err(self.cursor.met("&&, || or ) was expected")),
            };
        }
        if let Some(quote @ ('"' | '`' | '\'')) = self.cursor.peek() {
            let text = self.cursor.quoted(quote)?;
            return Ok(Operand::Is(Expression::Constant(Value::Text(text.into()))));
        }
        let place = self.cursor.place();
        let word = self.cursor.word();
        if word == "nil" {
            return Ok(Operand::Nil);
        }
        if let Some(value) = constant(&word) {
            return Ok(Operand::Is(Expression::Constant(value)));
        }
        self.cursor.return_to(place);
        field(&mut self.cursor).map(|field| Operand::Is(Expression::Field(field)))
    }

    fn stage(&mut self) -> Result<Stage, Met> {
        self.cursor.skip_spaces();
        if matches!(self.cursor.peek(), Some('{' | '(')) {
            return self.spansets().map(Stage::Filter);
        }
        let place = self.cursor.place();
        let word = self.cursor.word();
        let aggregate: fn(Field) -> Aggregate = match word.as_str() {
            "count" => {
                self.expect("(")?;
                self.expect(")")?;
                return self.threshold(Aggregate::Count);
            }
            "min" => Aggregate::Min,
            "max" => Aggregate::Max,
            "avg" => Aggregate::Avg,
            "sum" => Aggregate::Sum,
            "select" => return self.selection(),
            metric if METRICS.contains(&metric) => {
                self.cursor.return_to(place);
                let expected = format!(
                    "{metric}() makes metrics of spans, which this backend doesn't: {STAGES}"
                );
                return Err(self.cursor.met(&expected));
            }
            _ => {
                self.cursor.return_to(place);
                return Err(self.cursor.met(STAGES));
            }
        };
        self.expect("(")?;
        self.cursor.skip_spaces();
        let place = self.cursor.place();
        let of = field(&mut self.cursor)?;
        if matches!(
            type_of(&of),
            Some(Values::Texts | Values::Kinds | Values::Statuses)
        ) {
            self.cursor.return_to(place);
            return Err(self
                .cursor
                .met("a field with numbers or durations was expected"));
        }
        self.expect(")")?;
        self.threshold(aggregate(of))
    }

    fn threshold(&mut self, aggregate: Aggregate) -> Result<Stage, Met> {
        self.cursor.skip_spaces();
        let found = COMPARISONS.iter().find(|(sign, _)| self.cursor.take(sign));
        let Some((_, comparison)) = found else {
            return Err(self
                .cursor
                .met("one of =, !=, >, >=, < and <= was expected"));
        };
        self.cursor.skip_spaces();
        let place = self.cursor.place();
        let value = constant(&self.cursor.word()).filter(|value| value.number().is_some());
        let Some(value) = value else {
            self.cursor.return_to(place);
            return Err(self.cursor.met("a number or a duration was expected"));
        };
        Ok(Stage::Threshold(aggregate, *comparison, value))
    }

    fn selection(&mut self) -> Result<Stage, Met> {
        self.expect("(")?;
        let mut fields = Vec::new();
        loop {
            self.cursor.skip_spaces();
            fields.push(field(&mut self.cursor)?);
            self.cursor.skip_spaces();
            if self.cursor.take(")") {
                return Ok(Stage::Select(fields));
            }
            if !self.cursor.take(",") {
                return Err(self.cursor.met("a comma or ) was expected"));
            }
        }
    }

    /// `with (name=value, …)`: hints to Tempo's engine, which this one doesn't need.
    fn hints(&mut self) -> Result<(), Met> {
        self.expect("(")?;
        loop {
            self.cursor.skip_spaces();
            let name = self.cursor.word();
            if name.is_empty() {
                return Err(self.cursor.met("the name of a hint was expected"));
            }
            self.expect("=")?;
            self.operand()?;
            self.cursor.skip_spaces();
            if self.cursor.take(")") {
                return Ok(());
            }
            if !self.cursor.take(",") {
                return Err(self.cursor.met("a comma or ) was expected"));
            }
        }
    }

    fn takes_word(&mut self, wanted: &str) -> bool {
        let place = self.cursor.place();
        let found = self.cursor.word() == wanted;
        if !found {
            self.cursor.return_to(place);
        }
        found
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Met> {
        self.cursor.skip_spaces();
        match self.cursor.take(wanted) {
            true => Ok(()),
            false => Err(self.cursor.met(&format!("{wanted} was expected"))),
        }
    }

    fn deeper<T>(&mut self, read: fn(&mut Self) -> Result<T, Met>) -> Result<T, Met> {
        if self.depth == MAX_DEPTH {
            return Err(self
                .cursor
                .met("fewer parentheses within parentheses were expected"));
        }
        self.depth += 1;
        let found = read(self);
        self.depth -= 1;
        found
    }
}

/// What values a field has, where its name says so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Values {
    Texts,
    Numbers,
    Kinds,
    Statuses,
}

fn type_of(field: &Field) -> Option<Values> {
    match field {
        Field::Span(_)
        | Field::Resource(_)
        | Field::Either(_)
        | Field::Event(_)
        | Field::Link(_)
        | Field::Instrumentation(_) => None,
        Field::Duration | Field::TraceDuration | Field::EventTimeSinceStart => {
            Some(Values::Numbers)
        }
        Field::Kind => Some(Values::Kinds),
        Field::Status => Some(Values::Statuses),
        Field::Name
        | Field::StatusMessage
        | Field::RootName
        | Field::RootServiceName
        | Field::TraceId
        | Field::SpanId
        | Field::ParentId
        | Field::EventName
        | Field::LinkTraceId
        | Field::LinkSpanId
        | Field::InstrumentationName
        | Field::InstrumentationVersion => Some(Values::Texts),
    }
}

/// What should have stood on the other side of a comparison, if that can never be true.
fn mismatch(one: &Expression, comparison: Comparison, other: &Expression) -> Option<&'static str> {
    let Expression::Field(field) = one else {
        return None;
    };
    let Expression::Constant(value) = other else {
        return None;
    };
    match (type_of(field), value) {
        (Some(Values::Kinds), Value::Kind(_)) | (Some(Values::Statuses), Value::Status(_))
            if comparison.orders() =>
        {
            Some("kinds and status have no order: = or != was expected")
        }
        (Some(Values::Kinds), Value::Kind(_))
        | (Some(Values::Statuses), Value::Status(_))
        | (Some(Values::Texts), Value::Text(_))
        | (Some(Values::Numbers), Value::Int(_) | Value::Float(_) | Value::Duration(_))
        | (
            None,
            Value::Text(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::Duration(_),
        ) => None,
        (Some(Values::Kinds), _) => {
            Some("internal, server, client, producer, consumer or unspecified was expected")
        }
        (Some(Values::Statuses), _) => Some("ok, error or unset was expected"),
        (Some(Values::Numbers), _) => Some("a duration like 100ms or 1.5s was expected"),
        (Some(Values::Texts) | None, _) => Some("quotes around a text were expected"),
    }
}

/// Whether it can be true or false.
fn is_condition(expression: &Expression) -> bool {
    match expression {
        Expression::Constant(value) => matches!(value, Value::Bool(_)),
        Expression::Field(field) => type_of(field).is_none(),
        _ => true,
    }
}

fn field(cursor: &mut Cursor) -> Result<Field, Met> {
    let expected = "a field like span.destination.port was expected";
    let place = cursor.place();
    let name = cursor.word();
    if let Some((_, field)) = INTRINSICS.iter().find(|(known, _)| *known == name) {
        return Ok(field.clone());
    }
    let unknown = |cursor: &mut Cursor, expected: &str| {
        cursor.return_to(place);
        cursor.met(expected)
    };
    let Some((scope, key)) = name.split_once('.') else {
        return Err(unknown(cursor, expected));
    };
    // A key with odd characters stands in quotes: span."a key".
    let key = match cursor.peek() {
        Some(quote @ '"') if key.is_empty() => cursor.quoted(quote)?,
        _ => key.to_owned(),
    };
    match scope {
        _ if key.is_empty() => Err(unknown(cursor, expected)),
        "" => Ok(Field::Either(key)),
        "span" => Ok(Field::Span(key)),
        "resource" => Ok(Field::Resource(key)),
        "event" => Ok(Field::Event(key)),
        "link" => Ok(Field::Link(key)),
        "instrumentation" => Ok(Field::Instrumentation(key)),
        _ => Err(unknown(
            cursor,
            "one of the scopes span., resource., event., link. and instrumentation. was expected",
        )),
    }
}

/// A word that is a value.
fn constant(word: &str) -> Option<Value<'static>> {
    match word {
        "true" => return Some(Value::Bool(true)),
        "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    if let Some((_, keyword)) = KINDS.iter().find(|(_, known)| *known == word) {
        return Some(Value::Kind(keyword));
    }
    if let Some((_, keyword)) = STATUSES.iter().find(|(_, known)| *known == word) {
        return Some(Value::Status(keyword));
    }
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Ok(int) = word.parse() {
        return Some(Value::Int(int));
    }
    if let Ok(float) = word.parse() {
        return Some(Value::Float(float));
    }
    let nanos = i64::try_from(go_duration(unsigned)?).ok()?;
    Some(Value::Duration(match unsigned.len() == word.len() {
        true => nanos,
        false => -nanos,
    }))
}
