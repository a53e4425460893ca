//! The text of a command as tokens, quoting decoded, as bash does it.
//!
//! Everything is read once from left to right; a budget of steps ends what is nested so that it
//! would be read again and again. Where two shells read the same text differently, it is an error:
//! the command is not understood then.

mod arithmetic;
mod here;
mod quotes;
mod words;

use self::here::HereDocument;
use super::word::{Piece, Word};

/// Why a command was not read to its end, in words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) &'static str);

/// How deep substitutions may lie inside each other in one text.
const NESTED: usize = 8;
/// Steps for each character of the text: what is nested is read once for each level.
const STEPS_PER_CHARACTER: usize = 64;

/// What a word of the text becomes.
#[derive(Debug, Clone, Default)]
pub(super) struct Lexed {
    /// The words, more than one after brace expansion. Of an assignment only its value.
    pub(super) words: Vec<Word>,
    /// The name before `=`, when it can be an assignment.
    pub(super) assigned: Option<String>,
    /// The text as it stands, when nothing in it is quoted or expanded.
    pub(super) plain: Option<String>,
    /// A part of it is quoted.
    pub(super) quoted: bool,
    /// `((...))`.
    pub(super) arithmetic: bool,
    /// Characters that are not what they look like.
    pub(super) suspicious: Option<&'static str>,
}

/// A token, and where it starts and ends in characters.
#[derive(Debug, Clone)]
pub(super) enum Token {
    Word(Lexed, usize, usize),
    Operator(&'static str, usize, usize),
}

const OPERATORS: [&str; 21] = [
    "&>>", "<<<", "<<-", ";;&", "&&", "||", ";;", ";&", "|&", "&>", "<<", ">>", "<&", ">&", "<>",
    ">|", "&", "|", ";", "<", ">",
];

/// Words after which a command starts.
const OPENING: [&str; 10] = [
    "!", "{", "do", "elif", "else", "if", "then", "time", "until", "while",
];

/// Whether a command may start after these tokens.
pub(super) fn at_command_start(tokens: &[Token]) -> bool {
    match tokens.last() {
        None => true,
        Some(Token::Operator(operator, ..)) => !operator.contains(['<', '>']),
        Some(Token::Word(lexed, ..)) => lexed
            .plain
            .as_deref()
            .is_some_and(|plain| OPENING.contains(&plain) && at_command_start_before(tokens)),
    }
}

fn at_command_start_before(tokens: &[Token]) -> bool {
    tokens
        .split_last()
        .is_some_and(|(_, before)| at_command_start(before))
}

fn follows_for(tokens: &[Token]) -> bool {
    matches!(tokens.last(), Some(Token::Word(lexed, ..)) if lexed.plain.as_deref() == Some("for"))
}

/// Tokens of a command.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Unreadable> {
    let text: Vec<char> = text.chars().collect();
    let mut reader = Reader::new(&text);
    reader.tokens(false, 0)
}

/// The expansions that a text has where a shell expands it without reading quotes.
pub(super) fn expansions(text: &str) -> Result<Word, Unreadable> {
    let text: Vec<char> = text.chars().collect();
    unquoted_body(&text, Reader::new(&text).steps, 0)
}

/// The pieces of a here-document's body or of arithmetic: expansions without quotes.
fn unquoted_body(text: &[char], steps: usize, depth: usize) -> Result<Word, Unreadable> {
    let mut reader = Reader::new(text);
    reader.steps = steps;
    let mut word = Word::default();
    while let Some(c) = reader.peek() {
        match c {
            '$' => {
                let mut pieces = Vec::new();
                reader.dollar(true, depth, &mut pieces)?;
                pieces.into_iter().for_each(|piece| word.push(piece));
            }
            '`' => {
                let piece = reader.backquotes(true)?;
                word.push(piece);
            }
            '\\' => {
                reader.next();
                match reader.next_raw() {
                    Some(c @ ('$' | '`' | '\\')) => word.push(Piece::Literal(c.to_string())),
                    Some(c) => word.push(Piece::Literal(format!("\\{c}"))),
                    None => word.push(Piece::Literal("\\".to_owned())),
                }
            }
            c => {
                reader.next();
                word.push(Piece::Literal(c.to_string()));
            }
        }
    }
    Ok(word)
}

struct Reader<'a> {
    text: &'a [char],
    at: usize,
    steps: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a [char]) -> Self {
        Self {
            text,
            at: 0,
            steps: text.len() * STEPS_PER_CHARACTER + 1024,
        }
    }

    /// The next character; a backslash before a line's end removes both.
    fn peek(&mut self) -> Option<char> {
        while self.text.get(self.at) == Some(&'\\') && self.text.get(self.at + 1) == Some(&'\n') {
            self.at += 2;
        }
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        self.steps = self.steps.saturating_sub(1);
        Some(c)
    }

    /// The next character where a backslash means nothing.
    fn next_raw(&mut self) -> Option<char> {
        let c = self.text.get(self.at).copied()?;
        self.at += 1;
        self.steps = self.steps.saturating_sub(1);
        Some(c)
    }

    fn spend(&self) -> Result<(), Unreadable> {
        if self.steps == 0 {
            return Err(Unreadable("it is nested too deep to be read"));
        }
        Ok(())
    }

    /// Reads the operator that starts here. Not `)` and not a line's end.
    fn operator(&mut self) -> Option<&'static str> {
        let before = self.at;
        let mut seen = String::new();
        let mut longest = None;
        for _ in 0..3 {
            let Some(c) = self.next() else { break };
            seen.push(c);
            if let Some(operator) = OPERATORS.iter().find(|operator| **operator == seen) {
                longest = Some((*operator, self.at));
            }
        }
        self.at = longest.map_or(before, |(_, at)| at);
        longest.map(|(operator, _)| operator)
    }

    /// Tokens up to the end, or up to the `)` that closes a substitution, which stays unread.
    fn tokens(&mut self, nested: bool, depth: usize) -> Result<Vec<Token>, Unreadable> {
        if depth > NESTED {
            return Err(Unreadable("its substitutions are nested too deep"));
        }
        let mut tokens: Vec<Token> = Vec::new();
        let mut open = 0_usize;
        let mut here_documents: Vec<HereDocument> = Vec::new();
        let mut in_test = false;
        loop {
            self.spend()?;
            let Some(c) = self.peek() else {
                if !here_documents.is_empty() {
                    return Err(Unreadable("a here-document has no end"));
                }
                if nested {
                    return Err(Unreadable("a substitution has no end"));
                }
                return Ok(tokens);
            };
            let start = self.at;
            match c {
                ' ' | '\t' => {
                    self.next();
                }
                '#' => {
                    while self.text.get(self.at).is_some_and(|c| *c != '\n') {
                        self.next_raw();
                    }
                }
                '\n' => {
                    self.next();
                    tokens.push(Token::Operator("\n", start, self.at));
                    for document in std::mem::take(&mut here_documents) {
                        let body = self.here_document(&document, depth)?;
                        let lexed = Lexed {
                            words: vec![body],
                            ..Lexed::default()
                        };
                        let at = self.at;
                        if let Some(token) = tokens.get_mut(document.body) {
                            *token = Token::Word(lexed, at, at);
                        }
                    }
                }
                ')' => {
                    if nested && open == 0 {
                        if !here_documents.is_empty() {
                            return Err(Unreadable("a here-document has no end"));
                        }
                        return Ok(tokens);
                    }
                    open = open.saturating_sub(1);
                    self.next();
                    tokens.push(Token::Operator(")", start, self.at));
                }
                '(' => {
                    self.next();
                    let may_be = !in_test
                        && self.peek() == Some('(')
                        && (at_command_start(&tokens) || follows_for(&tokens));
                    if may_be && let Some(word) = self.double_parentheses(depth)? {
                        self.arithmetic(word, start, &mut tokens);
                    } else {
                        open += 1;
                        if !in_test && matches!(tokens.last(), Some(Token::Operator("(", ..))) {
                            // Keeps the grammar from taking `( (` for arithmetic.
                            tokens.push(Token::Operator("\n", start, start));
                        }
                        tokens.push(Token::Operator("(", start, self.at));
                    }
                }
                '&' | '|' | ';' | '<' | '>' => {
                    let operator = self
                        .operator()
                        .ok_or(Unreadable("an operator is not known"))?;
                    in_test &= operator != ";";
                    tokens.push(Token::Operator(operator, start, self.at));
                    if matches!(operator, "<<" | "<<-") {
                        let document = self.delimiter(operator == "<<-", depth, &mut tokens)?;
                        here_documents.push(document);
                    }
                }
                _ => {
                    let word = self.word(depth)?;
                    match word.plain.as_deref() {
                        Some("[[") if at_command_start(&tokens) => in_test = true,
                        Some("]]") => in_test = false,
                        _ => {}
                    }
                    tokens.push(Token::Word(word, start, self.at));
                }
            }
        }
    }
}
