//! What a call of an editing tool would change, as a diff for the person who decides on it.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use domain::limits;
use domain::workspace::RelativePath;
use redact::Redactor;
use serde_json::Value;
use similar::TextDiff;

use crate::workspace::tree::{Tree, WalkError};

/// The same limit as for the diffs of a turn's files.
const DIFF_TIME: Duration = Duration::from_secs(2);
/// Longest text that an edit gives. Own: its diff would not fit anyway.
const EDITED_BYTES: usize = 512 * 1024;

/// The diff; `None` for other tools, files outside the workspace, links, and what is no text or too
/// long. It shows the file as it is now.
///
/// `workspace` is where the files are, `inside` where the session sees them, `working_directory` where
/// it works, as it sees it.
#[must_use]
pub fn preview(
    tool: &str,
    input: &Value,
    workspace: &Path,
    inside: &str,
    working_directory: &str,
    redactor: &Redactor,
) -> Option<String> {
    let named = input["file_path"].as_str()?;
    let absolute = if named.starts_with('/') {
        named.to_owned()
    } else {
        format!("{working_directory}/{named}")
    };
    let below = absolute.strip_prefix(inside)?.strip_prefix('/')?;
    let path = RelativePath::parse(below).ok()?;
    let before = before(workspace, &path)?;
    let after = match tool {
        "Write" => input["content"].as_str()?.to_owned(),
        "Edit" => edited(&before, input)?,
        "MultiEdit" => {
            let mut text = before.clone();
            for edit in input["edits"].as_array()? {
                text = edited(&text, edit)?;
            }
            text
        }
        _ => return None,
    };
    // Before they are compared, so that a change within a secret shows no line of it.
    let (before, after) = (redactor.clean_lines(&before), redactor.clean_lines(&after));
    let diff = TextDiff::configure()
        .timeout(DIFF_TIME)
        .diff_lines(&before, &after)
        .unified_diff()
        .context_radius(3)
        .header(&format!("a/{below}"), &format!("b/{below}"))
        .to_string();
    (diff.len() <= limits::APPROVAL_PREVIEW_BYTES).then_some(diff)
}

/// The file as it is; empty when there is none.
fn before(workspace: &Path, path: &RelativePath) -> Option<String> {
    let most = limits::READ_FILE_BYTES as u64;
    let components: Vec<&str> = path.components().collect();
    let opened = Tree::open(workspace).and_then(|tree| tree.file(&components));
    let file = match opened {
        Ok((file, _)) => file,
        Err(WalkError::Missing(_)) => return Some(String::new()),
        Err(_) => return None,
    };
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text).ok()?;
    (text.len() as u64 <= most).then_some(text)
}

fn edited(text: &str, edit: &Value) -> Option<String> {
    let (old, new) = (edit["old_string"].as_str()?, edit["new_string"].as_str()?);
    if old.is_empty() {
        return text.is_empty().then(|| new.to_owned());
    }
    if !text.contains(old) {
        return None;
    }
    let times = if edit["replace_all"] == true {
        text.matches(old).count()
    } else {
        1
    };
    // Before it is made: what a model writes here could fill the memory.
    let most = times.checked_mul(new.len())?.checked_add(text.len())?;
    (most <= EDITED_BYTES).then(|| text.replacen(old, new, times))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn edits_are_shown_as_a_diff_and_nothing_outside_is_read() {
        let workspace = tempfile::tempdir().unwrap();
        std::fs::write(workspace.path().join("a.txt"), "one\ntwo\n").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", workspace.path().join("link")).unwrap();
        let shown = |tool: &str, input: Value| {
            let redactor = Redactor::default();
            let root = workspace.path();
            preview(tool, &input, root, "/workspace", "/workspace", &redactor)
        };
        let edit = json!({"file_path": "a.txt", "old_string": "two", "new_string": "2"});
        let diff = shown("Edit", edit).unwrap();
        assert!(diff.contains("-two\n+2\n"), "{diff}");
        let write = json!({"file_path": "/workspace/new", "content": "x\n"});
        assert!(shown("Write", write).unwrap().contains("+x"));
        let secret = format!("ghp_{}{}", "Zq8R2mT4vX7bN1kL5w", "Y9cD3fH6jP0sA2uE4g");
        let leaks = json!({"file_path": "new", "content": format!("key = {secret}\n")});
        let diff = shown("Write", leaks).unwrap();
        assert!(
            !diff.contains(&secret) && diff.contains("redacted"),
            "{diff}"
        );
        let several = json!({"file_path": "a.txt", "edits": [
            {"old_string": "one", "new_string": "1"}, {"old_string": "1", "new_string": "eins"}
        ]});
        assert!(shown("MultiEdit", several).unwrap().contains("+eins"));
        for (tool, input) in [
            ("Write", json!({"file_path": "/etc/passwd", "content": "x"})),
            ("Write", json!({"file_path": "../x", "content": "x"})),
            ("Write", json!({"file_path": "link", "content": "x"})),
            ("Write", json!({"file_path": 7})),
            (
                "Edit",
                json!({"file_path": "a.txt", "old_string": "absent", "new_string": ""}),
            ),
            ("Bash", json!({"command": "ls"})),
            (
                "Edit",
                json!({"file_path": "a.txt", "old_string": "o", "new_string": "x".repeat(300_000), "replace_all": true}),
            ),
            (
                "MultiEdit",
                json!({"file_path": "a.txt", "edits": vec![json!({"old_string": "o", "new_string": "oo", "replace_all": true}); 40]}),
            ),
        ] {
            assert_eq!(shown(tool, input.clone()), None, "{tool} {input}");
        }
    }
}
