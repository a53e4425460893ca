//! Archives: what is put into them, and where they are unpacked.

use super::Known;
use super::operands::{Arguments, Rule};
use super::programs::abbreviates;
use crate::shell::{Access, Word};

/// Options of several archivers.
const SPEC: Arguments = Arguments::new(
    "X:P:x:C>d>o>",
    "exclude: transform: strip-components: directory>",
    Rule::Each(Access::Read),
);

pub(super) fn known(name: &str, arguments: &[Word], known: &mut Known) {
    known.complete = true;
    let first = arguments
        .first()
        .map(|word| word.literal_start().to_owned())
        .unwrap_or_default();
    let lists = match name {
        "tar" | "bsdtar" => first.contains('t') && !first.contains(['x', 'c']) || first == "--list",
        "unzip" => first == "-l",
        _ => first == "l",
    };
    let mut taken = SPEC.take(arguments);
    let runs = [
        "--to-command",
        "--use-compress-program",
        "-I",
        "--checkpoint-action",
        "--rsh-command",
        "--info-script",
        "--new-volume-script",
        "--rmt-command",
        "-F",
    ];
    let abbreviated = runs
        .iter()
        .filter(|option| option.starts_with("--"))
        .any(|option| abbreviates(arguments, option));
    let written_out = arguments.iter().any(|word| {
        runs.iter()
            .any(|option| word.literal_start().starts_with(option))
    });
    if abbreviated || written_out {
        known.doubt("text", "an option of the archiver runs a program");
    }
    if name == "tar" && !first.starts_with('-') && !taken.given.operands.is_empty() {
        // `tar xf file`: the first operand is options.
        taken.given.operands.remove(0);
        taken
            .files
            .retain(|(_, word)| word.literal_start() != first);
    }
    let creates =
        matches!(name, "tar" | "bsdtar") && first.contains('c') && !first.starts_with("--");
    if creates && let Some(file) = taken.given.operands.first() {
        known.files.push((Access::Write, file.clone()));
    }
    if lists {
        known.has("reads");
    } else if !creates
        && !taken
            .files
            .iter()
            .any(|(access, _)| *access == Access::Write)
    {
        known.files.push((Access::Write, Word::literal("./…")));
    }
    known.files.append(&mut taken.files);
}
