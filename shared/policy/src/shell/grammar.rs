//! The structure of a command: tokens become the syntax tree of `brush-parser`.
//!
//! The grammar sees reserved words, operators of tests, and otherwise only numbers of words
//! ([`Words`]): what a person or a model wrote reaches neither its word parser nor its log lines.
//! Nesting is counted first. The grammar recurses for each level, and it reads the last branch of
//! each `case` twice.

use std::sync::Arc;

use brush_parser::ast::Program;
use brush_parser::{ParserOptions, SourcePosition, SourceSpan};

use super::NESTED_COMPOUNDS;
use super::lexer::{Lexed, Token, Unreadable, at_command_start};
use super::word::Word;

/// Most `case` commands: each level doubles the work.
const CASES: usize = 6;
/// Digits of the number of a descriptor.
const DESCRIPTOR_DIGITS: usize = 4;
const OPENS: char = '\u{1}';
const CLOSES: char = '\u{2}';

/// What the grammar must see as it is written: reserved words of bash, options of `time`, and the
/// operators of `[[`.
const GRAMMAR_WORDS: [&str; 61] = [
    "!", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "if", "in", "then",
    "until", "while", "[[", "]]", "function", "select", "coproc", "time", "-p", "-a", "-b", "-c",
    "-d", "-e", "-f", "-g", "-h", "-k", "-n", "-o", "-r", "-s", "-t", "-u", "-v", "-w", "-x", "-z",
    "-G", "-L", "-N", "-O", "-R", "-S", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-ef", "-nt",
    "-ot", "==", "=", "!=", "=~",
];

/// The words of a command, found again by what stands for them in the tree.
#[derive(Debug, Default)]
pub(super) struct Words {
    lexed: Vec<Lexed>,
}

impl Words {
    /// What a word of the tree stands for. Of an assignment: its value.
    pub(super) fn get(&self, text: &str) -> Lexed {
        let before = text.split(OPENS).next().unwrap_or_default();
        match self.numbers(text).as_slice() {
            [lexed] if before.is_empty() => (*lexed).clone(),
            [] => Lexed {
                words: vec![Word::literal(text)],
                plain: Some(text.to_owned()),
                ..Lexed::default()
            },
            // `name=value` where it is no assignment: the tree has the text of the whole word.
            several => {
                let mut whole = Word::literal(before);
                let pieces = several.iter().flat_map(|lexed| &lexed.words);
                for piece in pieces.flat_map(|word| &word.pieces) {
                    whole.push(piece.clone());
                }
                Lexed {
                    words: vec![whole],
                    quoted: true,
                    suspicious: several.iter().find_map(|lexed| lexed.suspicious),
                    ..Lexed::default()
                }
            }
        }
    }

    /// Every word that a text of the tree holds.
    pub(super) fn numbers(&self, text: &str) -> Vec<&Lexed> {
        text.split(OPENS)
            .skip(1)
            .filter_map(|rest| rest.split(CLOSES).next()?.parse::<usize>().ok())
            .filter_map(|number| self.lexed.get(number))
            .collect()
    }
}

/// Finds the structure of tokens.
pub(super) fn structure(tokens: Vec<Token>) -> Result<(Program, Words), Unreadable> {
    check_nesting(&tokens)?;
    let mut words = Words::default();
    let mut given = Vec::with_capacity(tokens.len());
    let starts: Vec<usize> = tokens.iter().map(start).collect();
    for (index, token) in tokens.into_iter().enumerate() {
        let next = starts.get(index + 1).copied();
        given.push(match token {
            Token::Operator(text, start, end) => {
                brush_parser::Token::Operator(text.to_owned(), span(start, end))
            }
            Token::Word(lexed, start, end) => {
                let text = text_for_grammar(&lexed, next == Some(end), words.lexed.len())?;
                words.lexed.push(lexed);
                brush_parser::Token::Word(text, span(start, end))
            }
        });
    }
    let options = ParserOptions::default();
    // It has no known panic on such tokens; if it has one, the command is not understood.
    std::panic::catch_unwind(|| brush_parser::parse_tokens(&given, &options))
        .map_err(|_| Unreadable("it cannot be parsed"))?
        .map_err(|_| Unreadable("it is not a complete shell command"))
        .map(|program| (program, words))
}

fn text_for_grammar(
    lexed: &Lexed,
    touches_next: bool,
    number: usize,
) -> Result<String, Unreadable> {
    let marker = format!("{OPENS}{number}{CLOSES}");
    if let Some(name) = &lexed.assigned {
        // The name is letters, digits and `_`, which the lexer has checked. An array follows `=`.
        let is_empty = lexed.words.iter().all(|word| word.pieces.is_empty());
        return Ok(if is_empty {
            format!("{name}=")
        } else {
            format!("{name}={marker}")
        });
    }
    let Some(plain) = lexed.plain.as_deref() else {
        return Ok(marker);
    };
    let is_number = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && touches_next {
        if plain.len() > DESCRIPTOR_DIGITS {
            return Err(Unreadable("the number of a descriptor is too large"));
        }
        return Ok(plain.to_owned());
    }
    Ok(if GRAMMAR_WORDS.contains(&plain) {
        plain.to_owned()
    } else {
        marker
    })
}

fn start(token: &Token) -> usize {
    match token {
        Token::Word(_, start, _) | Token::Operator(_, start, _) => *start,
    }
}

fn span(start: usize, end: usize) -> SourceSpan {
    let position = |index| {
        Arc::new(SourcePosition {
            index,
            line: 1,
            column: 1,
        })
    };
    SourceSpan {
        start: position(start),
        end: position(end),
    }
}

/// Counts what is open at each token. Something is closed only by what closes it, so that the count
/// is never below what the grammar has open.
fn check_nesting(tokens: &[Token]) -> Result<(), Unreadable> {
    let mut open: Vec<&str> = Vec::new();
    let mut cases = 0;
    for (index, token) in tokens.iter().enumerate() {
        let word = match token {
            Token::Operator(operator, ..) => operator,
            Token::Word(lexed, ..) => lexed.plain.as_deref().unwrap_or_default(),
        };
        match word {
            "case" => {
                cases += 1;
                open.push("case");
            }
            "(" | "{" | "if" | "do" | "while" | "until" | "for" | "coproc" | "function" | "[[" => {
                open.push(word);
            }
            "!" if open.contains(&"[[") => open.push(word),
            closing => {
                let opening: &[&str] = match closing {
                    ")" => &["("],
                    "}" => &["{"],
                    "fi" => &["if"],
                    "esac" => &["case"],
                    "done" => &["do"],
                    "]]" => &["[["],
                    _ => continue,
                };
                let closes_here =
                    closing == ")" || closing == "]]" || at_command_start(&tokens[..index]);
                while closes_here
                    && open
                        .last()
                        .is_some_and(|last| ["!", "coproc", "function"].contains(last))
                {
                    open.pop();
                }
                if closes_here && open.last().is_some_and(|last| opening.contains(last)) {
                    open.pop();
                    let before_do = ["while", "until", "for"];
                    if closing == "done" && open.last().is_some_and(|last| before_do.contains(last))
                    {
                        open.pop();
                    }
                }
            }
        }
        if open.len() > NESTED_COMPOUNDS || cases > CASES {
            return Err(Unreadable("its commands are nested too deep"));
        }
    }
    Ok(())
}
