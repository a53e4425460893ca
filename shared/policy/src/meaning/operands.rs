//! Which arguments of a program are files, and what it does with them.

use crate::shell::options::{Given, Options};
use crate::shell::{Access, Word};

/// What the operands of a program are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Each is a file.
    Each(Access),
    /// The last is written, the others are files.
    LastWritten(Access),
    /// The first is no file: a pattern, a mode, a script. Unless one of these options is given, which
    /// says it or takes its place.
    AfterFirst(Access, &'static [&'static str]),
    /// Read, except a second one, which is written.
    SecondWritten,
    /// None is a file.
    None,
}

/// How a program takes its arguments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments {
    /// Its options.
    pub(super) options: Options,
    /// The operands.
    pub(super) rule: Rule,
}

/// Options that name the directory which is written, in place of the last operand.
const TARGET: &[&str] = &["t", "target-directory"];

/// Arguments taken apart.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Options and operands.
    pub(super) given: Given,
    /// Files.
    pub(super) files: Vec<(Access, Word)>,
}

impl Arguments {
    pub(super) const fn new(short: &'static str, long: &'static str, rule: Rule) -> Self {
        Self {
            options: Options::new(short, long),
            rule,
        }
    }

    /// Takes arguments apart.
    pub(super) fn take(&self, words: &[Word]) -> Taken {
        let given = self.options.read(words);
        let mut files = Vec::new();
        let count = given.operands.len();
        for (index, word) in given.operands.iter().enumerate() {
            let access = match self.rule {
                Rule::None => continue,
                Rule::AfterFirst(_, said) if index == 0 && !given.has(said) => continue,
                Rule::Each(access) | Rule::AfterFirst(access, _) => access,
                Rule::LastWritten(_) if index + 1 == count && count > 1 && !given.has(TARGET) => {
                    Access::Write
                }
                Rule::LastWritten(access) => access,
                Rule::SecondWritten if index > 0 => Access::Write,
                Rule::SecondWritten => Access::Read,
            };
            files.push((access, word.clone()));
        }
        for (words, access) in [(&given.read, Access::Read), (&given.written, Access::Write)] {
            files.extend(words.iter().map(|word| (access, word.clone())));
        }
        Taken { given, files }
    }

    /// Whether options that are given, or that unknown words may be, do more than read.
    pub(super) fn may_do_more(&self, given: &Given) -> bool {
        let hidden = given.unsure || given.may_find_option;
        !given.strange.is_empty() || self.options.do_more() && hidden
    }
}
