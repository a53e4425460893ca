//! Paths as the model writes them. Only what can be read in one way is a path below a root.

/// Why a path is not below its root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It can be read in more than one way.
    Unclear,
    /// It contains `..`.
    Upward,
    /// It is somewhere else.
    Outside,
}

/// The components of `text` below `root`. A relative path starts at `start`.
pub(crate) fn below<'a>(
    root: &str,
    start: &'a str,
    text: &'a str,
) -> Result<Vec<&'a str>, Refusal> {
    // The CLI expands a leading `~` and may trim white space; a path must not change under it.
    if text.is_empty()
        || text.starts_with('~')
        || text.trim() != text
        || text.chars().any(char::is_control)
    {
        return Err(Refusal::Unclear);
    }
    let mut components: Vec<&str> = Vec::new();
    if !text.starts_with('/') {
        components.extend(parts(start));
    }
    components.extend(parts(text));
    if components.contains(&"..") {
        return Err(Refusal::Upward);
    }
    let root: Vec<&str> = parts(root).collect();
    if components.starts_with(&root) {
        Ok(components.split_off(root.len()))
    } else {
        Err(Refusal::Outside)
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

/// A glob pattern that stays below where it starts.
pub(crate) fn is_plain_pattern(pattern: &str) -> bool {
    // Braces can spell `..` and `/` in pieces: `{.,x}{.,y}/`. None of the pieces may hold a dot pair
    // or start a component with a dot inside braces.
    let braces_hide_dots = pattern.contains('{') && pattern.contains("{.");
    !pattern.is_empty()
        && !pattern.starts_with(['/', '~', '{'])
        && pattern.trim() == pattern
        && !pattern.contains("..")
        && !braces_hide_dots
        && !pattern.contains(",.")
        && !pattern.contains('\\')
        && !pattern.chars().any(char::is_control)
}
