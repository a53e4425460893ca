//! The policy from outside: a table of shell commands with what is understood of them and what each
//! tier decides, the same commands in disguise, and commands damaged at random.

mod disguises;
mod fuzz;
mod ladder;
mod session;
mod table;
