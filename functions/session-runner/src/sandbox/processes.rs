//! The table of the machine's processes.

#[cfg(any(test, not(target_os = "linux")))]
mod ps;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    /// When it started, in words that only tell one process from another.
    pub(crate) started: String,
    /// It has ended, and nobody has waited for it.
    pub(crate) is_dead: bool,
}

#[cfg(not(target_os = "linux"))]
pub(crate) use ps::table;

/// All processes. What ended meanwhile is left out.
#[cfg(target_os = "linux")]
pub(crate) fn table() -> std::io::Result<Vec<Process>> {
    let mut table = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let id = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(id) = id else { continue };
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else {
            continue;
        };
        table.extend(read_stat(id, &String::from_utf8_lossy(&stat)));
    }
    Ok(table)
}

/// `ID (NAME) STATE PARENT GROUP .. STARTED ..`; the name can be anything, parentheses included.
#[cfg(target_os = "linux")]
fn read_stat(id: u32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    Some(Process {
        id,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        started: (*fields.get(19)?).to_owned(),
        is_dead: fields.first()?.starts_with(['Z', 'X']),
    })
}
