//! Denied commands written differently stay denied: quotes, backslashes, blanks, line continuations
//! and what surrounds a command change nothing.

use std::sync::LazyLock;

use policy::check::Outcome;
use proptest::prelude::*;

use crate::session::{CALLER, POLICIES, checked};
use crate::table::{ROWS, Row};

/// Denied rows whose words are plain, so that each can be written in other ways.
pub(crate) static PLAIN_ROWS: LazyLock<Vec<&Row>> = LazyLock::new(|| {
    let plain = |c: char| c.is_ascii_alphanumeric() || " -/.=:,_+@".contains(c);
    ROWS.iter()
        .filter(|row| row.decisions.starts_with("deny") && row.command.chars().all(plain))
        // A quoted keyword is no keyword: there is no program `coproc`.
        .filter(|row| !row.command.starts_with("coproc"))
        // Most of what may stand before a command does not take assignments.
        .filter(|row| {
            !row.command
                .split(' ')
                .next()
                .is_some_and(|word| word.contains('='))
        })
        .collect()
});

/// A word written so that the shell reads the same.
fn disguised(word: &str, choices: &mut impl Iterator<Item = u8>) -> String {
    let mut made = String::new();
    for c in word.chars() {
        let code = u32::from(c);
        match choices.next().unwrap_or(0) % 12 {
            0 => made.push_str(&format!("'{c}'")),
            1 => made.push_str(&format!("\"{c}\"")),
            2 => made.push_str(&format!("\\{c}")),
            3 => made.push_str(&format!("$'\\x{code:02x}'")),
            4 => made.push_str(&format!("$'\\{code:03o}'")),
            5 => made.push_str(&format!("$'\\u{code:04x}'")),
            6 => made.push_str(&format!("''{c}\"\"")),
            7 => made.push_str(&format!("\\\n{c}")),
            8 => made.push_str(&format!("$\"{c}\"")),
            _ => made.push(c),
        }
    }
    made
}

fn blank(choice: u8) -> &'static str {
    [" ", "  ", "\t", " \t ", " \\\n", "\\\n "][usize::from(choice) % 6]
}

/// Something around a command that still runs it.
fn surrounded(command: &str, choice: u8) -> String {
    match choice % 22 {
        0 => format!("{command} ;"),
        1 => format!("  {command}"),
        2 => format!("true && {command}"),
        3 => format!("false || {command}"),
        4 => format!("({command})"),
        5 => format!("{{ {command}; }}"),
        6 => format!("echo $({command})"),
        7 => format!(
            "echo \"`{}`\"",
            command
                .replace('\\', "\\\\")
                .replace('`', "\\`")
                .replace('"', "\\\"")
        ),
        8 => format!("if true; then {command}; fi"),
        9 => format!("for i in 1 2; do {command}; done"),
        10 => format!("f() {{ {command}; }}; f"),
        11 => format!("env A=1 {command}"),
        12 => format!("A=1 {command}"),
        13 => format!("nice -n 1 {command}"),
        14 => format!("{command} | cat"),
        15 => format!("ls & {command}"),
        16 => format!("! {command}"),
        17 => format!("{command} > /dev/null 2>&1"),
        18 => format!("echo a # b\n{command}"),
        19 => format!("cat <<'E'\nx\nE\n{command}"),
        20 => format!("cat <<E\n$({command})\nE\n"),
        _ => format!("bash -c '{}'", command.replace('\'', "'\\''")),
    }
}

/// The row's command, written so that the shell runs the same.
pub(crate) fn disguise(row: &Row, choices: &[u8], around: u8) -> String {
    let mut choices = choices.iter().copied().cycle();
    let mut command = String::new();
    let words = row.command.split(' ').filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            command.push_str(blank(choices.next().unwrap_or(0)));
        }
        // A tilde stands for a home only outside quotes; assignments need their name plain.
        if word.starts_with('~') || word.contains('=') {
            command.push_str(word);
        } else {
            command.push_str(&disguised(word, &mut choices));
        }
    }
    surrounded(&command, around)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn disguises_do_not_help(
        which in any::<prop::sample::Index>(),
        choices in prop::collection::vec(any::<u8>(), 1..64),
        around in any::<u8>(),
    ) {
        let row = which.get(&PLAIN_ROWS);
        let command = disguise(row, &choices, around);
        let checked = checked(&command, &CALLER, &POLICIES[0]);
        prop_assert_eq!(
            checked.outcome, Outcome::Deny,
            "{:?}, made of {:?}, is understood as {:?}",
            command, row.command, checked.parsed.map(|parsed| parsed.summary())
        );
    }
}

#[test]
fn enough_rows_can_be_disguised() {
    assert!(PLAIN_ROWS.len() >= 60, "{}", PLAIN_ROWS.len());
}
