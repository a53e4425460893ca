//! The gate hook: what the CLI asks before each tool call, what it may be answered, and the
//! settings file that registers it.
//!
//! The hook is a *command* in the file given by `--settings`: one registered over the control
//! protocol is not there yet when a resumed call runs. `onFailure: "block"` makes a helper that
//! fails, is missing, is killed or times out block the call; a helper that exits 0 with garbage
//! lets it run, which is why the helper must exit 2 unless it holds a well-formed [`Answer`].

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Seconds the CLI waits for the hook. Longer than any session, so that a held call is never
/// decided by a clock.
pub const HOOK_TIMEOUT_SECONDS: u32 = 604_800;

/// What the CLI gives the hook before a tool call.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct ToolCall {
    /// Name of the tool.
    pub tool_name: String,
    /// Its input, as the model wrote it.
    pub tool_input: Value,
    /// Id of the call.
    #[serde(default)]
    pub tool_use_id: Option<String>,
    /// The CLI's own permission mode at this moment.
    #[serde(default)]
    pub permission_mode: Option<String>,
    /// Directory the CLI works in.
    #[serde(default)]
    pub cwd: Option<String>,
    /// Set when a subagent makes the call.
    #[serde(default)]
    pub agent_id: Option<String>,
}

/// Why a hook's standard input could not be used.
#[derive(Debug, thiserror::Error)]
pub enum HookInputError {
    /// Not JSON, or without the fields of a tool call. The call must be blocked.
    #[error("the hook input is not a tool call")]
    Malformed(#[source] serde_json::Error),
    /// Another event than the one the hook is registered for. The call must be blocked.
    #[error("the hook event is {0:?}, not PreToolUse")]
    OtherEvent(String),
}

impl ToolCall {
    /// Reads the hook's standard input.
    ///
    /// # Errors
    /// [`HookInputError`]; whoever gets one blocks the call.
    pub fn from_hook_input(bytes: &[u8]) -> Result<Self, HookInputError> {
        #[derive(Deserialize)]
        struct Event {
            hook_event_name: String,
        }
        let event: Event = serde_json::from_slice(bytes).map_err(HookInputError::Malformed)?;
        if event.hook_event_name != "PreToolUse" {
            return Err(HookInputError::OtherEvent(event.hook_event_name));
        }
        serde_json::from_slice(bytes).map_err(HookInputError::Malformed)
    }
}

/// What the runner answers the hook helper, and the helper the CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The call runs without further questions.
    Allow,
    /// The call does not run; the model reads the reason.
    Deny {
        /// Why, and what can be done instead.
        reason: String,
    },
    /// The CLI's own judgement for `default` mode applies too: what it knows to be read-only runs,
    /// everything else comes back as a `can_use_tool` request.
    Judge,
    /// The call runs with this input instead of its own. For a question to a person: the same
    /// input with the answers in it.
    AllowWith {
        /// What the tool gets.
        input: Value,
    },
    /// The turn ends here, and a later `--resume` asks the hook again about exactly this call. Never
    /// for a subagent's call: the subagent would end silently.
    Defer,
}

impl Answer {
    /// Reads the runner's reply.
    ///
    /// # Errors
    /// Anything that is not exactly an answer; the helper then exits 2, which blocks the call.
    pub fn from_reply(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Reply {
            decision: String,
            reason: Option<String>,
            input: Option<Value>,
        }
        let reply: Reply = serde_json::from_slice(bytes)?;
        match (reply.decision.as_str(), reply.reason, reply.input) {
            ("allow", None, None) => Ok(Answer::Allow),
            ("allow", None, Some(input @ Value::Object(_))) => Ok(Answer::AllowWith { input }),
            ("judge", None, None) => Ok(Answer::Judge),
            ("deny", Some(reason), None) => Ok(Answer::Deny { reason }),
            ("defer", None, None) => Ok(Answer::Defer),
            _ => Err(serde::de::Error::custom("not one of the answers")),
        }
    }

    /// The reply as one JSON line.
    #[must_use]
    pub fn to_reply(&self) -> Vec<u8> {
        let mut bytes = match self {
            Answer::Allow => json!({"decision": "allow"}),
            Answer::Deny { reason } => json!({"decision": "deny", "reason": reason}),
            Answer::Judge => json!({"decision": "judge"}),
            Answer::AllowWith { input } => json!({"decision": "allow", "input": input}),
            Answer::Defer => json!({"decision": "defer"}),
        }
        .to_string()
        .into_bytes();
        bytes.push(b'\n');
        bytes
    }

    /// What the helper prints for the CLI before it exits 0.
    #[must_use]
    pub fn to_hook_output(&self) -> String {
        let decision = |name: &str, reason: &str| {
            json!({"hookSpecificOutput": {
                "hookEventName": "PreToolUse",
                "permissionDecision": name,
                "permissionDecisionReason": reason,
            }})
            .to_string()
        };
        match self {
            Answer::Allow => decision("allow", "allowed by the session's policies"),
            Answer::Deny { reason } => decision("deny", reason),
            Answer::Judge => "{}".to_owned(),
            Answer::AllowWith { input } => json!({"hookSpecificOutput": {
                "hookEventName": "PreToolUse",
                "permissionDecision": "allow",
                "permissionDecisionReason": "answered",
                "updatedInput": input,
            }})
            .to_string(),
            Answer::Defer => decision("defer", "the session goes on with this call later"),
        }
    }
}

/// The tool with which the model asks a person.
pub const ASK_TOOL: &str = "AskUserQuestion";

/// The input of a question with the answers in it, as the tool reads them: an object from the text
/// of each question to what was chosen or written.
///
/// # Errors
/// The input is no object, or the answers are not such an object.
pub fn answered_input(input: &Value, answers: &str) -> Result<Value, HookInputError> {
    let answers: serde_json::Map<String, Value> =
        serde_json::from_str(answers).map_err(HookInputError::Malformed)?;
    let mut input: serde_json::Map<String, Value> =
        Deserialize::deserialize(input).map_err(HookInputError::Malformed)?;
    input.insert("answers".to_owned(), Value::Object(answers));
    Ok(Value::Object(input))
}

/// Contents of the settings file: the gate before every tool call of every agent.
///
/// `helper` is a shell command line; [`shell_word`] quotes its parts.
#[must_use]
pub fn settings(helper: &str) -> String {
    json!({
        "hooks": {"PreToolUse": [{"matcher": "*", "hooks": [{
            "type": "command",
            "command": helper,
            "timeout": HOOK_TIMEOUT_SECONDS,
            "onFailure": "block",
        }]}]},
        "includeCoAuthoredBy": false,
    })
    .to_string()
}

/// `word` quoted for a POSIX shell.
#[must_use]
pub fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_answers_are_answers() {
        for good in [
            Answer::Allow,
            Answer::Judge,
            Answer::Deny {
                reason: "no".into(),
            },
            Answer::AllowWith {
                input: json!({"answers": {"q": "a"}}),
            },
            Answer::Defer,
        ] {
            assert_eq!(Answer::from_reply(&good.to_reply()).unwrap(), good);
        }
        for bad in [
            "",
            "{}",
            "null",
            "allow",
            "[]",
            r#"{"decision":"maybe"}"#,
            r#"{"decision":"deny"}"#,
            r#"{"decision":"allow","reason":"x"}"#,
            r#"{"decision":"allow","input":"x"}"#,
            r#"{"decision":"defer","input":{}}"#,
            r#"{"foo":1}"#,
            "{\"decision\":\"allow\"}x",
        ] {
            assert!(Answer::from_reply(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn hook_input_must_be_a_tool_call() {
        let good = br#"{"session_id":"s","transcript_path":"/t","cwd":"/workspace","permission_mode":"default",
            "hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"ls"},"tool_use_id":"t1"}"#;
        let call = ToolCall::from_hook_input(good).unwrap();
        assert_eq!((call.tool_name.as_str(), call.agent_id), ("Bash", None));
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"hook_event_name":"PreToolUse"}"#,
            r#"{"hook_event_name":"Stop","tool_name":"Bash","tool_input":{}}"#,
        ] {
            assert!(ToolCall::from_hook_input(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_settings_block_on_failure() {
        let settings: Value = serde_json::from_str(&settings("/bin/x gate '/run/s'")).unwrap();
        let hook = &settings["hooks"]["PreToolUse"][0];
        assert_eq!(hook["matcher"], "*");
        assert_eq!(hook["hooks"][0]["onFailure"], "block");
        assert_eq!(hook["hooks"][0]["command"], "/bin/x gate '/run/s'");
    }

    #[test]
    fn answers_go_into_the_input() {
        let input = json!({"questions": [{"question": "Which?"}]});
        let answered = answered_input(&input, r#"{"Which?":"this"}"#).unwrap();
        assert_eq!(
            answered,
            json!({"questions": [{"question": "Which?"}], "answers": {"Which?": "this"}})
        );
        for bad in ["", "[]", "\"this\"", "{"] {
            assert!(answered_input(&input, bad).is_err(), "{bad}");
        }
        assert!(answered_input(&json!([]), "{}").is_err());
        let said: Value =
            serde_json::from_str(&Answer::AllowWith { input: answered }.to_hook_output()).unwrap();
        let said = &said["hookSpecificOutput"];
        assert_eq!(said["permissionDecision"], "allow");
        assert_eq!(said["updatedInput"]["answers"]["Which?"], "this");
        let said: Value = serde_json::from_str(&Answer::Defer.to_hook_output()).unwrap();
        assert_eq!(said["hookSpecificOutput"]["permissionDecision"], "defer");
    }

    #[test]
    fn words_are_quoted() {
        assert_eq!(shell_word("a b'c"), r"'a b'\''c'");
    }
}
