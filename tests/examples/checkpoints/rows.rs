//! Processes that are measured, and the rows of the table.

use std::{
    io::{self, Write as _},
    path::Path,
    process::Command,
};

use crate::place::Place;

/// Runs a shell command under Python's `wait4`: wall seconds, CPU seconds, peak MiB.
pub(crate) fn measure(script: &str) -> io::Result<Option<(f64, f64, f64, String)>> {
    const MEASURE: &str = "\
import os,sys,time,subprocess
t=time.time(); p=subprocess.Popen(['sh','-ec',sys.argv[1]],stdout=subprocess.PIPE,stderr=subprocess.DEVNULL)
out=p.stdout.read(); _,s,r=os.wait4(p.pid,0)
print(time.time()-t, r.ru_utime+r.ru_stime, r.ru_maxrss/1024, s); sys.stdout.flush(); sys.stdout.buffer.write(out)";
    let output = Command::new("python3")
        .args(["-c", MEASURE, script])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (figures, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let figures: Vec<f64> = figures
        .split(' ')
        .filter_map(|figure| figure.parse().ok())
        .collect();
    match figures[..] {
        [wall, cpu, peak, 0.0] => Ok(Some((wall, cpu, peak, rest.to_owned()))),
        _ => Ok(None),
    }
}

/// The table, as it grows.
pub(crate) struct Rows(pub(crate) io::Stdout);

impl Rows {
    pub(crate) fn head(&mut self) -> io::Result<()> {
        writeln!(
            self.0,
            "| tree | what | who | wall | CPU | peak memory | requests | stored |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- |"
        )
    }

    fn row(&mut self, tree: &str, what: &str, who: &str, cells: &[String]) -> io::Result<()> {
        writeln!(
            self.0,
            "| {tree} | {what} | {who} | {} |",
            cells.join(" | ")
        )
    }

    /// A peer: what it runs. What it stores is what its directory, or its part of the bucket, holds.
    pub(crate) fn peer(
        &mut self,
        place: &Place,
        what: &str,
        who: &str,
        script: &str,
        stored: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<()> {
        let before = place.requests()?;
        let Some((wall, cpu, peak, _)) = measure(script)? else {
            return self.row(&place.name, what, who, &["not here, or failed".to_owned()]);
        };
        let cells = [
            format!("{:.0} ms", wall * 1e3),
            format!("{:.0} ms", cpu * 1e3),
            format!("{peak:.0} MiB"),
            match place.requests()? - before {
                0 => "–".to_owned(),
                requests => requests.to_string(),
            },
            format!("{:.1} MB in all", stored()? as f64 / 1e6),
        ];
        self.row(&place.name, what, who, &cells)
    }

    /// A child of ours, which prints a line for each step.
    pub(crate) fn ours(&mut self, place: &Place, mode: &str, files: &Path) -> io::Result<()> {
        let program = std::env::current_exe()?;
        let script = format!(
            "{} exec '{}' child {mode} '{}' {}",
            place.environment(),
            program.display(),
            files.display(),
            place.number
        );
        let Some((_, _, peak, said)) = measure(&script)? else {
            return self.row(&place.name, mode, "**shannon**", &["failed".to_owned()]);
        };
        for line in said.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [step, wall, cpu, requests, bytes] = fields[..] else {
                continue;
            };
            let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
            let cells = [
                format!("{:.0} ms", number(wall) / 1e3),
                format!("{:.0} ms", number(cpu) / 1e3),
                format!("{peak:.0} MiB"),
                requests.to_owned(),
                format!("{:.3} MB", number(bytes) / 1e6),
            ];
            self.row(&place.name, step, "**shannon**", &cells)?;
        }
        Ok(())
    }
}
