//! Programs that a test writes and runs.

use std::path::Path;
use std::process::Command;

/// Writes a program that can be run at once.
///
/// A process of its own puts it there: a file that this one had open for writing may still be open in
/// a child that another test is just starting, and then it cannot be run (`ETXTBSY`).
///
/// # Panics
/// When it cannot be written.
pub fn executable(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    std::fs::write(&draft, text).expect("a draft can be written");
    let status = Command::new("install")
        .args(["-m", "755"])
        .args([draft.as_path(), path])
        .status()
        .expect("install can be started");
    assert!(status.success(), "writing {}: {status}", path.display());
    std::fs::remove_file(draft).expect("the draft is ours");
}
