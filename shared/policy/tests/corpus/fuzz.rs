//! Commands damaged at random, the same in every run: whatever comes in, an answer comes out, and
//! soon.

use std::time::Duration;

use policy::check::Outcome;
use policy::shell;
use proptest::prelude::*;

use crate::session::{CALLER, POLICIES, checked};
use crate::table::ROWS;

/// Inputs of one run.
const INPUTS: u32 = 4000;
/// Far above what one takes, so that a loaded machine does not fail the test; what must not happen
/// takes minutes.
const LONGEST: Duration = Duration::from_secs(60);

/// Pieces of the shell's language that parsers trip over.
const PIECES: [&str; 56] = [
    "$(",
    "$((",
    "))",
    ")",
    "(",
    "((",
    "`",
    "${",
    "}",
    "{",
    "${a[",
    "]",
    "'",
    "\"",
    "$'",
    "\\",
    "\\\n",
    "\n",
    "<<E\n",
    "<<'E'\n",
    "E\n",
    "<<<",
    "<(",
    ">(",
    "&>",
    ">|",
    "|&",
    ";;",
    ";&",
    "&&",
    "||",
    "|",
    "&",
    ";",
    "case x in ",
    "esac",
    "if ",
    "then ",
    "fi",
    "for i in ",
    "do ",
    "done",
    "while ",
    "[[ ",
    " ]]",
    "function f ",
    "f() ",
    "coproc ",
    "~99999999999999999999",
    "{99999999999999999999..1}",
    "99999999999999999999>",
    "\u{0}",
    "\u{202e}",
    "a=(",
    "!",
    "#",
];

/// A small generator, so that a failing input can be made again from its number.
struct Dice(u64);

impl Dice {
    fn new(seed: u32) -> Self {
        Self(u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("below a usize")
    }
}

fn damaged(command: &str, dice: &mut Dice) -> String {
    let mut characters: Vec<char> = command.chars().collect();
    for _ in 0..=dice.below(5) {
        let length = characters.len();
        let place = dice.below(length + 1);
        match dice.below(5) {
            0 => characters.truncate(place.max(1)),
            1 => {
                let end = (place + dice.below(12)).min(length);
                characters.drain(place..end);
            }
            2 => {
                let end = (place + dice.below(30)).min(length);
                let again: Vec<char> = characters[place..end].to_vec();
                characters.splice(place..place, again);
            }
            _ => {
                let piece = PIECES[dice.below(PIECES.len())];
                characters.splice(place..place, piece.chars());
            }
        }
    }
    characters.into_iter().collect()
}

#[test]
fn damaged_commands_are_answered() {
    let rows = &*ROWS;
    let (mut ran, mut unclear) = (0, 0);
    for number in 0..INPUTS {
        let mut dice = Dice::new(number);
        let command = damaged(&rows[dice.below(rows.len())].command, &mut dice);
        let started = std::time::Instant::now();
        let checked = checked(&command, &CALLER, &POLICIES[0]);
        let took = started.elapsed();
        assert!(took < LONGEST, "input {number} took {took:?}: {command:?}");
        ran += u32::from(checked.outcome == Outcome::Allow);
        unclear += u32::from(
            checked
                .parsed
                .is_some_and(|parsed| !parsed.unclear.is_empty()),
        );
    }
    // Some damage is harmless; if none were, or all, this would test nothing.
    assert!(ran > INPUTS / 20, "only {ran} of {INPUTS} ran");
    assert!(
        unclear > INPUTS / 20,
        "only {unclear} of {INPUTS} were not understood"
    );
}

/// Each piece again and again: nesting without end, and what reads its input again at each level.
#[test]
fn nesting_without_end_is_answered() {
    let more = [
        "$X ",
        "\"$(",
        "\"${a:-",
        "( ( ",
        "{ ",
        "if a; then ",
        "case a in a) ",
        "case a in (a) ",
        "$((a[",
        "${a[${",
        "a=$(",
        "! ",
        "function f { ",
        "sh -c 'a",
        "eval ",
        "env ",
        "xargs ",
        "a|",
        "a&&",
        "<(a ",
        "[[ ( ",
        "[[ ! ",
        "{a,b}",
        "{a,",
        "~",
        "*",
        "[a-",
        "a=b ",
        "$'\\x",
        "nice ",
        "for i in a; do ",
        "coproc ",
        "a() ",
        "<<a ",
        "((",
        "\\",
        "a\\\n",
    ];
    for piece in PIECES.iter().chain(&more) {
        for times in [10, 100, 20_000] {
            let command =
                piece.repeat(times.min(domain::limits::SHELL_COMMAND_BYTES / piece.len()));
            let started = std::time::Instant::now();
            let checked = checked(&command, &CALLER, &POLICIES[0]);
            let took = started.elapsed();
            assert!(took < LONGEST, "{piece:?} {times} times took {took:?}");
            assert!(serde_json::to_vec(&checked).is_ok());
        }
    }
}

#[test]
fn what_is_too_long_is_not_understood() {
    let long = format!("echo {}", "a".repeat(domain::limits::SHELL_COMMAND_BYTES));
    let parsed = shell::parse(&long);
    assert!(parsed.programs.is_empty());
    assert_eq!(parsed.unclear.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = shell::parse(&text).summary();
    }

    #[test]
    fn any_shell_like_text_is_answered(text in "[a-c0-9 '\"\\\\$(){}\\[\\]`<>|&;#~*?!=\n-]{0,80}") {
        let checked = checked(&text, &CALLER, &POLICIES[0]);
        prop_assert!(!checked.parts.is_empty());
    }
}
