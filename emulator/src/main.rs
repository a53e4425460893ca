//! The emulator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    // both have to run before any thread exists
    if let Some(code) = emulator::process::run_child(std::env::args_os()) {
        return code;
    }
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == emulator::stack::isolation::PROBE)
    {
        return emulator::stack::isolation::probe();
    }
    emulator::command_line::main()
}
