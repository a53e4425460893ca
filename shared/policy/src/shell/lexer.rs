//! The text of a command as tokens, quoting decoded, as bash does it.
//!
//! Everything is read once from left to right; a budget of steps ends what is nested so that it
//! would be read again and again. Where two shells read the same text differently, it is an error:
//! the command is not understood then.

mod here;
mod quotes;

use self::here::HereDocument;
use super::expand::{Atom, braces};
use super::suspicious;
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

    fn arithmetic(&mut self, word: Word, start: usize, tokens: &mut Vec<Token>) {
        let is_loop = follows_for(tokens);
        let plain = |text: &str| Lexed {
            plain: Some(text.to_owned()),
            words: vec![Word::literal(text)],
            ..Lexed::default()
        };
        if is_loop {
            // `for ((...))` has the structure of `for _ in ...;`.
            tokens.push(Token::Word(plain("_"), start, start));
            tokens.push(Token::Word(plain("in"), start, start));
        }
        let lexed = Lexed {
            words: vec![word],
            arithmetic: true,
            ..Lexed::default()
        };
        tokens.push(Token::Word(lexed, start, self.at));
        if is_loop {
            while matches!(self.peek(), Some(' ' | '\t')) {
                self.next();
            }
            if !matches!(self.peek(), Some(';' | '\n')) {
                tokens.push(Token::Operator(";", self.at, self.at));
            }
        }
    }

    /// The rest of `((...))` after its first parenthesis, or nothing when it is not arithmetic but
    /// one subshell in another.
    fn double_parentheses(&mut self, depth: usize) -> Result<Option<Word>, Unreadable> {
        if depth > NESTED {
            return Err(Unreadable("its substitutions are nested too deep"));
        }
        let before = self.at;
        self.next();
        let inside = self.at;
        let mut open = 1_usize;
        while let Some(c) = self.next() {
            self.spend()?;
            match c {
                '(' => open += 1,
                ')' => {
                    open -= 1;
                    if open == 0 {
                        break;
                    }
                }
                '\\' => {
                    self.next_raw();
                }
                '\'' | '"' | '`' => {
                    // Quotes hide parentheses in some versions of some shells.
                    self.at = before;
                    return Ok(None);
                }
                _ => {}
            }
        }
        if open == 0 && self.peek() == Some(')') {
            let end = self.at - 1;
            let body = self.text.get(inside..end).unwrap_or_default();
            let word = unquoted_body(body, self.steps, depth + 1)?;
            self.next();
            let mut pieces = vec![Piece::Number];
            pieces.extend(
                word.pieces
                    .into_iter()
                    .filter(|piece| matches!(piece, Piece::Output { .. })),
            );
            return Ok(Some(Word { pieces }));
        }
        self.at = before;
        Ok(None)
    }

    /// Reads a word, which starts here.
    fn word(&mut self, depth: usize) -> Result<Lexed, Unreadable> {
        let mut atoms: Vec<Atom> = Vec::new();
        let mut assigned = None;
        let mut is_plain = true;
        let mut quoted = false;
        let mut tilde_may_follow = true;
        loop {
            self.spend()?;
            let Some(c) = self.peek() else { break };
            let at_tilde = std::mem::replace(&mut tilde_may_follow, false);
            match c {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\'' => {
                    is_plain = false;
                    quoted = true;
                    self.next();
                    atoms.push(Atom::Piece(Piece::Literal(self.single_quoted()?)));
                }
                '"' => {
                    is_plain = false;
                    quoted = true;
                    self.next();
                    self.double_quoted(depth, &mut atoms)?;
                }
                '\\' => {
                    is_plain = false;
                    quoted = true;
                    self.next();
                    let c = self.next_raw().unwrap_or('\\');
                    atoms.push(Atom::Piece(Piece::Literal(c.to_string())));
                }
                '$' => {
                    is_plain = false;
                    quoted |= matches!(self.text.get(self.at + 1), Some('\'' | '"'));
                    let mut pieces = Vec::new();
                    self.dollar(false, depth, &mut pieces)?;
                    atoms.extend(pieces.into_iter().map(Atom::Piece));
                }
                '`' => {
                    is_plain = false;
                    atoms.push(Atom::Piece(self.backquotes(false)?));
                }
                '*' | '?' => {
                    is_plain = false;
                    self.next();
                    atoms.push(Atom::Piece(Piece::Pattern(c.to_string())));
                }
                '[' => {
                    self.next();
                    match self.bracket() {
                        Some(bracket) if !atoms.is_empty() || bracket != "[[]" => {
                            is_plain = false;
                            atoms.push(Atom::Piece(Piece::Pattern(bracket)));
                        }
                        _ => atoms.push(Atom::Bare('[')),
                    }
                }
                '~' if at_tilde => {
                    is_plain = false;
                    self.next();
                    atoms.push(self.tilde());
                }
                c => {
                    self.next();
                    if c == '='
                        && assigned.is_none()
                        && let Some(name) = assigned_name(&atoms)
                    {
                        assigned = Some(name);
                        // What is added to, and one element of an array, is not the whole value.
                        let is_whole = atoms.iter().all(|atom| {
                            atom.bare()
                                .is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
                        });
                        atoms.retain(|atom| matches!(atom, Atom::Piece(Piece::Output { .. })));
                        if let (false, Some(name)) = (is_whole, &assigned) {
                            atoms.push(Atom::Piece(Piece::Variable {
                                name: name.clone(),
                                quoted: true,
                            }));
                        }
                        tilde_may_follow = true;
                        continue;
                    }
                    tilde_may_follow = c == ':' && assigned.is_some();
                    atoms.push(Atom::Bare(c));
                }
            }
        }
        let plain = (is_plain && assigned.is_none())
            .then(|| atoms.iter().map(Atom::bare).collect::<Option<String>>())
            .flatten();
        let suspicious = suspicious::unquoted(&atoms);
        let words = if assigned.is_some() {
            vec![Atom::join(atoms)]
        } else {
            braces(atoms).ok_or(Unreadable("its braces make too many words"))?
        };
        Ok(Lexed {
            words,
            assigned,
            plain,
            quoted,
            arithmetic: false,
            suspicious,
        })
    }

    /// A pattern of characters after its `[`; nothing when there is no `]` in this word.
    fn bracket(&mut self) -> Option<String> {
        let mut text = String::from("[");
        for (offset, c) in self.text.iter().skip(self.at).enumerate().take(256) {
            text.push(*c);
            match c {
                ']' if offset > 0 => {
                    self.at += offset + 1;
                    return Some(text);
                }
                c if c.is_ascii_alphanumeric() || "!^-_.:,+@%]".contains(*c) => {}
                _ => return None,
            }
        }
        None
    }

    fn tilde(&mut self) -> Atom {
        let before = self.at;
        let mut name = String::new();
        while let Some(c) = self.peek()
            && (c.is_ascii_alphanumeric() || "_.+-".contains(c))
        {
            self.next();
            name.push(c);
        }
        let ends = self.peek().is_none_or(|c| {
            matches!(
                c,
                '/' | ':' | ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')'
            )
        });
        if !ends {
            self.at = before;
            return Atom::Piece(Piece::Literal("~".to_owned()));
        }
        Atom::Piece(match name.as_str() {
            "" => Piece::Home,
            "+" => Piece::Here,
            "-" => Piece::Variable {
                name: "OLDPWD".to_owned(),
                quoted: true,
            },
            _ => Piece::HomeOf(name),
        })
    }
}

/// The name, when what was read so far of a word is `NAME`, `NAME+` or `NAME[...]`.
fn assigned_name(atoms: &[Atom]) -> Option<String> {
    let mut name = String::new();
    let mut rest = atoms.iter();
    for atom in rest.by_ref() {
        match atom {
            Atom::Bare(c) if c.is_ascii_alphanumeric() || *c == '_' => name.push(*c),
            Atom::Bare('+') => return (rest.next().is_none() && is_name(&name)).then_some(name),
            // An index.
            Atom::Bare('[') | Atom::Piece(Piece::Pattern(_)) => {
                let closes = matches!(
                    atoms.last(),
                    Some(Atom::Bare(']' | '+') | Atom::Piece(Piece::Pattern(_)))
                );
                return (is_name(&name) && closes).then_some(name);
            }
            _ => return None,
        }
    }
    is_name(&name).then_some(name)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}
