//! A newer release of the CLI.

use crate::{
    ports::{Clock, Operators, Releases, Unavailable},
    release::{Release, Version},
};

/// What the registry said of the newest release is kept, and operators hear once of one that is newer
/// than the supported version. Nothing is installed: which version runs is a decision, and a setting.
///
/// Cut after they were told, they are told again the next time, rather than never; two at once may tell
/// twice.
///
/// # Errors
/// [`Unavailable`]; the next time does all of it.
pub async fn note_release<P: Releases + Clock, O: Operators>(
    ports: &P,
    operators: &O,
    supported: Version,
    newest: Version,
) -> Result<Release, Unavailable> {
    let known = ports.release().await?;
    let told_before = known.is_some_and(|known| known.told && known.newest == newest);
    let is_newer = newest > supported;
    if is_newer && !told_before {
        let subject = format!("Shannon: Claude Code {newest} is there");
        let text = format!(
            "This deployment runs Claude Code {supported}; {newest} is the newest release. Nothing was \
             installed. To use it, try it with the tests of a release of Shannon that supports it, then build \
             the runner's image with it (infra/runner/build) and deploy with ClaudeVersion={newest}."
        );
        operators.tell(&subject, &text).await?;
    }
    let release = Release {
        newest,
        told: is_newer,
        seen_at: ports.now(),
    };
    ports.keep_release(&release).await?;
    Ok(release)
}
