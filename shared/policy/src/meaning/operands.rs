//! Which arguments of a program are files, and what it does with them.

use crate::shell::{Access, Word};

/// What the operands of a program are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// Each is a file.
    Each(Access),
    /// The last is written, the others are files.
    LastWritten(Access),
    /// The first is no file: a pattern, a mode, a script.
    AfterFirst(Access),
    /// Read, except a second one, which is written.
    SecondWritten,
    /// None is a file.
    None,
}

/// How a program takes its arguments.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arguments {
    /// Options with a value that is no file.
    pub(super) valued: &'static [&'static str],
    /// Options with a value that is a file it reads.
    pub(super) read: &'static [&'static str],
    /// Options with a value that is a file it writes.
    pub(super) written: &'static [&'static str],
    /// The operands.
    pub(super) rule: Rule,
}

/// Arguments taken apart.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Arguments that are no options.
    pub(super) operands: Vec<Word>,
    /// Files.
    pub(super) files: Vec<(Access, Word)>,
}

impl Arguments {
    pub(super) const fn rule(rule: Rule) -> Self {
        Self::with(&[], rule)
    }

    pub(super) const fn with(valued: &'static [&'static str], rule: Rule) -> Self {
        Self {
            valued,
            read: &[],
            written: &[],
            rule,
        }
    }

    /// Takes arguments apart.
    pub(super) fn take(&self, words: &[Word]) -> Taken {
        let mut taken = Taken::default();
        let mut index = 0;
        let mut only_operands = false;
        while let Some(word) = words.get(index) {
            index += 1;
            let start = word.literal_start();
            if only_operands || !start.starts_with('-') || start == "-" {
                taken.operands.push(word.clone());
            } else if start == "--" {
                only_operands = true;
            } else {
                self.option(word, words.get(index), &mut index, &mut taken);
            }
        }
        self.name_files(&mut taken);
        taken
    }

    fn option(&self, word: &Word, next: Option<&Word>, index: &mut usize, taken: &mut Taken) {
        let start = word.literal_start();
        let kinds = [
            (self.valued, None),
            (self.read, Some(Access::Read)),
            (self.written, Some(Access::Write)),
        ];
        for (options, access) in kinds {
            for option in options {
                let value = if start == *option && word.text().is_some() {
                    *index += 1;
                    next.cloned()
                } else if option.starts_with("--") {
                    let rest = start.strip_prefix(option);
                    rest.filter(|rest| rest.starts_with('='))
                        .map(|_| word.after(option.len() + 1))
                } else {
                    start.strip_prefix(option).map(|_| word.after(option.len()))
                };
                if let Some(value) = value {
                    taken.files.extend(access.map(|access| (access, value)));
                    return;
                }
            }
        }
    }

    fn name_files(&self, taken: &mut Taken) {
        let operands = taken.operands.clone();
        let count = operands.len();
        for (index, word) in operands.into_iter().enumerate() {
            let access = match self.rule {
                Rule::None => continue,
                Rule::AfterFirst(_) if index == 0 => continue,
                Rule::Each(access) | Rule::AfterFirst(access) => access,
                Rule::LastWritten(_) if index + 1 == count && count > 1 => Access::Write,
                Rule::LastWritten(access) => access,
                Rule::SecondWritten if index > 0 => Access::Write,
                Rule::SecondWritten => Access::Read,
            };
            taken.files.push((access, word));
        }
    }
}
