//! Texts that the scripts of sed and awk give to a shell. That a script may run something is a doubt
//! of its own; what stands in it is refused like everywhere.

use crate::shell::walk::Walker;
use crate::shell::{Input, Started};

/// Most texts of one script that are looked at.
const TEXTS: usize = 16;

/// Visits what a script among these arguments gives to a shell.
pub(super) fn texts(walker: &mut Walker, name: &str, started: &Started) {
    let find: fn(&str) -> Vec<String> = match name {
        "sed" | "gsed" => of_sed,
        "awk" | "gawk" | "mawk" | "nawk" => of_awk,
        _ => return,
    };
    for script in started.arguments.iter().filter_map(|word| word.text()) {
        for text in find(&script).into_iter().take(TEXTS) {
            walker.other_shell(&text, name, Input::Inherited, &[]);
        }
    }
}

/// `e command`, behind lines that it is for.
fn of_sed(script: &str) -> Vec<String> {
    let commands = script.split(['\n', ';', '{']);
    let texts = commands.filter_map(|command| {
        let command = command.trim_start();
        let before = command.find("e ")?;
        let is_address = |c: char| !c.is_ascii_alphabetic() || c == 'I';
        let address = &command[..before];
        let is_pattern = address.starts_with(['/', '\\']);
        (is_pattern || address.chars().all(is_address)).then(|| command[before + 2..].to_owned())
    });
    texts.collect()
}

/// The strings of a program that starts others.
fn of_awk(program: &str) -> Vec<String> {
    if !["system", "|", "getline"]
        .iter()
        .any(|word| program.contains(word))
    {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut characters = program.chars();
    while let Some(c) = characters.next() {
        if c != '"' {
            continue;
        }
        let mut text = String::new();
        while let Some(c) = characters.next() {
            match c {
                '"' => break,
                '\\' => text.extend(characters.next()),
                c => text.push(c),
            }
        }
        if text.contains(char::is_alphabetic) {
            found.push(text);
        }
    }
    found
}
