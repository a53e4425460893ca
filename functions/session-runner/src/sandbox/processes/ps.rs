//! The table as `ps` tells it, for systems without `/proc`.

use std::io::{Error, Read};
use std::process::{Command, Stdio};

use super::Process;

/// All processes, without the `ps` that lists them.
pub(crate) fn table() -> std::io::Result<Vec<Process>> {
    let mut ps = Command::new("ps")
        .args(["-A", "-o", "pid=", "-o", "ppid=", "-o", "pgid="])
        .args(["-o", "stat=", "-o", "lstart="])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut text = Vec::new();
    if let Some(mut output) = ps.stdout.take() {
        output.read_to_end(&mut text)?;
    }
    let status = ps.wait()?;
    if !status.success() {
        return Err(Error::other(format!("ps: {status}")));
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    let table = text.lines().filter_map(read_line);
    Ok(table.filter(|process| process.id != ps.id()).collect())
}

fn read_line(line: &str) -> Option<Process> {
    let mut words = line.split_whitespace();
    Some(Process {
        id: words.next()?.parse().ok()?,
        parent: words.next()?.parse().ok()?,
        group: words.next()?.parse().ok()?,
        is_dead: words.next()?.starts_with('Z'),
        started: words.collect::<Vec<_>>().join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = "  812     1   812 S+   Thu Nov 26 21:15:03 2026    ";
        let process = read_line(line).expect("a process");
        assert_eq!((process.id, process.parent, process.group), (812, 1, 812));
        assert_eq!(process.started, "Thu Nov 26 21:15:03 2026");
        assert!(!process.is_dead);
        assert!(read_line(" 9 8 7 Z+ Thu Nov 26").is_some_and(|dead| dead.is_dead));
        assert_eq!(read_line("ps: no such option"), None);
    }

    #[test]
    fn ps_and_the_systems_own_table_agree_about_this_process() {
        let find = |table: std::io::Result<Vec<Process>>| {
            let own = table.expect("a table").into_iter();
            let mut own = own.filter(|process| process.id == std::process::id());
            let found = own.next().expect("this process");
            (
                found.parent,
                found.group,
                found.is_dead,
                found.started.is_empty(),
            )
        };
        let told = find(table());
        assert_eq!(told, find(super::super::table()));
        assert_eq!(told.0, std::os::unix::process::parent_id());
    }
}
