//! YAML to JSON, with CloudFormation's short tags in their long form: `!Ref X` becomes
//! `{"Ref": "X"}` and `!Sub x` becomes `{"Fn::Sub": "x"}`, so that only one form exists afterwards.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value, json};

use super::TemplateError;

/// Aliases may not grow a template without bound.
const MAX_NODES: usize = 200_000;

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Value, TemplateError> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
    };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(..), _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => {
                return Err(TemplateError::Yaml("the document is empty".into()));
            }
            (event, span) => return reader.node(event, span),
        }
    }
}

struct Reader<'text, Input: granit_parser::BorrowedInput<'text>> {
    events: Parser<'text, Input>,
    anchors: HashMap<usize, Value>,
    nodes: usize,
}

impl<'text, Input: granit_parser::BorrowedInput<'text>> Reader<'text, Input> {
    fn next(&mut self) -> Result<(Event<'text>, Span), TemplateError> {
        loop {
            match self.events.next() {
                Some(Ok((Event::Comment(..), _))) => {}
                Some(Ok(event)) => return Ok(event),
                Some(Err(error)) => return Err(TemplateError::Yaml(error.to_string())),
                None => return Err(TemplateError::Yaml("the document ends early".into())),
            }
        }
    }

    fn node(&mut self, event: Event<'text>, span: Span) -> Result<Value, TemplateError> {
        let (value, anchor, tag) = match event {
            Event::Alias(anchor) => {
                let value = self
                    .anchors
                    .get(&anchor)
                    .cloned()
                    .ok_or_else(|| at(span, "an alias to a node that contains it"))?;
                self.count(size(&value), span)?;
                return Ok(value);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let value = if plain {
                    plain_scalar(&text)
                } else {
                    json!(text)
                };
                (value, anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        (event, span) => items.push(self.node(event, span)?),
                    }
                }
                (Value::Array(items), anchor, tag)
            }
            Event::MappingStart(_, anchor, tag) => (self.mapping()?, anchor, tag),
            other => return Err(at(span, &format!("unexpected {other:?}"))),
        };
        self.count(1, span)?;
        let value = match tag {
            Some(tag) => long_form(&tag, value, span)?,
            None => value,
        };
        if anchor > 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn mapping(&mut self) -> Result<Value, TemplateError> {
        let mut entries = Map::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Object(entries)),
                (Event::Scalar(key, _, _, None), span) => (key.into_owned(), span),
                (_, span) => return Err(at(span, "a mapping key has to be a plain name")),
            };
            if key.0 == "<<" {
                return Err(at(key.1, "CloudFormation has no merge keys"));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            if entries.insert(key.0.clone(), value).is_some() {
                return Err(at(key.1, &format!("the key {} appears twice", key.0)));
            }
        }
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), TemplateError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(at(span, "the document is too large"));
        }
        Ok(())
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(entries) => 1 + entries.values().map(size).sum::<usize>(),
        _ => 1,
    }
}

fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    // A leading zero or plus is kept as text: account numbers and the like.
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = digits.starts_with(|first: char| first.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0') || digits.starts_with("0."));
    if number {
        if let Ok(whole) = text.parse::<i64>() {
            return json!(whole);
        }
        if let Some(fraction) = text.parse().ok().and_then(Number::from_f64) {
            return Value::Number(fraction);
        }
    }
    json!(text)
}

fn long_form(tag: &Tag, value: Value, span: Span) -> Result<Value, TemplateError> {
    if tag.core_suffix() == Some("str") {
        return Ok(value);
    }
    if tag.handle() != "!" {
        return Err(at(span, "only CloudFormation's tags are understood"));
    }
    let name = match tag.suffix() {
        // The non-specific tag: a string, as written.
        "" => return Ok(value),
        name @ ("Ref" | "Condition") => name.to_owned(),
        name => format!("Fn::{name}"),
    };
    Ok(json!({ name: value }))
}

fn at(span: Span, reason: &str) -> TemplateError {
    TemplateError::Yaml(format!(
        "line {}, column {}: {reason}",
        span.start.line(),
        span.start.col() + 1
    ))
}
