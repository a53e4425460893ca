//! Before and after the work of every function: settings are read and checked once, logging is set
//! up, a handler runs on Lambda or on a port, panics become error responses.

pub mod access_token;
pub mod events;
pub mod http;
pub mod logging;
mod on_lambda;
mod on_port;
pub mod outbound;
pub mod settings;
mod start;

pub use access_token::AccessToken;
pub use settings::{Secret, Settings, SettingsError};
pub use start::{Boot, StartError, init, run};
