//! A word after quoting is taken off: literal text and the places whose text is not known.

use serde::Serialize;

/// A part of a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// Text that stands for itself.
    Literal(String),
    /// A pattern for file names: `*`, `?` or `[...]`.
    Pattern(String),
    /// The home directory of the session.
    Home,
    /// The home directory of another user.
    HomeOf(String),
    /// The directory that the program starts in.
    Here,
    /// The value of a variable that the command does not set to something known.
    Variable {
        /// Its name.
        name: String,
        /// Whether the value stays one word.
        quoted: bool,
    },
    /// What a command prints.
    Output {
        /// The command.
        command: String,
        /// Whether the output stays one word.
        quoted: bool,
    },
    /// The result of arithmetic: a number.
    Number,
    /// Arguments that another program supplies (`xargs`, `find -exec`).
    Supplied,
}

/// A word: what a program gets as one argument, or as several when an unquoted part splits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Word {
    /// Its parts.
    pub pieces: Vec<Piece>,
}

impl Word {
    /// A word that is known.
    pub(crate) fn literal(text: impl Into<String>) -> Self {
        Self {
            pieces: vec![Piece::Literal(text.into())],
        }
    }

    /// The value of a variable that is not known.
    pub(crate) fn unknown(name: &str) -> Self {
        Self {
            pieces: vec![Piece::Variable {
                name: name.to_owned(),
                quoted: false,
            }],
        }
    }

    pub(crate) fn supplied() -> Self {
        Self {
            pieces: vec![Piece::Supplied],
        }
    }

    /// Its text, if all of it is known.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                _ => return None,
            }
        }
        Some(text)
    }

    /// What it would be if everything unknown were empty, patterns left as they are written.
    pub(crate) fn without_unknown(&self) -> Word {
        let pieces = self
            .pieces
            .iter()
            .filter(|piece| {
                !matches!(
                    piece,
                    Piece::Variable { .. } | Piece::Output { .. } | Piece::Supplied
                )
            })
            .cloned()
            .collect();
        Word { pieces }
    }

    /// Whether a part of it is not known before the command runs.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.pieces.iter().any(|piece| {
            matches!(
                piece,
                Piece::Variable { .. } | Piece::Output { .. } | Piece::Supplied
            )
        })
    }

    /// It may be no word at all, or several.
    pub(crate) fn may_vanish(&self) -> bool {
        self.pieces.iter().all(|piece| {
            matches!(
                piece,
                Piece::Variable { quoted: false, .. }
                    | Piece::Output { quoted: false, .. }
                    | Piece::Supplied
            )
        })
    }

    /// For people: `…` stands for what is not known.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) | Piece::Pattern(literal) => text.push_str(literal),
                Piece::Home => text.push('~'),
                Piece::HomeOf(user) => {
                    text.push('~');
                    text.push_str(user);
                }
                Piece::Here => text.push('.'),
                _ => text.push('…'),
            }
        }
        text
    }

    /// As text for a shell to read, `$_unknown_` for what is not known.
    pub(crate) fn as_text(&self) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) | Piece::Pattern(literal) => text.push_str(literal),
                Piece::Home => text.push_str("$HOME"),
                Piece::HomeOf(user) => {
                    text.push('~');
                    text.push_str(user);
                }
                Piece::Here => text.push_str("$PWD"),
                Piece::Number => text.push_str("$?"),
                Piece::Variable { .. } | Piece::Output { .. } | Piece::Supplied => {
                    text.push_str("$_unknown_");
                }
            }
        }
        text
    }

    /// Whether a pattern for file names is its first part.
    pub(crate) fn begins_with_pattern(&self) -> bool {
        matches!(self.pieces.first(), Some(Piece::Pattern(_)))
    }

    /// The text before its first unknown or pattern part.
    #[must_use]
    pub fn literal_start(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Literal(text)) => text,
            _ => "",
        }
    }

    /// The word without so many bytes of its literal start.
    pub(crate) fn after(&self, bytes: usize) -> Word {
        let mut pieces = self.pieces.clone();
        if let Some(Piece::Literal(text)) = pieces.first_mut() {
            *text = text.get(bytes..).unwrap_or_default().to_owned();
        }
        pieces.retain(|piece| !matches!(piece, Piece::Literal(text) if text.is_empty()));
        // `--file=~/x`: some programs and some shells replace a tilde there.
        if let Some(Piece::Literal(text)) = pieces.first_mut()
            && (text == "~" || text.starts_with("~/"))
        {
            *text = text.split_off(1);
            pieces.insert(0, Piece::Home);
        }
        Word { pieces }
    }

    /// Adds a part, joining literal text.
    pub(crate) fn push(&mut self, piece: Piece) {
        match (self.pieces.last_mut(), piece) {
            (Some(Piece::Literal(last)), Piece::Literal(text)) => last.push_str(&text),
            (_, piece) => self.pieces.push(piece),
        }
    }
}
