//! What a session can go back to, its tree, and its conversation as a person reads it.

use domain::authorization::ReadSessions;
use domain::ports::{Checkpoints, Clock, Compute, Inbox, SessionDirectory, SessionLog};
use domain::use_cases::{self, FindCheckpointError};
use domain::{Authorized, Sequence, SessionKey, limits};
use serde_json::json;

use super::list::TEXT;
use super::read::{Bytes, Content, NotRead, READ_BYTES};
use super::{Address, CONTENT_CHARACTERS};
use crate::history;
use crate::show;

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
