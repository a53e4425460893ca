//! The self-hosted service: `emulator serve` of an installation, alone and behind a real nginx.

mod clock;
mod limits;
mod mishaps;
mod nginx_alone;
mod older_backup;
mod starting;
mod stdio;
mod stopping;
mod update;
