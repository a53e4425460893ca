//! The self-hosted service: `emulator serve` of an installation, alone and behind a real nginx.

mod limits;
mod mishaps;
mod nginx_alone;
mod starting;
mod stdio;
mod stopping;
mod update;
