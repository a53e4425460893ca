//! `emulator messages`: what the running stack has published and given up.

use serde::Deserialize;

use super::{
    SUCCESS,
    calls::{ask_stack, not_understood},
    out,
};
use crate::settings::Settings;

#[derive(Deserialize)]
struct Answer {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
struct Message {
    destination: String,
    sent_at_ms: i64,
    body: String,
}

pub(super) async fn run(settings: &Settings, json: bool) -> u8 {
    let text = match ask_stack(settings, "messages").await {
        Ok(text) => text,
        Err(code) => return code,
    };
    if json {
        out(&format!("{text}\n"));
        return SUCCESS;
    }
    match serde_json::from_str::<Answer>(&text) {
        Ok(answer) => {
            out(&lines(&answer.messages));
            SUCCESS
        }
        Err(error) => not_understood(&error),
    }
}

/// One line each: when, where to, what.
fn lines(messages: &[Message]) -> String {
    if messages.is_empty() {
        return "no messages yet\n".to_owned();
    }
    let line = |message: &Message| {
        let name = message.destination.rsplit(':').next().unwrap_or_default();
        let time = crate::aws::time_text(message.sent_at_ms);
        format!("{time}  {name}  {}\n", message.body)
    };
    messages.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_shown_one_a_line() {
        let message = Message {
            destination: "arn:aws:sns:us-east-1:000000000000:shannon-notices".to_owned(),
            sent_at_ms: 1_795_176_005_123,
            body: "{}".to_owned(),
        };
        let shown = lines(&[message]);
        assert!(shown.starts_with("2026-11-2"), "{shown}");
        assert!(shown.ends_with("Z  shannon-notices  {}\n"), "{shown}");
        assert_eq!(lines(&[]), "no messages yet\n");
    }
}
