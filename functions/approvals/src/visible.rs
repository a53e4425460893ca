//! Text as a person can trust it: what would be invisible, or change how the rest looks, is written out.

use maud::{Markup, html};

/// Characters that show nothing, or turn or overlay what stands around them.
fn is_treacherous(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
        | '\u{3000}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

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

/// Whether anything in it is written out.
pub(crate) fn has_treacherous(text: &str) -> bool {
    text.chars().any(is_treacherous)
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
        assert!(has_treacherous("a\u{0}b") && !has_treacherous("a\nb"));
    }
}
