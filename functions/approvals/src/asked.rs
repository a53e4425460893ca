//! What a person sees of a session to decide: the whole call, and what went before.

use domain::event::EventBody;
use domain::ports::{SessionLog, Unavailable, WholeBodies};
use domain::{Event, Head, QuestionId, Sequence};

/// Events that are looked through for the call: far more than come while it waits.
const LOOKED_THROUGH: u64 = 400;
/// Of them so many are shown.
const SHOWN: usize = 12;
/// Bytes of the log read at once.
const LOG_BYTES: usize = 512 * 1024;

/// The end of a session's log.
#[derive(Debug, Default)]
pub(crate) struct Around {
    /// The input of the call, all of it; `None` when it was not found.
    pub(crate) input: Option<String>,
    /// What was said and done before, the oldest first.
    pub(crate) before: Vec<Event>,
}

/// Reads only.
///
/// # Errors
/// [`Unavailable`]: ask again.
pub(crate) async fn around<P: SessionLog + WholeBodies>(
    ports: &P,
    head: &Head,
    approval: &QuestionId,
) -> Result<Around, Unavailable> {
    let mut after = Sequence(head.last_sequence.0.saturating_sub(LOOKED_THROUGH));
    let mut around = Around::default();
    loop {
        let events = ports.read(&head.key, after, LOG_BYTES).await?;
        let Some(last) = events.last() else { break };
        after = last.sequence;
        for event in events {
            match &event.body {
                EventBody::ApprovalRequested { approval: id, .. } if id == approval => {
                    around.input = whole(ports, head, &event).await?;
                }
                _ if is_shown(&event.body) => around.before.push(event),
                _ => {}
            }
        }
    }
    let surplus = around.before.len().saturating_sub(SHOWN);
    around.before.drain(..surplus);
    Ok(around)
}

async fn whole<P: WholeBodies>(
    ports: &P,
    head: &Head,
    event: &Event,
) -> Result<Option<String>, Unavailable> {
    let body = match event.whole_body_bytes {
        None => Some(event.body.clone()),
        Some(_) => ports.whole_body(&head.key, event.sequence).await?,
    };
    Ok(match body {
        // What is gone from the bucket comes back as its beginning, which is not valid JSON.
        Some(EventBody::ApprovalRequested { input, .. })
            if serde_json::from_str::<serde_json::Value>(&input).is_ok() =>
        {
            Some(input)
        }
        _ => None,
    })
}

fn is_shown(body: &EventBody) -> bool {
    matches!(
        body,
        EventBody::MessageTaken { .. }
            | EventBody::Text { .. }
            | EventBody::ToolCall { .. }
            | EventBody::ToolResult { .. }
            | EventBody::ToolDenied { .. }
            | EventBody::CommandStarted { .. }
            | EventBody::CommandEnded { .. }
            | EventBody::ApprovalDecided { .. }
    )
}
