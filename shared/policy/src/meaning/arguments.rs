//! What arguments say whatever their program is: addresses, paths, options.

use super::{Known, network};
use crate::host::Host;
use crate::shell::{Access, Word};

/// Addresses among the arguments, of whatever program.
pub(super) fn addresses(arguments: &[Word], known: &mut Known) {
    for argument in arguments {
        let text = argument.shown();
        let Some(end) = text.find("://") else {
            continue;
        };
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
        let before = text[..end].char_indices().rev();
        let mut before = before.skip_while(|(_, c)| is_scheme(*c));
        let start = before.next().map_or(0, |(at, c)| at + c.len_utf8());
        // A text that mentions an address is not an address.
        if start == end || text.contains(char::is_whitespace) {
            continue;
        }
        let address = text.get(start..).unwrap_or_default();
        if text[start..end].eq_ignore_ascii_case("file") {
            let path = text.get(end + 3..).unwrap_or_default();
            let path = path.find('/').map_or(path, |at| &path[at..]);
            known.files.push((Access::Read, Word::literal(path)));
            continue;
        }
        let host = if address.contains('…') {
            network::partly_known(address)
        } else {
            Host::of(address)
        };
        known.hosts.push(host);
    }
}

/// The part of an argument that looks like a path: all of it, or the value of an option.
pub(super) fn path_in(argument: &Word) -> Option<Word> {
    let start = argument.literal_start();
    let word = match start.find('=') {
        Some(end)
            if start.starts_with('-')
                || start[..end]
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || c == '_') =>
        {
            argument.after(end + 1)
        }
        // `-I../include`
        _ if start.starts_with('-') && start.len() > 2 && !start.starts_with("--") => {
            argument.after(2)
        }
        _ if start.starts_with('-') => return None,
        _ => argument.clone(),
    };
    let text = word.shown();
    let is_path = text.starts_with('/')
        || text.starts_with("./")
        || text == "~"
        || text.starts_with("~/")
        || text == ".."
        || text.contains("../")
        || text.starts_with("…/");
    (is_path && !text.contains("://") && !text.contains('\n')).then_some(word)
}

/// The options in an argument: `-rf` is `-r` and `-f`, `--jobs=4` is `--jobs`.
pub(super) fn options_of(argument: &Word) -> Vec<String> {
    let start = argument.literal_start();
    if start.len() < 2 || !start.starts_with('-') || start == "--" {
        return Vec::new();
    }
    if start.starts_with("--") {
        return vec![start.split('=').next().unwrap_or_default().to_owned()];
    }
    let mut options: Vec<String> = start
        .chars()
        .skip(1)
        .filter(char::is_ascii_alphanumeric)
        .take(16)
        .map(|c| format!("-{c}"))
        .collect();
    options.push(start.to_owned());
    options
}
