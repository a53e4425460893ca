//! A function of a running stack as a plain HTTP server of its own: the same binary, table and
//! bucket, without Lambda in between.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::process;
use crate::stack::{self, Stack};

/// A function as a server of its own, with the settings that the deployment gives its instances.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Its MCP endpoint.
    pub url: String,
}

impl Server {
    /// Its environment is the one of an instance that serves in this stack, but for Lambda's address.
    ///
    /// # Panics
    /// When no such instance has served yet, or the program does not start.
    pub fn start(stack: &Stack, function: &str) -> Self {
        Self::try_start(stack, function, |_| ()).unwrap_or_else(|said| panic!("{function}: {said}"))
    }

    /// The same with another environment.
    ///
    /// # Errors
    /// What the program said before it ended, when it does not serve.
    ///
    /// # Panics
    /// When no such instance has served yet.
    pub fn try_start(
        stack: &Stack,
        function: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Result<Self, String> {
        let program = format!("/{function}");
        let mut found = process::running_with(&stack.aws_url());
        found.retain(|process| process.command_line.trim_end().ends_with(&program));
        let instance = found
            .first()
            .unwrap_or_else(|| panic!("no instance of {function}"));
        let environ =
            std::fs::read(format!("/proc/{}/environ", instance.id)).expect("our own child");
        let mut variables: BTreeMap<String, String> = environ
            .split(|byte| *byte == 0)
            .filter_map(|variable| {
                let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
                (name != "AWS_LAMBDA_RUNTIME_API").then(|| (name.to_owned(), value.to_owned()))
            })
            .collect();
        let digest = Sha256::digest(stack.token.as_bytes());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        variables.insert("PORT".to_owned(), "0".to_owned());
        variables.insert("SHANNON_ACCESS_TOKEN_SHA256".to_owned(), digest);
        change(&mut variables);
        let mut child = Command::new(stack::binaries().join(function))
            .env_clear()
            .envs(variables)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{function}: {error}"));
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut said = String::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            said.push_str(&line);
            said.push('\n');
            let line: Value = serde_json::from_str(&line).ok()?;
            Some(line["address"].as_str()?.to_owned())
        });
        let Some(address) = address else {
            let status = child.wait().expect("our own child");
            return Err(format!("{status}: {said}"));
        };
        // Its log must be read, or it would wait for a reader.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.contains("\"level\":\"error\"") {
                    eprintln!("{line}");
                }
            }
        });
        Ok(Self {
            child,
            url: format!("http://{address}/mcp"),
        })
    }

    /// Asks it to end (SIGTERM) and says how it did.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn end(mut self) -> ExitStatus {
        let id = i32::try_from(self.child.id()).expect("a process id is a small number");
        kill(Pid::from_raw(id), Signal::SIGTERM).expect("it runs");
        self.child.wait().expect("our own child")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After `end` there is nothing left to kill, and that is what the error would say.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none())
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait())
        {
            eprintln!("ending {}: {error}", self.url);
        }
    }
}
