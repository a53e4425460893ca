//! Characters that a person does not see, or takes for others.

use super::expand::Atom;

/// What is wrong with a command as a whole, quoted text included.
pub(super) fn anywhere(text: &str) -> Option<&'static str> {
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{1b}'))
    {
        return Some("it holds control characters");
    }
    if text.chars().any(is_direction) {
        return Some(
            "it holds characters that change the direction of text, so it may not be what is shown",
        );
    }
    None
}

/// What is wrong with the unquoted text of a word.
pub(super) fn unquoted(atoms: &[Atom]) -> Option<&'static str> {
    let mut bare = atoms.iter().filter_map(Atom::bare);
    if atoms.first().and_then(Atom::bare).is_some_and(is_dash) {
        return Some("an argument starts with a dash that is not the dash of options");
    }
    bare.any(|c| is_invisible(c) || (c.is_whitespace() && !c.is_ascii()) || c == '\r')
        .then_some("it holds characters that cannot be seen")
}

/// Characters that reorder what is shown
/// (<https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>).
fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2064}'
        | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn is_dash(c: char) -> bool {
    matches!(
        c,
        '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
    )
}
