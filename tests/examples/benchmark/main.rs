//! What the stack costs, measured in one run and printed as the README's table.
//!
//! ```text
//! cargo run --release -p e2e --example benchmark [-- PART...]
//! ```
//!
//! Parts: `cold_start`, `requests`, `sessions`, `decisions`; all without one.
//!
//! Run it by hand on a machine that does nothing else. Peers are measured in the same run: the
//! least functions in Rust, Python and Node, a bare rmcp server, the Python SDK's server, and plain
//! `claude -p`. The model is the offline one.

mod cold_start;
mod decisions;
mod peers;
mod requests;
mod sessions;
mod statistics;

use std::io::Write as _;

use e2e::stack::{Options, Stack};

const PARTS: [&str; 4] = ["cold_start", "requests", "sessions", "decisions"];

/// One line of the report.
struct Figure {
    what: String,
    value: String,
    aim: &'static str,
}

impl Figure {
    fn new(what: impl Into<String>, value: impl Into<String>, aim: &'static str) -> Self {
        Self {
            what: what.into(),
            value: value.into(),
            aim,
        }
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|part| !PARTS.contains(&part.as_str())) {
        let parts = PARTS.join(", ");
        return Err(std::io::Error::other(format!(
            "{unknown} is none of {parts}"
        )));
    }
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|it| it == part);
    let mut figures = Vec::new();
    if is_wanted("cold_start") {
        figures.extend(cold_start::emulator());
        figures.extend(cold_start::functions());
        figures.extend(cold_start::peers());
    }
    let stack = Stack::start(&Options::default());
    if is_wanted("requests") {
        figures.extend(requests::measure(&stack).await);
    }
    if is_wanted("sessions") {
        figures.extend(sessions::measure(&stack).await);
    }
    if is_wanted("decisions") {
        figures.extend(decisions::measure(&stack).await);
    }
    drop(stack);

    let mut out = std::io::stdout().lock();
    writeln!(out, "| what | measured | aim |\n| --- | --- | --- |")?;
    for figure in figures {
        writeln!(
            out,
            "| {} | {} | {} |",
            figure.what, figure.value, figure.aim
        )?;
    }
    Ok(())
}
