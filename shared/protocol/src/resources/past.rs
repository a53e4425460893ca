//! What a session can go back to, its tree, and its conversation as a person reads it.

use domain::authorization::ReadSessions;
use domain::checkpoint::CheckpointName;
use domain::ports::{Checkpoints, Clock, Compute, Inbox, SessionDirectory, SessionLog};
use domain::use_cases::{self, FindCheckpointError};
use domain::{Authorized, Sequence, SessionKey, limits};
use serde_json::json;

use super::list::{DIFF, TEXT};
use super::read::{Bytes, Content, NotRead, READ_BYTES};
use super::{Address, CONTENT_CHARACTERS};
use crate::history;
use crate::show;
use crate::snapshots::{DiffLimits, Snapshots};

impl From<FindCheckpointError> for NotRead {
    fn from(error: FindCheckpointError) -> Self {
        match error {
            FindCheckpointError::Unavailable(unavailable) => Self::Unavailable(unavailable),
            other => Self::Missing(other.to_string()),
        }
    }
}

/// A page of checkpoints, the newest first.
pub(super) async fn checkpoints<P>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
    before: Option<u64>,
) -> Result<Content, NotRead>
where
    P: SessionDirectory + Checkpoints,
{
    let limit = limits::CHECKPOINT_PAGE;
    let mut page = use_cases::list_checkpoints(ports, reader, key, before, limit).await?;
    let shown = history::page(&mut page);
    let mut value = json!({
        "session_id": key.session.as_str(),
        "checkpoints": shown,
    });
    if let Some(latest) = &page.head.checkpoint {
        value["latest"] = latest.as_str().into();
    }
    let next = page.next.map(|before| Address::Checkpoints {
        session: key.session.clone(),
        before: Some(before),
    });
    if let Some(next) = &next {
        value["next"] = next.to_string().into();
    }
    let mut content = Content::json(&value, false);
    content.next = next;
    Ok(content)
}

/// Longest patch that is gone through piece by piece: every piece begins with all before it. Own.
const COMPARED_BYTES: usize = 4 << 20;

/// Unchanged lines around each change, as git has them.
const CONTEXT_LINES: usize = 3;

/// A piece of the patch from one checkpoint to another. Between two that are named by their ids it
/// is always the same; the address of what follows names them so.
///
/// Nothing is kept between pieces: each compares anew, up to its end, on whichever instance it is
/// asked of. So a piece costs as much as all before it, which [`COMPARED_BYTES`] bounds, and the
/// pieces are of one text because comparing the same two gives the same patch everywhere.
pub(super) async fn comparison<P, S>(
    ports: &P,
    snapshots: &S,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
    (from, to): (&CheckpointName, &CheckpointName),
    offset: u64,
) -> Result<Content, NotRead>
where
    P: SessionDirectory + Checkpoints,
    S: Snapshots,
{
    let by_id = |name: &CheckpointName| matches!(name, CheckpointName::Id(_));
    let lasting = by_id(from) && by_id(to);
    let (_, from) = use_cases::find_checkpoint(ports, reader, key, from).await?;
    let (head, to) = use_cases::find_checkpoint(ports, reader, key, to).await?;
    let not_there = || NotRead::Refused("offset: use the address of the piece before".to_owned());
    let start = usize::try_from(offset).map_err(|_| not_there())?;
    if start > COMPARED_BYTES {
        return Err(NotRead::Refused(format!(
            "the patch has more than {COMPARED_BYTES} bytes; export_workspace with since gives all of it"
        )));
    }
    let limits = DiffLimits {
        context_lines: CONTEXT_LINES,
        patch_bytes: start + CONTENT_CHARACTERS,
        changes: 10_000,
        binary: false,
    };
    let tree = head.tree_key();
    let diff = snapshots
        .diff(&tree, key, &from.files, &to.files, limits)
        .await?
        .without_secrets();
    let rest = diff.patch.get(start..).ok_or_else(not_there)?;
    let piece = piece(rest);
    let end = start + piece.len();
    let more = end < diff.patch.len() || diff.truncated;
    let next = (more && !piece.is_empty()).then(|| Address::Comparison {
        session: key.session.clone(),
        from: CheckpointName::Id(from.id.clone()),
        to: CheckpointName::Id(to.id.clone()),
        offset: end as u64,
    });
    let mut text = piece.to_owned();
    if next.is_none() && (diff.truncated || diff.more_changes > 0) {
        text.push_str("# This is not all: export_workspace with since gives the whole patch.\n");
    }
    Ok(Content {
        text: Bytes::Text(text),
        media_type: DIFF,
        lasting,
        next,
        whole_bytes: None,
    })
}

/// As much of a patch as one content takes: whole files, or else whole lines.
fn piece(patch: &str) -> &str {
    if patch.len() <= CONTENT_CHARACTERS {
        return patch;
    }
    let most = &patch[..patch.floor_char_boundary(CONTENT_CHARACTERS)];
    let file = most.rfind("\ndiff --git ");
    match file.or_else(|| most.rfind('\n')) {
        Some(at) => &most[..=at],
        None => most,
    }
}

/// The tree of the session.
pub(super) async fn timeline<P>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
) -> Result<Content, NotRead>
where
    P: SessionDirectory + Checkpoints,
{
    let mut timeline = use_cases::get_timeline(ports, reader, key).await?;
    let shown = history::timeline(&mut timeline, limits::CHECKPOINT_PAGE);
    Ok(Content::json(&shown, false))
}

/// The log as text, an event a paragraph; long texts are shortened.
pub(super) async fn transcript<P>(
    ports: &P,
    reader: &Authorized<ReadSessions>,
    key: &SessionKey,
    after: Sequence,
) -> Result<Content, NotRead>
where
    P: SessionDirectory + SessionLog + Inbox + Compute + Clock,
{
    let head = use_cases::get_session(ports, reader, key).await?;
    let (mut text, mut characters, mut position) = (String::new(), 0, after);
    'pages: while position < head.last_sequence {
        let page = ports.read(key, position, READ_BYTES).await?;
        if page.is_empty() {
            break;
        }
        for event in &page {
            let piece = show::paragraph(event);
            characters += piece.chars().count() + 1;
            if !text.is_empty() && characters > CONTENT_CHARACTERS {
                break 'pages;
            }
            text.push_str(&piece);
            text.push('\n');
            position = event.sequence;
        }
    }
    let next = (position < head.last_sequence).then(|| Address::Transcript {
        session: key.session.clone(),
        after: position,
    });
    Ok(Content {
        text: Bytes::Text(text),
        media_type: TEXT,
        lasting: head.state.is_ended(),
        next,
        whole_bytes: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_in_pieces_is_the_patch() {
        let file = |name: &str, lines: usize| {
            format!("diff --git a/{name} b/{name}\n{}", "+é \n".repeat(lines))
        };
        let whole = [
            file("a", 10),
            file("b", CONTENT_CHARACTERS / 2),
            file("c", 3),
            format!("+{}", "x".repeat(2 * CONTENT_CHARACTERS)),
        ]
        .concat();
        let (mut rest, mut pieces) = (whole.as_str(), Vec::new());
        while !rest.is_empty() {
            let piece = piece(rest);
            assert!(!piece.is_empty() && piece.len() <= CONTENT_CHARACTERS);
            pieces.push(piece);
            rest = &rest[piece.len()..];
        }
        assert_eq!(pieces.concat(), whole);
        assert!(
            pieces[1].starts_with("diff --git a/b"),
            "after a whole file"
        );
    }
}
