//! Resources: sessions, their logs, files and diffs under `shannon://`, as lists, as templates, and
//! read. The same [`Address`] is parsed from a URI and written into links.

mod address;
mod complete;
mod list;
mod media;
mod past;
mod read;

use domain::Principal;
use domain::authorization::MissingScope;
use domain::ports::Unavailable;
use rmcp::ErrorData;

pub(crate) use address::Address;
pub(crate) use complete::{Completes, complete, paths_of};
pub(crate) use list::{DIFF, list, templates};
pub(crate) use media::media_type;
pub(crate) use read::read;

/// Most characters of one content. Own: 25,000 tokens of four characters, which Claude Code shows
/// of one result; claude.ai takes 150,000 characters.
pub(crate) const CONTENT_CHARACTERS: usize = 100_000;

/// The token lacks a scope: not the client's parameters are wrong, but who asks.
pub(crate) fn missing_scope(missing: MissingScope) -> ErrorData {
    ErrorData::invalid_request(missing.to_string(), None)
}

/// An outside service failed; its own words are for the log.
pub(crate) fn unavailable(unavailable: &Unavailable) -> ErrorData {
    tracing::warn!(
        error = unavailable as &dyn std::error::Error,
        "a resource was not served"
    );
    ErrorData::internal_error(format!("{unavailable}; ask again"), None)
}

/// Whether the caller may see the settings of the deployment.
fn administers(principal: &Principal) -> bool {
    principal
        .authorize::<domain::authorization::Administer>()
        .is_ok()
}
