//! Media types of files, by their names.

/// Extensions of what sessions commonly write; the rest is text or bytes by its content.
const BY_EXTENSION: [(&str, &str); 45] = [
    ("bmp", "image/bmp"),
    ("c", "text/x-c"),
    ("cpp", "text/x-c++"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("diff", "text/x-diff"),
    ("gif", "image/gif"),
    ("go", "text/x-go"),
    ("gz", "application/gzip"),
    ("h", "text/x-c"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/vnd.microsoft.icon"),
    ("java", "text/x-java"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("jsonl", "application/x-ndjson"),
    ("jsx", "text/javascript"),
    ("md", "text/markdown"),
    ("mjs", "text/javascript"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("patch", "text/x-diff"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("py", "text/x-python"),
    ("rb", "text/x-ruby"),
    ("rs", "text/x-rust"),
    ("sh", "text/x-shellscript"),
    ("sql", "application/sql"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("toml", "application/toml"),
    ("ts", "text/x-typescript"),
    ("tsx", "text/x-typescript"),
    ("txt", "text/plain"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webp", "image/webp"),
    ("xml", "application/xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
];

/// The media type of a file that holds text, or bytes that are none.
pub(crate) fn media_type(path: &str, is_text: bool) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    let known = extension.and_then(|extension| {
        BY_EXTENSION
            .binary_search_by_key(&extension.as_str(), |(name, _)| name)
            .ok()
            .map(|at| BY_EXTENSION[at].1)
    });
    match known {
        // A name that promises text does not make text of bytes.
        Some(kind) if is_text || !kind.starts_with("text/") => kind,
        _ if is_text => "text/plain",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_where_the_content_agrees() {
        assert!(BY_EXTENSION.is_sorted());
        for (path, is_text, expected) in [
            ("src/main.rs", true, "text/x-rust"),
            ("a/B.PNG", false, "image/png"),
            ("Makefile", true, "text/plain"),
            ("main.rs", false, "application/octet-stream"),
            (".gitignore", true, "text/plain"),
            ("data", false, "application/octet-stream"),
            ("", true, "text/plain"),
        ] {
            assert_eq!(media_type(path, is_text), expected, "{path}");
        }
    }
}
