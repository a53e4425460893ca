//! What transcript entries say about a place to stop at.
//!
//! A transcript that is cut goes on well only behind certain entries. Measured: after a message, a
//! tool's result, or a call that has no result yet, `--resume` with an open turn runs the turn on (a
//! call without a result is dropped and proposed again). After a finished text of an unfinished turn
//! the CLI believes that the turn had ended, and the turn is lost.

use serde::Deserialize;
use serde_json::value::RawValue;

/// One entry, as far as a cut depends on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it does to the end of the transcript.
    pub end: End,
    /// Tool calls that it makes.
    pub calls: Vec<String>,
    /// Tool calls whose results it holds.
    pub results: Vec<String>,
}

/// What an entry does to the end of the transcript.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum End {
    /// Nothing: it is no part of the conversation.
    #[default]
    Aside,
    /// An open turn goes on behind it.
    Open,
    /// A turn looks finished behind it.
    Closed,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow, default)]
    message: Option<Spoken<'a>>,
}

#[derive(Deserialize)]
struct Spoken<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    tool_use_id: Option<String>,
}

/// Reads an entry. What it does not understand is an [`End::Aside`].
#[must_use]
pub fn read(entry: &str) -> Entry {
    let Ok(line) = serde_json::from_str::<Line<'_>>(entry) else {
        return Entry::default();
    };
    let blocks: Vec<Block> = line
        .message
        .and_then(|message| message.content)
        .and_then(|content| serde_json::from_str(content.get()).ok())
        .unwrap_or_default();
    let mut read = Entry::default();
    for block in blocks {
        match block.kind.as_str() {
            "tool_use" => read.calls.extend(block.id),
            "tool_result" => read.results.extend(block.tool_use_id),
            _ => {}
        }
    }
    read.end = match line.kind.as_str() {
        "user" => End::Open,
        "assistant" if read.calls.is_empty() => End::Closed,
        "assistant" => End::Open,
        _ => End::Aside,
    };
    read
}

/// What the session has cost by an entry in which the CLI, as it ends, writes down where it stands.
#[must_use]
pub fn cost(entry: &str) -> Option<f64> {
    #[derive(Deserialize)]
    struct CostState {
        #[serde(rename = "type")]
        kind: String,
        #[serde(rename = "totalCostUSD")]
        total: f64,
    }
    if !entry.contains("cost-state") {
        return None;
    }
    let state: CostState = serde_json::from_str(entry).ok()?;
    (state.kind == "cost-state" && state.total.is_finite() && state.total >= 0.0)
        .then_some(state.total)
}

/// How many bytes of a transcript to keep so that its open turn goes on: all, or all before the
/// text with which it ends. Lines that are no entries count as asides.
#[must_use]
pub fn open_length(transcript: &[u8]) -> usize {
    let mut end = transcript.len();
    let mut keep = end;
    while end > 0 {
        let start = transcript[..end - 1]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let line = std::str::from_utf8(&transcript[start..end]).unwrap_or_default();
        match read(line).end {
            End::Open => return keep,
            End::Closed => keep = start,
            End::Aside => {}
        }
        end = start;
    }
    // Nothing was said before the text: there is no turn to go on with.
    transcript.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PROMPT: &str = r#"{"type":"user","message":{"role":"user","content":"do it"}}"#;
    const TEXT: &str = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I"}]}}"#;
    const CALL: &str =
        r#"{"type":"assistant","message":{"content":[{"type":"tool_use","id":"t1","input":{}}]}}"#;
    const RESULT: &str =
        r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t1"}]}}"#;
    const ASIDE: &str = r#"{"type":"last-prompt","leafUuid":"x"}"#;

    #[test]
    fn entries_say_what_they_do_to_the_end() {
        assert_eq!(read(PROMPT).end, End::Open);
        assert_eq!(read(TEXT).end, End::Closed);
        assert_eq!(
            (read(CALL).end, read(CALL).calls),
            (End::Open, vec!["t1".to_owned()])
        );
        assert_eq!(read(RESULT).results, ["t1"]);
        for aside in [ASIDE, "", "null", "[]", "{}", r#"{"type":"user""#] {
            assert_eq!(read(aside), Entry::default(), "{aside}");
        }
    }

    #[test]
    fn only_the_entry_about_costs_says_what_it_cost() {
        let state = r#"{"type":"cost-state","sessionId":"s","totalCostUSD":0.25,"modelUsage":{}}"#;
        assert_eq!(cost(state), Some(0.25));
        for other in [
            PROMPT,
            "",
            r#"{"type":"cost-state"}"#,
            r#"{"type":"cost-state","totalCostUSD":-1}"#,
            r#"{"type":"user","totalCostUSD":1,"message":{"content":"cost-state"}}"#,
        ] {
            assert_eq!(cost(other), None, "{other}");
        }
    }

    #[test]
    fn only_a_finished_text_is_left_out() {
        let kept = |lines: &[&str]| {
            let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let kept = &whole[..open_length(whole.as_bytes())];
            kept.lines().count()
        };
        assert_eq!(kept(&[PROMPT]), 1);
        assert_eq!(kept(&[PROMPT, TEXT, CALL]), 3);
        assert_eq!(kept(&[PROMPT, TEXT, CALL, ASIDE]), 4);
        assert_eq!(kept(&[PROMPT, CALL, RESULT, TEXT]), 3);
        assert_eq!(kept(&[PROMPT, CALL, RESULT, ASIDE, TEXT, TEXT, ASIDE]), 4);
        assert_eq!(kept(&[TEXT]), 1);
        assert_eq!(kept(&[]), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_cut_somewhere(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(open_length(&bytes) <= bytes.len());
        }
    }
}
