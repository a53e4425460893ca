//! The directory that relative paths start at, as `cd` changes it.

use crate::shell::Directory;

/// Most directories that a command may be in and that are told apart.
const DIRECTORIES: usize = 8;

impl Directory {
    fn of(mut ways: Vec<Vec<String>>, complete: bool) -> Self {
        ways.sort();
        ways.dedup();
        let too_many = ways.len() > DIRECTORIES;
        ways.truncate(DIRECTORIES);
        match (ways.is_empty(), complete && !too_many) {
            (true, _) => Self::Unknown,
            (false, true) => Self::Known(ways),
            (false, false) => Self::Partly(ways),
        }
    }

    fn ways(&self) -> (&[Vec<String>], bool) {
        match self {
            Self::Known(ways) => (ways, true),
            Self::Partly(ways) => (ways, false),
            Self::Unknown => (&[], false),
        }
    }

    /// It may still be this other one.
    pub(super) fn or(&mut self, other: &Self) {
        let (ways, complete) = self.ways();
        let (others, others_complete) = other.ways();
        *self = Self::of([ways, others].concat(), complete && others_complete);
    }

    /// Follows a path from each directory that it may be, `None` when the path is not known.
    pub(in crate::shell) fn follow(&mut self, paths: &[Option<String>]) {
        let (ways, complete) = self.ways();
        let mut after = Vec::new();
        let mut after_complete = !paths.is_empty();
        for path in paths {
            let Some(path) = path else {
                after_complete = false;
                continue;
            };
            if path.starts_with(['/', '~']) {
                after.push(vec![path.clone()]);
                continue;
            }
            after_complete &= complete;
            after.extend(ways.iter().map(|way| {
                let mut way = way.clone();
                way.push(path.clone());
                way
            }));
        }
        *self = Self::of(after, after_complete);
    }
}
