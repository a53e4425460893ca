//! Text as a person can trust it: what would be invisible, or change how the rest looks, is written out.

use domain::approval::is_treacherous;
use maud::{Markup, html};

/// Letters that look like ASCII ones in a command line are marked too: anything that is not ASCII.
fn is_foreign(character: char) -> bool {
    !character.is_ascii()
}

/// The text; treacherous characters as their code, others outside ASCII marked.
pub(crate) fn visible(text: &str) -> Markup {
    let mut pieces: Vec<(Kind, String)> = Vec::new();
    for character in text.chars() {
        let kind = if is_treacherous(character) {
            Kind::Treacherous
        } else if is_foreign(character) {
            Kind::Foreign
        } else {
            Kind::Plain
        };
        let shown = match kind {
            Kind::Treacherous => format!("U+{:04X}", u32::from(character)),
            _ => character.to_string(),
        };
        match pieces.last_mut() {
            Some((last, piece)) if *last == kind && kind != Kind::Treacherous => {
                piece.push_str(&shown);
            }
            _ => pieces.push((kind, shown)),
        }
    }
    html! {
        @for (kind, piece) in &pieces {
            @match kind {
                Kind::Plain => (piece),
                Kind::Foreign => span.foreign { (piece) },
                Kind::Treacherous => mark { (piece) },
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Foreign,
    Treacherous,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_out_and_markup_stays_text() {
        let shown = visible("rm\u{202e}<b>\u{200b}x\u{430}\n\ty").into_string();
        assert_eq!(
            shown,
            "rm<mark>U+202E</mark>&lt;b&gt;<mark>U+200B</mark>x<span class=\"foreign\">\u{430}</span>\n\ty"
        );
    }
}
