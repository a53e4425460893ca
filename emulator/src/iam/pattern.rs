//! Texts with wildcards and policy variables: `*` is any text, `?` one character, `${key}` the value
//! of a condition key, which never acts as a wildcard itself.
//! Facts: IAM User Guide, "Variables and tags".

use super::{decision::Context, document::DocumentError};

/// Variables that can be resolved, by the start of their names.
const VARIABLES: &[&str] = &["aws:PrincipalTag/", "aws:RequestTag/", "aws:PrincipalArn"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    AnyText,
    OneCharacter,
    Variable(String),
}

/// A pattern of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
    text: String,
}

impl Pattern {
    /// Reads a pattern. `wild`: whether `*` and `?` mean more than themselves; `variables`: whether
    /// the policy's version knows variables.
    pub(super) fn parse(text: &str, wild: bool, variables: bool) -> Result<Self, DocumentError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("${") {
                if !variables {
                    return Err(DocumentError::VariableWithoutVersion(text.to_owned()));
                }
                let end = after.find('}');
                let end = end.ok_or_else(|| DocumentError::Variable(text.to_owned()))?;
                match &after[..end] {
                    // Ways to write the special characters themselves.
                    special @ ("*" | "?" | "$") => literal.push_str(special),
                    name if VARIABLES.iter().any(|known| name.starts_with(known)) => {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                        pieces.push(Piece::Variable(name.to_owned()));
                    }
                    _ => return Err(DocumentError::Variable(text.to_owned())),
                }
                rest = &after[end + 1..];
                continue;
            }
            match first {
                '*' | '?' if wild => {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    pieces.push(if first == '*' {
                        Piece::AnyText
                    } else {
                        Piece::OneCharacter
                    });
                }
                other => literal.push(other),
            }
            rest = &rest[first.len_utf8()..];
        }
        pieces.push(Piece::Literal(literal));
        pieces.retain(|piece| *piece != Piece::Literal(String::new()));
        Ok(Self {
            pieces,
            text: text.to_owned(),
        })
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is this text, with the variables' values taken from `context`. A variable without
    /// a value matches nothing.
    pub(super) fn matches(&self, text: &str, context: &Context) -> bool {
        let mut tokens = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => tokens.extend(literal.chars().map(Token::Is)),
                Piece::AnyText => tokens.push(Token::AnyText),
                Piece::OneCharacter => tokens.push(Token::OneCharacter),
                Piece::Variable(name) => match context.single(name) {
                    Some(value) => tokens.extend(value.chars().map(Token::Is)),
                    None => return false,
                },
            }
        }
        let text: Vec<char> = text.chars().collect();
        matches(&tokens, &text)
    }
}

#[derive(Clone, Copy)]
enum Token {
    Is(char),
    AnyText,
    OneCharacter,
}

/// The usual walk with one place to come back to: never worse than the product of both lengths.
fn matches(tokens: &[Token], text: &[char]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while at < text.len() {
        match tokens.get(token) {
            Some(Token::AnyText) => {
                back = Some((token, at));
                token += 1;
            }
            Some(Token::OneCharacter) => {
                token += 1;
                at += 1;
            }
            Some(Token::Is(wanted)) if *wanted == text[at] => {
                token += 1;
                at += 1;
            }
            _ => match back {
                Some((star, from)) => {
                    token = star + 1;
                    at = from + 1;
                    back = Some((star, from + 1));
                }
                None => return false,
            },
        }
    }
    tokens[token..]
        .iter()
        .all(|token| matches!(token, Token::AnyText))
}
