//! Playing the log of a session again, at the pace at which it was written or faster.

use std::time::Duration;

use serde_json::json;

use super::show::{Show, Style};
use super::{Client, TryEnd, TryError, call};

/// Characters of events that are asked for at once: the most that come.
const BUDGET_CHARACTERS: u64 = 80_000;

/// What to play and how.
pub struct ReplayOptions {
    /// The session, as `list_sessions` shows it.
    pub session: String,
    /// How to show it.
    pub style: Style,
    /// How many times as fast as it was recorded; none plays without pauses.
    pub speed: Option<f64>,
}

/// Plays the log from its beginning to where it ends now. Reads only: `interrupted` stops the
/// playing, not the session.
///
/// # Errors
/// See [`TryError`].
pub async fn replay(
    client: &Client,
    options: ReplayOptions,
    interrupted: impl Future<Output = ()>,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<TryEnd, TryError> {
    let mut show = Show::new(options.style, options.session.clone()).with_messages();
    print(&show.begin());
    let end = tokio::select! {
        played = play(client, &options, &mut show, print) => played.map(|()| TryEnd::Success),
        () = interrupted => Ok(TryEnd::Interrupted),
    }?;
    print(&show.finish_replay(end == TryEnd::Interrupted));
    Ok(end)
}

async fn play(
    client: &Client,
    options: &ReplayOptions,
    show: &mut Show,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), TryError> {
    let mut cursor: Option<String> = None;
    let mut played_until: Option<u64> = None;
    loop {
        let mut arguments = json!({
            "session_id": options.session, "wait_seconds": 0,
            "response_budget_characters": BUDGET_CHARACTERS,
        });
        if let Some(cursor) = &cursor {
            arguments["cursor"] = json!(cursor);
        }
        let answer = call(client, "wait_session", arguments).await?;
        let events = answer["events"].as_array();
        for event in events.into_iter().flatten() {
            let time = event["time_unix_ms"].as_u64().unwrap_or_default();
            // A later runner's clock may be behind: then there is no pause, and no debt.
            let pause = time.saturating_sub(played_until.unwrap_or(time));
            if let Some(speed) = options.speed {
                let pause = Duration::from_millis(pause).div_f64(speed);
                tokio::time::sleep(pause).await;
            }
            played_until = Some(played_until.unwrap_or(time).max(time));
            print(&show.event(event));
        }
        if let Some(state) = answer["state"].as_str() {
            show.state(state);
        }
        if answer["more"] != true {
            return Ok(());
        }
        cursor = Some(
            answer["next_cursor"]
                .as_str()
                .ok_or(TryError::Answer {
                    tool: "wait_session",
                    field: "next_cursor",
                })?
                .to_owned(),
        );
    }
}
