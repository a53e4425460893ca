//! The options of programs, read as `getopt` reads them: clusters of letters, values in the same word
//! or the next one, long options shortened as far as only one can be meant.

use super::word::Word;

/// Options that a program is known to have. A letter or name without a mark has no value; the marks:
///
/// - `:` has a value
/// - `?` may have one, in the same word
/// - `<` its value is a file that is read
/// - `>` its value is a file that is written
/// - `!` has a value, and does more than its program does without it
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Letters, each with its mark; `#` stands for a number (`-20`).
    short: &'static str,
    /// Names, each with its mark, separated by blanks.
    long: &'static str,
    /// They end at the first operand, as in programs that start what follows.
    leading: bool,
}

/// Words taken apart.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Letters and names of options, with their values.
    pub(crate) options: Vec<(String, Option<Word>)>,
    /// What is no option.
    pub(crate) operands: Vec<Word>,
    /// Files that options name to be read.
    pub(crate) read: Vec<Word>,
    /// Files that options name to be written.
    pub(crate) written: Vec<Word>,
    /// Options that the program is not known to have, or that do more than it does without them.
    pub(crate) strange: Vec<Word>,
    /// A word that is not known may be an option.
    pub(crate) unsure: bool,
    /// A pattern may find a file whose name looks like an option.
    pub(crate) may_find_option: bool,
}

impl Given {
    /// Whether one of these letters or names is given.
    pub(crate) fn has(&self, names: &[&str]) -> bool {
        self.options
            .iter()
            .any(|(name, _)| names.contains(&name.as_str()))
    }

    /// The value of the first of these that has one.
    pub(crate) fn value(&self, names: &[&str]) -> Option<&Word> {
        self.options
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()))
            .find_map(|(_, value)| value.as_ref())
    }

    /// The values of all of these.
    pub(crate) fn values<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a Word> {
        self.options
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()))
            .filter_map(|(_, value)| value.as_ref())
    }
}

impl Options {
    pub(crate) const NONE: Self = Self::new("", "");

    pub(crate) const fn new(short: &'static str, long: &'static str) -> Self {
        Self {
            short,
            long,
            leading: false,
        }
    }

    /// Options that end at the first operand.
    pub(crate) const fn leading(short: &'static str, long: &'static str) -> Self {
        Self {
            short,
            long,
            leading: true,
        }
    }

    /// Whether one of them does more than its program does without it.
    pub(crate) fn do_more(&self) -> bool {
        let marks = ['>', '!'];
        self.short.contains(marks) || self.long.contains(marks)
    }

    /// Takes words apart.
    pub(crate) fn read(&self, words: &[Word]) -> Given {
        let mut given = Given::default();
        let mut index = 0;
        while let Some(word) = words.get(index) {
            let start = word.literal_start();
            let is_end = start == "--" && word.pieces.len() == 1;
            let is_option = start.len() > 1 && start.starts_with('-') && !is_end;
            if !is_option {
                if is_end || self.leading {
                    let rest = index + usize::from(is_end);
                    given.operands.extend_from_slice(&words[rest..]);
                    break;
                }
                let begins_unknown = start.is_empty() || start == "-" && word.pieces.len() > 1;
                given.unsure |= begins_unknown && word.is_unknown();
                given.may_find_option |= begins_unknown && word.begins_with_pattern();
                given.operands.push(word.clone());
                index += 1;
                continue;
            }
            index += 1;
            let takes_next = match start.strip_prefix("--") {
                Some(name) => self.long(name, word, words.get(index), &mut given),
                None => self.cluster(word, words.get(index), &mut given),
            };
            index += usize::from(takes_next);
        }
        given
    }

    /// A long option; whether the next word is its value.
    fn long(&self, name: &str, word: &Word, next: Option<&Word>, given: &mut Given) -> bool {
        let (name, value) = match name.find('=') {
            Some(end) => (&name[..end], Some(word.after(2 + end + 1))),
            None if word.pieces.len() > 1 => {
                given.unsure = true;
                given.strange.push(word.clone());
                return false;
            }
            None => (name, None),
        };
        let known = || {
            self.long.split_ascii_whitespace().map(|entry| {
                let mark = entry.chars().last().filter(|c| is_mark(*c));
                (entry.trim_end_matches(is_mark), mark)
            })
        };
        let exact = known().find(|(known, _)| *known == name);
        let mut abbreviated = known().filter(|(known, _)| known.starts_with(name));
        let found = exact.or_else(|| abbreviated.next().filter(|_| abbreviated.next().is_none()));
        let Some((name, mark)) = found else {
            given.strange.push(word.clone());
            given.options.push((name.to_owned(), value));
            return false;
        };
        let takes_next = value.is_none() && mark.is_some_and(|mark| mark != '?');
        let value = if takes_next { next.cloned() } else { value };
        option(name, mark, value, word, given);
        takes_next
    }

    /// Short options in one word; whether the next word is the value of the last.
    fn cluster(&self, word: &Word, next: Option<&Word>, given: &mut Given) -> bool {
        let start = word.literal_start();
        let digits = start.bytes().skip(1).all(|byte| byte.is_ascii_digit());
        if digits && self.short.contains('#') && word.pieces.len() == 1 {
            given.options.push(("#".to_owned(), None));
            return false;
        }
        for (at, letter) in start.char_indices().skip(1) {
            let Some(place) = self.short.find(letter).filter(|_| !is_mark(letter)) else {
                given.strange.push(word.clone());
                given.options.push((letter.to_string(), None));
                continue;
            };
            let mark = self.short[place + letter.len_utf8()..]
                .chars()
                .next()
                .filter(|c| is_mark(*c));
            let Some(mark) = mark else {
                given.options.push((letter.to_string(), None));
                continue;
            };
            let end = at + letter.len_utf8();
            let is_last = end == start.len() && word.pieces.len() == 1;
            let takes_next = is_last && mark != '?';
            let value = match (is_last, takes_next) {
                (_, true) => next.cloned(),
                (true, false) => None,
                (false, false) => Some(word.after(end)),
            };
            option(&letter.to_string(), Some(mark), value, word, given);
            return takes_next;
        }
        // Letters may follow that are not known.
        if word.pieces.len() > 1 {
            given.unsure = true;
            given.strange.push(word.clone());
        }
        false
    }
}

fn is_mark(c: char) -> bool {
    matches!(c, ':' | '?' | '<' | '>' | '!')
}

fn option(name: &str, mark: Option<char>, value: Option<Word>, word: &Word, given: &mut Given) {
    match mark {
        Some('<') => given.read.extend(value.clone()),
        Some('>') => given.written.extend(value.clone()),
        Some('!') => given.strange.push(word.clone()),
        _ => {}
    }
    given.options.push((name.to_owned(), value));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &Options, words: &str) -> String {
        let words: Vec<Word> = words.split(' ').map(Word::literal).collect();
        let given = options.read(&words);
        let mut text: Vec<String> = given
            .options
            .iter()
            .map(|(name, value)| match value {
                Some(value) => format!("{name}={}", value.shown()),
                None => name.clone(),
            })
            .collect();
        text.push("|".to_owned());
        text.extend(given.operands.iter().map(Word::shown));
        text.extend(
            given
                .strange
                .iter()
                .map(|word| format!("~{}", word.shown())),
        );
        text.join(" ").trim_end().to_owned()
    }

    #[test]
    fn options_are_read_as_getopt_reads_them() {
        let options = Options::new("ab:c?#", "alpha beta: colour? better");
        assert_eq!(read(&options, "-ab x y"), "a b=x | y");
        assert_eq!(read(&options, "-abx y"), "a b=x | y");
        assert_eq!(read(&options, "y -c -cx"), "c c=x | y");
        assert_eq!(read(&options, "-20 -- -a"), "# | -a");
        assert_eq!(
            read(&options, "--al --beta x --beta=y"),
            "alpha beta=x beta=y |"
        );
        assert_eq!(
            read(&options, "--colour x --colour=y"),
            "colour colour=y | x"
        );
        assert_eq!(read(&options, "--bet x"), "bet | x ~--bet");
        assert_eq!(read(&options, "-az x"), "a z | x ~-az");
    }

    #[test]
    fn options_of_a_program_that_starts_another_end_at_it() {
        let options = Options::leading("n:", "adjustment:");
        assert_eq!(read(&options, "-n 5 ls -n x"), "n=5 | ls -n x");
        assert_eq!(read(&options, "-- -n"), "| -n");
    }
}
