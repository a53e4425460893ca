//! What the stack costs, measured in one run and printed as the README's table.
//!
//! ```text
//! cargo run --release -p e2e --example benchmark
//! ```
//!
//! Run it by hand on a machine that does nothing else. Peers are measured in the same run: a bare
//! rmcp server, the Python SDK's server, and plain `claude -p`. The model is the offline one.

mod cold_start;
mod decisions;
mod peers;
mod requests;
mod sessions;
mod statistics;

use std::io::Write as _;

use e2e::stack::{Options, Stack};

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
    let mut figures = cold_start::emulator();
    figures.extend(cold_start::functions());
    let stack = Stack::start(&Options::default());
    figures.extend(requests::measure(&stack).await);
    figures.extend(sessions::measure(&stack).await);
    figures.extend(decisions::measure(&stack).await);
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
