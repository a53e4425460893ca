//! End to end over HTTP: the emulator with the built functions, the real CLI, the offline model.
//!
//! Most tests share one stack and keep apart by session; those that kill things or change settings
//! start their own. Tests start in the order of their names: what waits longest, for the CLI to give an
//! API up, comes first.

mod alarms;
mod api_failures;
mod approvals;
mod audit;
mod bad_input;
mod calls;
mod catalog;
mod checkpoints;
mod cloud_run;
mod command_line;
mod costs;
mod damage;
mod failing_claude;
mod failing_services;
mod files;
mod git_credentials;
mod hostile_repository;
mod instances;
mod isolation;
mod keys;
mod killing;
mod legacy_era;
mod listening;
mod listing;
mod login;
mod messages;
mod model_requests;
mod notices;
mod on_port;
mod permissions;
mod policies;
mod rates;
mod readiness;
mod recovery;
mod roles;
mod sessions;
mod settings;
mod suspending;
mod tasks_extension;
mod uploads;
mod waiting;
