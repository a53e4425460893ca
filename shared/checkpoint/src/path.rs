//! Paths below a root, as bytes, in the one order that manifests and walks share.

use std::{borrow::Cow, cmp::Ordering, fmt};

use domain::limits::{FILE_NAME_BYTES, PATH_BYTES};

use crate::codec::Malformed;

/// A path below a root: one or more plain names. It cannot leave the root: it is never absolute,
/// holds no `.`, no `..`, no empty name and no NUL.
///
/// Ordered so that a directory is directly followed by all that is in it, as a walk meets them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelativePath(Vec<u8>);

impl RelativePath {
    /// Checks a path that comes from outside, a manifest included.
    ///
    /// # Errors
    /// What about it is not allowed.
    pub fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.is_empty() {
            return Err("a path is empty");
        }
        if bytes.len() > PATH_BYTES {
            return Err("a path is too long");
        }
        for name in bytes.split(|byte| *byte == b'/') {
            if name.is_empty() || name == b"." || name == b".." {
                return Err("a path is absolute or holds an empty name, '.' or '..'");
            }
            if name.len() > FILE_NAME_BYTES {
                return Err("a name is too long");
            }
            if name.contains(&0) {
                return Err("a name holds a NUL");
            }
        }
        Ok(Self(bytes.to_vec()))
    }

    /// A path that a walk made of names that the kernel gave.
    pub(crate) const fn from_walk(path: Vec<u8>) -> Self {
        Self(path)
    }

    pub(crate) fn from_manifest(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::parse(bytes).map_err(Malformed)
    }

    /// As it is on disk.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// For people: what is not UTF-8 is replaced.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The directory it is in, empty at the top, and its name there.
    #[must_use]
    pub fn split(&self) -> (&[u8], &[u8]) {
        split(&self.0)
    }
}

pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(place) => (&path[..place], &path[place + 1..]),
        None => (&[], path),
    }
}

/// The order of paths: name by name.
pub(crate) fn compare(left: &[u8], right: &[u8]) -> Ordering {
    let same = left.iter().zip(right).take_while(|(l, r)| l == r).count();
    // No name holds a NUL, so the separator may sort as one: before every other byte.
    let at = |path: &[u8]| {
        path.get(same)
            .map(|byte| if *byte == b'/' { 0 } else { *byte })
    };
    at(left).cmp(&at(right))
}

impl Ord for RelativePath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for RelativePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for RelativePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_text())
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_its_root() {
        let long_name = vec![b'a'; 256];
        let longest_path = [b"ab/".repeat(1364), b"abc".to_vec()].concat();
        let long_path = [&longest_path[..], b"d"].concat();
        for bad in [
            &b""[..],
            b"/",
            b"/etc/passwd",
            b"..",
            b"../x",
            b"a/../../x",
            b"a/..",
            b".",
            b"./a",
            b"a//b",
            b"a/",
            b"a\0b",
            &long_name,
            &long_path,
        ] {
            assert!(
                RelativePath::parse(bad).is_err(),
                "{:?}",
                &bad[..bad.len().min(20)]
            );
        }
        for good in [&b"a"[..], b"...", b"a/.b/c", b"\xff\n", &longest_path] {
            assert!(
                RelativePath::parse(good).is_ok(),
                "{:?}",
                &good[..good.len().min(20)]
            );
        }
    }

    #[test]
    fn a_directory_is_followed_by_what_is_in_it() {
        let order: [&[u8]; 6] = [b"a", b"a/b", b"a/b/c", b"a/c", b"a-b", b"b"];
        for pair in order.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater);
        }
    }
}
