//! Starts the tools that judge a file, and breaks copies of files for them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use e2e::{checkout, installed};
use serde_json::Value;

/// What a tool said, and whether it was content.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) content: bool,
    pub(crate) said: String,
}

impl Verdict {
    fn of(output: &Output) -> Self {
        let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        Self {
            content: output.status.success(),
            said: format!("{out}{err}"),
        }
    }

    /// Fails with what the tool said, unless it was content.
    pub(crate) fn accepts(&self) {
        assert!(self.content, "{}", self.said);
    }

    /// Fails unless the tool refused, and said `word`.
    pub(crate) fn refuses(&self, word: &str) {
        assert!(!self.content, "a broken copy was taken: {}", self.said);
        assert!(self.said.contains(word), "no {word:?} in {}", self.said);
    }
}

/// Runs a judge to its end.
pub(crate) fn run(command: &mut Command) -> Verdict {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    Verdict::of(&output)
}

/// The same for one that reads JSON from its standard input.
pub(crate) fn run_on(command: &mut Command, data: &Value) -> Verdict {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    let mut input = child.stdin.take().expect("a pipe");
    let text = data.to_string();
    let writing = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("no panic").expect("it reads");
    Verdict::of(&output)
}

/// A program of the judges that Python's registry has.
pub(crate) fn tool(name: &str) -> Command {
    Command::new(installed::manifest_tools().program(name))
}

/// The checker of this directory for what clouds publish in no schema.
pub(crate) fn conform(arguments: &[&str]) -> Command {
    let mut command = Command::new(installed::manifest_tools().interpreter());
    command
        .arg(checkout::root().join("tests/tests/manifests/conform.py"))
        .args(arguments);
    command
}

/// A schema that check-jsonschema carries, for one file.
pub(crate) fn schema(name: &str, more: &[&str], file: &Path) -> Verdict {
    let mut command = tool("check-jsonschema");
    command
        .args(["--builtin-schema", name])
        .args(more)
        .arg(file);
    run(&mut command)
}

/// A file of the checkout.
pub(crate) fn path(file: &str) -> PathBuf {
    checkout::root().join(file)
}

/// Its text with one piece replaced, which must be there.
pub(crate) fn changed(file: &str, from: &str, to: &str) -> String {
    let text = checkout::read(file);
    assert!(text.contains(from), "{file} has no {from:?}");
    text.replacen(from, to, 1)
}

/// A file with the same name and that text, in a directory that goes with the value.
#[derive(Debug)]
pub(crate) struct Draft {
    _directory: tempfile::TempDir,
    /// Where it is.
    pub(crate) path: PathBuf,
}

impl Draft {
    pub(crate) fn of(file: &str, text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let name = Path::new(file).file_name().expect("a file");
        let path = directory.path().join(name);
        fs::write(&path, text).expect("written");
        Self {
            _directory: directory,
            path,
        }
    }

    /// [`changed`], as a file.
    pub(crate) fn broken(file: &str, from: &str, to: &str) -> Self {
        Self::of(file, &changed(file, from, to))
    }
}

/// The documents of a YAML file.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = text
        .split("\n---\n")
        .map(|one| serde_saphyr::from_str(one).unwrap_or_else(|error| panic!("{error}: {one}")))
        .collect();
    assert!(!documents.is_empty());
    documents
}

/// The one document of a YAML file of the checkout.
pub(crate) fn yaml(file: &str) -> Value {
    documents(&checkout::read(file)).remove(0)
}

/// Fails with each pointer whose value is another one.
pub(crate) fn holds(value: &Value, expected: &[(&str, Value)]) {
    let wrong: Vec<String> = expected
        .iter()
        .filter(|(pointer, expected)| value.pointer(pointer) != Some(expected))
        .map(|(pointer, expected)| {
            let found = value.pointer(pointer);
            format!("{pointer}: {found:?}, not {expected}")
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
