//! Quotes and expansions: the part of reading a command that starts at `'`, `"`, `$` and `` ` ``.

use super::super::expand::Atom;
use super::super::word::Piece;
use super::{NESTED, Reader, Unreadable};

impl Reader<'_> {
    pub(super) fn single_quoted(&mut self) -> Result<String, Unreadable> {
        let mut text = String::new();
        loop {
            match self.next_raw() {
                Some('\'') => return Ok(text),
                Some(c) => text.push(c),
                None => return Err(Unreadable("a quote has no end")),
            }
        }
    }

    pub(super) fn double_quoted(
        &mut self,
        depth: usize,
        atoms: &mut Vec<Atom>,
    ) -> Result<(), Unreadable> {
        atoms.push(Atom::Piece(Piece::Literal(String::new())));
        loop {
            self.spend()?;
            match self.peek() {
                None => return Err(Unreadable("a quote has no end")),
                Some('"') => {
                    self.next();
                    return Ok(());
                }
                Some('$') => {
                    let mut pieces = Vec::new();
                    self.dollar(true, depth, &mut pieces)?;
                    atoms.extend(pieces.into_iter().map(Atom::Piece));
                }
                Some('`') => atoms.push(Atom::Piece(self.backquotes(true)?)),
                Some('\\') => {
                    self.next();
                    let text = match self.next_raw() {
                        Some(c @ ('$' | '`' | '"' | '\\')) => c.to_string(),
                        Some(c) => format!("\\{c}"),
                        None => return Err(Unreadable("a quote has no end")),
                    };
                    atoms.push(Atom::Piece(Piece::Literal(text)));
                }
                Some(c) => {
                    self.next();
                    atoms.push(Atom::Piece(Piece::Literal(c.to_string())));
                }
            }
        }
    }

    pub(super) fn dollar(
        &mut self,
        quoted: bool,
        depth: usize,
        found: &mut Vec<Piece>,
    ) -> Result<(), Unreadable> {
        if depth > NESTED {
            return Err(Unreadable("its substitutions are nested too deep"));
        }
        self.next();
        self.spend()?;
        match self.peek() {
            Some('(') => {
                self.next();
                if self.peek() == Some('(')
                    && let Some(word) = self.double_parentheses(depth)?
                {
                    found.extend(word.pieces);
                    return Ok(());
                }
                let start = self.at;
                self.tokens(true, depth + 1)?;
                let command = self.text.get(start..self.at).unwrap_or_default();
                let command = command.iter().collect();
                self.next();
                found.push(Piece::Output { command, quoted });
            }
            Some('[') => {
                // Old arithmetic; other shells take it for text.
                return Err(Unreadable("it uses `$[`, which shells read differently"));
            }
            Some('{') => {
                self.next();
                self.parameter(quoted, depth, found)?;
            }
            Some('\'') if !quoted => {
                self.next();
                found.push(Piece::Literal(self.ansi_c_quoted()?));
            }
            Some('"') if !quoted => {
                self.next();
                let mut atoms = Vec::new();
                self.double_quoted(depth, &mut atoms)?;
                found.extend(Atom::join(atoms).pieces);
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let mut name = String::new();
                while let Some(c) = self.peek()
                    && (c.is_ascii_alphanumeric() || c == '_')
                {
                    self.next();
                    name.push(c);
                }
                found.push(named(name, quoted));
            }
            Some('$' | '?' | '#' | '!') => {
                self.next();
                found.push(Piece::Number);
            }
            Some(c) if c.is_ascii_digit() || "@*-".contains(c) => {
                self.next();
                found.push(Piece::Variable {
                    name: c.to_string(),
                    quoted,
                });
            }
            _ => found.push(Piece::Literal("$".to_owned())),
        }
        Ok(())
    }

    /// The rest of `${...}`.
    pub(super) fn parameter(
        &mut self,
        quoted: bool,
        depth: usize,
        found: &mut Vec<Piece>,
    ) -> Result<(), Unreadable> {
        let mut name = String::new();
        while let Some(c) = self.peek()
            && (c.is_ascii_alphanumeric() || c == '_')
        {
            self.next();
            name.push(c);
        }
        if self.peek() == Some('}') && !name.is_empty() {
            self.next();
            found.push(named(name, quoted));
            return Ok(());
        }
        let mut used: Vec<Piece> = Vec::new();
        loop {
            self.spend()?;
            match self.peek() {
                None | Some('\n') => return Err(Unreadable("a parameter expansion has no end")),
                Some('}') => {
                    self.next();
                    break;
                }
                Some('{') => return Err(Unreadable("a parameter expansion holds a brace")),
                Some('\'' | '"') => {
                    return Err(Unreadable("a parameter expansion holds a quote"));
                }
                Some('$') => self.dollar(true, depth + 1, &mut used)?,
                Some('`') => used.push(self.backquotes(true)?),
                Some('\\') => {
                    self.next();
                    self.next_raw();
                }
                Some(c) => {
                    self.next();
                    name.push(c);
                }
            }
        }
        found.push(Piece::Variable { name, quoted });
        used.retain(|piece| !matches!(piece, Piece::Literal(_)));
        found.append(&mut used);
        Ok(())
    }

    /// A substitution in backquotes, which start here.
    pub(super) fn backquotes(&mut self, quoted: bool) -> Result<Piece, Unreadable> {
        self.next();
        let mut command = String::new();
        loop {
            self.spend()?;
            match self.next_raw() {
                None => return Err(Unreadable("a backquote has no end")),
                Some('`') => return Ok(Piece::Output { command, quoted }),
                Some('\\') => match self.next_raw() {
                    None => return Err(Unreadable("a backquote has no end")),
                    Some(c @ ('`' | '\\' | '$')) => command.push(c),
                    Some('"') if quoted => command.push('"'),
                    Some(c) => {
                        command.push('\\');
                        command.push(c);
                    }
                },
                Some(c) => command.push(c),
            }
        }
    }

    pub(super) fn ansi_c_quoted(&mut self) -> Result<String, Unreadable> {
        let end = Unreadable("a quote has no end");
        let mut text = String::new();
        loop {
            let c = match self.next_raw().ok_or(end)? {
                '\'' => return Ok(text),
                '\\' => match self.next_raw().ok_or(end)? {
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'e' | 'E' => '\u{1b}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\u{b}',
                    c @ ('\\' | '\'' | '"' | '?') => c,
                    'x' => self.code(16, 2)?,
                    'u' => self.code(16, 4)?,
                    'U' => self.code(16, 8)?,
                    '0'..='7' => {
                        self.at -= 1;
                        self.code(8, 3)?
                    }
                    'c' => return Err(Unreadable("a quote holds a control character")),
                    c => {
                        text.push('\\');
                        c
                    }
                },
                c => c,
            };
            if c == '\0' {
                return Err(Unreadable("a quote holds a null character"));
            }
            text.push(c);
        }
    }

    pub(super) fn code(&mut self, radix: u32, most: usize) -> Result<char, Unreadable> {
        let mut value = 0_u32;
        let mut digits = 0;
        while digits < most
            && let Some(digit) = self.text.get(self.at).and_then(|c| c.to_digit(radix))
        {
            value = value.wrapping_mul(radix).wrapping_add(digit);
            self.at += 1;
            digits += 1;
        }
        let is_byte = digits > 0 && (most < 4 || radix == 8);
        if digits == 0 || is_byte && value > 0x7f {
            return Err(Unreadable("a quote holds a byte that is no character"));
        }
        char::from_u32(value).ok_or(Unreadable("a quote holds a byte that is no character"))
    }
}

fn named(name: String, quoted: bool) -> Piece {
    match name.as_str() {
        "HOME" => Piece::Home,
        "PWD" => Piece::Here,
        _ => Piece::Variable { name, quoted },
    }
}
