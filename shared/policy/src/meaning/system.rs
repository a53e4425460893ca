//! Programs that show or change the machine.

use super::Known;
use super::operands::{Arguments, Rule};
use super::programs::{abbreviates, first_word, has};
use crate::shell::Word;
use crate::shell::options::Options;

const DATE: Arguments = Arguments::new(
    "d:f<I?Rr<s:uj",
    "date: debug file< iso-8601? resolution rfc-email rfc-3339: reference< set: utc universal",
    Rule::None,
);

const MOUNT: Options = Options::new("lt:v", "show-labels types: verbose");
const FDISK: Options = Options::new("lL?o:", "list list-details color? output: bytes");

/// What these do; whether it is one of them.
pub(super) fn known(name: &str, arguments: &[Word], known: &mut Known) -> bool {
    let first = first_word(arguments);
    match name {
        "ssh-keygen" => {
            if has(arguments, &["-y"]) {
                known.has("credentials");
            }
        }
        "gpg" => {
            let exports = ["--export-secret-keys", "--export-secret-subkeys"];
            let shortened = |option: &&str| {
                abbreviates(arguments, option) && {
                    arguments
                        .iter()
                        .any(|word| word.literal_start().starts_with("--export-s"))
                }
            };
            if has(arguments, &exports) || exports.iter().any(shortened) {
                known.has("credentials");
            }
        }
        "crontab" => {
            if has(arguments, &["-l"]) && !has(arguments, &["-r", "-e"]) {
                lists(known);
            }
        }
        "systemctl" | "service" => {
            if matches!(first.as_str(), "status" | "list-units" | "is-active")
                || name == "service"
                    && arguments.get(1).and_then(Word::text).as_deref() == Some("status")
            {
                known.effects.clear();
            }
        }
        "ip" | "ifconfig" => {
            if !has(
                arguments,
                &[
                    "add", "del", "delete", "change", "replace", "flush", "set", "up", "down",
                    "netns", "exec",
                ],
            ) && !has(arguments, &["-b", "-batch", "-force"])
            {
                lists(known);
            }
        }
        "mount" => {
            // Without anything to mount it says what is mounted.
            let given = MOUNT.read(arguments);
            if given.operands.is_empty() && given.strange.is_empty() {
                lists(known);
            }
        }
        "fdisk" | "sfdisk" | "parted" => {
            let given = FDISK.read(arguments);
            if given.has(&["l", "list"])
                && given.strange.is_empty()
                && (name != "parted" || given.operands.is_empty())
            {
                lists(known);
            }
        }
        "date" => date(arguments, known),
        "hostname" => {
            known.complete = true;
            let asks = Options::new(
                "aAdfiIsy",
                "fqdn short domain ip-address all-ip-addresses long",
            );
            let given = asks.read(arguments);
            if given.operands.is_empty() && given.strange.is_empty() {
                known.only_reads();
            } else {
                known.has("system");
            }
        }
        // Elsewhere it starts a program for another processor.
        "arch" if arguments.is_empty() => known.only_reads(),
        _ => return false,
    }
    true
}

fn lists(known: &mut Known) {
    known.effects.clear();
    known.only_reads();
}

fn date(arguments: &[Word], known: &mut Known) {
    let taken = DATE.take(arguments);
    known.complete = true;
    known.files.extend(taken.files);
    // An operand that is no format is a time to set.
    let sets = taken.given.has(&["s", "set"])
        || taken.given.operands.iter().any(|word| {
            word.literal_start()
                .starts_with(|c: char| c.is_ascii_digit())
                && !taken.given.has(&["j"])
        });
    if sets {
        known.has("system");
    } else if taken.given.strange.is_empty() {
        known.only_reads();
    }
}
