//! Words: what lies between blanks and operators, with the quotes taken off.

use super::{Lexed, Reader, Unreadable};
use crate::shell::expand::{Atom, braces};
use crate::shell::suspicious;
use crate::shell::word::Piece;

impl Reader<'_> {
    /// Reads a word, which starts here.
    pub(super) fn word(&mut self, depth: usize) -> Result<Lexed, Unreadable> {
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
