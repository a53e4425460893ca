//! Which tool calls run, as far as a cut of files and conversation depends on it.
//!
//! A cut is sound when every call that may have touched the files is in the transcript with its
//! result. So a call runs from when the gate lets it go until the CLI has mirrored its result, which
//! is a moment longer than the tool itself. A subagent runs as one call: what it has done is in no
//! transcript that a later process goes on with.

use std::collections::BTreeMap;

use claude::message::BackgroundTasks;
use claude::transcript::Entry;

use crate::gate_server::WaitingCall;

/// Tools that change nothing outside the conversation.
const READING: [&str; 9] = [
    "AskUserQuestion",
    "BashOutput",
    "Glob",
    "Grep",
    "LS",
    "NotebookRead",
    "Read",
    "TodoRead",
    "TodoWrite",
];

/// Tools that run a subagent.
const AGENTS: [&str; 2] = ["Agent", "Task"];

/// The calls that run.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// By id.
    running: BTreeMap<String, Running>,
    agents: usize,
    /// A command runs in the background.
    commands: bool,
}

#[derive(Debug)]
struct Running {
    /// A subagent made it.
    by_agent: bool,
    /// It is a subagent itself.
    is_agent: bool,
}

impl Calls {
    /// The gate let a call go.
    pub(crate) fn let_go(&mut self, call: &WaitingCall) {
        self.start(&call.tool_use_id, &call.tool, call.agent.is_some());
    }

    fn start(&mut self, tool_use_id: &str, tool: &str, by_agent: bool) {
        let running = Running {
            by_agent,
            is_agent: AGENTS.contains(&tool),
        };
        self.running.insert(tool_use_id.to_owned(), running);
    }

    /// The CLI mirrored these entries.
    pub(crate) fn mirrored(&mut self, entries: &[Entry]) {
        for result in entries.iter().flat_map(|entry| &entry.results) {
            self.running.remove(result);
        }
    }

    /// A command of the caller has ended, or will not run.
    pub(crate) fn ended(&mut self, tool_use_id: &str) {
        self.running.remove(tool_use_id);
    }

    /// The CLI says what runs beside the conversation.
    pub(crate) fn background(&mut self, tasks: &BackgroundTasks) {
        self.agents = tasks.tasks.iter().filter(|task| task.is_agent()).count();
        self.commands = tasks.tasks.len() > self.agents;
        if self.agents == 0 {
            // What an aborted subagent left has no result.
            self.running.retain(|_, call| !call.by_agent);
        }
    }

    /// The turn is over: whatever the conversation itself had started has ended, result or not.
    pub(crate) fn turn_over(&mut self) {
        self.running.retain(|_, call| call.by_agent);
    }

    /// The CLI is idle: nothing runs.
    pub(crate) fn idle(&mut self) {
        self.running.clear();
    }

    /// Subagents work beside the conversation.
    pub(crate) fn agents_go_on(&self) -> bool {
        self.agents > 0
    }

    /// A subagent works, beside the conversation or within its turn.
    pub(crate) fn has_agents(&self) -> bool {
        self.agents > 0 || self.running.values().any(|call| call.is_agent)
    }

    /// Nothing runs that could change files without the transcript knowing.
    pub(crate) fn is_quiet(&self) -> bool {
        self.running.is_empty() && self.agents == 0
    }

    /// Something runs that may change files, with or without the transcript knowing.
    pub(crate) fn may_still_change(&self) -> bool {
        !self.is_quiet() || self.commands
    }

    /// It will be quiet soon if nothing more is let go.
    pub(crate) fn can_become_quiet(&self) -> bool {
        let of_agents = |call: &Running| call.by_agent || call.is_agent;
        self.agents == 0 && !self.running.values().any(of_agents)
    }
}

/// The tool may have changed something.
pub(crate) fn may_change_files(tool: &str) -> bool {
    !READING.contains(&tool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use claude::transcript::read;

    fn result(id: &str) -> Vec<Entry> {
        vec![read(&format!(
            r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"{id}"}}]}}}}"#
        ))]
    }

    fn background(tasks: &str) -> BackgroundTasks {
        serde_json::from_str(&format!(r#"{{"tasks":{tasks}}}"#)).unwrap()
    }

    #[test]
    fn a_call_runs_until_its_result_is_mirrored() {
        let mut calls = Calls::default();
        assert!(calls.is_quiet());
        calls.start("a", "Bash", false);
        calls.start("b", "Bash", false);
        calls.mirrored(&result("a"));
        assert!(!calls.is_quiet());
        calls.mirrored(&result("other"));
        calls.mirrored(&result("b"));
        assert!(calls.is_quiet());
    }

    #[test]
    fn a_subagent_runs_as_one_call() {
        let mut calls = Calls::default();
        calls.background(&background(r#"[{"task_type":"local_agent"}]"#));
        calls.start("a", "Bash", true);
        calls.start("b", "Bash", false);
        calls.turn_over();
        assert!(!calls.is_quiet());
        calls.mirrored(&result("a"));
        assert!(!calls.is_quiet());
        calls.start("aborted", "Bash", true);
        calls.background(&background(r#"[{"task_type":"local_bash"}]"#));
        assert!(calls.is_quiet() && calls.may_still_change());
        calls.background(&background("[]"));
        assert!(!calls.may_still_change());
    }

    #[test]
    fn what_a_subagent_does_takes_long() {
        let mut calls = Calls::default();
        calls.start("a", "Bash", false);
        assert!(calls.can_become_quiet());
        calls.start("b", "Agent", false);
        assert!(!calls.can_become_quiet());
    }

    #[test]
    fn an_idle_cli_runs_nothing() {
        let mut calls = Calls::default();
        calls.start("a", "Bash", false);
        calls.start("b", "Bash", true);
        calls.idle();
        assert!(calls.is_quiet());
    }
}
