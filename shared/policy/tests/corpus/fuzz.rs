//! Commands damaged at random, the same in every run: whatever comes in, an answer comes out, and
//! soon; and what is denied stays so when it is written with more blanks and quotes.
//!
//! `SHANNON_TEST_FUZZ_SECONDS` goes on for as long, with inputs of higher numbers, from the one that
//! `SHANNON_TEST_FUZZ_FROM` says.

use std::time::{Duration, Instant};

use domain::PermissionMode;
use policy::check::{Caller, Outcome};
use policy::shell;
use proptest::prelude::*;

use crate::disguises::{PLAIN_ROWS, disguise};
use crate::session::{CALLER, POLICIES, checked};
use crate::table::ROWS;

/// Inputs of one run, at least.
const INPUTS: u64 = 4000;
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
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("below a byte's limit")
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

/// Quoted, these are something else.
const KEYWORDS: [&str; 15] = [
    "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in",
    "then", "until", "while",
];

/// The command with a blank more, or one of its plain words in quotes; of words that quotes would
/// change, and of texts that hold quotes already, only blanks before the whole.
fn rewritten(command: &str, dice: &mut Dice) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " -/.:,_+@;|&()\n".contains(c);
    if !command.chars().all(plain) || dice.below(4) == 0 {
        let blank = [" ", "\t", "\n", " \\\n "][dice.below(4)];
        return format!("{blank}{command}");
    }
    let operators = " ;|&()\n";
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in command.char_indices().chain([(command.len(), ' ')]) {
        match (start, operators.contains(c)) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                if !KEYWORDS.contains(&&command[from..at]) {
                    words.push(from..at);
                }
                start = None;
            }
            _ => {}
        }
    }
    if words.is_empty() {
        return command.to_owned();
    }
    let word = words.swap_remove(dice.below(words.len()));
    let (before, after) = (&command[..word.start], &command[word.end..]);
    let word = &command[word];
    match dice.below(4) {
        0 => format!("{before}'{word}'{after}"),
        1 => format!("{before}\"{word}\"{after}"),
        2 => format!("{before}''{word}{after}"),
        _ => format!("{before}\\{word}{after}"),
    }
}

fn number(name: &str) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(0, |text| text.parse().expect("a number"))
}

#[test]
fn damaged_commands_are_answered_and_denials_stay() {
    let rows = &*ROWS;
    let bypass = Caller {
        mode: PermissionMode::Bypass,
        bypass_permitted: true,
        ..CALLER
    };
    let (from, seconds) = (
        number("SHANNON_TEST_FUZZ_FROM"),
        number("SHANNON_TEST_FUZZ_SECONDS"),
    );
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut inputs, mut ran, mut unclear, mut denied) = (0_u64, 0_u64, 0_u64, 0_u64);
    while inputs < INPUTS || Instant::now() < until {
        let number = from + inputs;
        inputs += 1;
        let mut dice = Dice::new(number);
        let command = damaged(&rows[dice.below(rows.len())].command, &mut dice);
        let caller = if dice.below(3) == 0 { &bypass } else { &CALLER };
        let started = Instant::now();
        let first = checked(&command, caller, &POLICIES[0]);
        let took = started.elapsed();
        assert!(took < LONGEST, "input {number} took {took:?}: {command:?}");
        if first.outcome == Outcome::Deny {
            denied += 1;
            let again = rewritten(&command, &mut dice);
            let second = checked(&again, caller, &POLICIES[0]);
            assert!(
                second.outcome != Outcome::Allow,
                "input {number}: {command:?} is denied, and {again:?} runs"
            );
        }
        if caller.mode == CALLER.mode {
            ran += u64::from(first.outcome == Outcome::Allow);
            let parsed = first.parsed.as_ref();
            unclear += u64::from(parsed.is_some_and(|parsed| !parsed.unclear.is_empty()));
        }
        let row = PLAIN_ROWS[dice.below(PLAIN_ROWS.len())];
        let choices: Vec<u8> = (0..=dice.below(64)).map(|_| dice.byte()).collect();
        let command = disguise(row, &choices, dice.byte());
        let outcome = checked(&command, caller, &POLICIES[0]).outcome;
        assert_eq!(
            outcome,
            Outcome::Deny,
            "input {number}: {command:?}, made of {:?}",
            row.command
        );
    }
    // Some damage is harmless; if none were, or all, this would test nothing.
    assert!(ran > inputs / 30, "only {ran} of {inputs} ran");
    assert!(
        unclear > inputs / 30,
        "only {unclear} of {inputs} were not understood"
    );
    assert!(
        denied > inputs / 30,
        "only {denied} of {inputs} were denied"
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
            let started = Instant::now();
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
