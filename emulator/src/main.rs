//! The emulator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = emulator::process::run_child(std::env::args_os()) {
        return code;
    }
    ExitCode::SUCCESS
}
