//! Policies that a person stores with the command line, on the whole stack: checked, asked about, and
//! what the gate of the next turn decides by.

use std::process::Output;

use e2e::script;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use serde_json::{Value, json};

const NO_TOUCH: &str = "@reason(\"Nothing is touched here.\")
forbid (principal, action, resource is Program)
when { resource.name == \"touch\" };
";

struct Person {
    state: String,
    directory: tempfile::TempDir,
}

impl Person {
    fn of(stack: &Stack) -> Self {
        Self {
            state: stack.state.display().to_string(),
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    /// `emulator policy ARGUMENTS`: its exit code, and what it printed and said.
    fn policy(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let arguments = [&["policy"], arguments, &["--state", &self.state]].concat();
        let output: Output = stack::run_emulator(&arguments, &Options::default());
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    fn file(&self, text: &str) -> String {
        let path = self.directory.path().join("policy.cedar");
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }
}

fn denied_by(session: &Session<'_>) -> Vec<String> {
    let denied = session.of_kind("tool_denied");
    denied
        .iter()
        .map(|body| body["policies"].to_string())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_stores_a_policy_and_the_next_turn_goes_by_it() {
    let stack = Stack::start(&Options::default());
    let person = Person::of(&stack);
    let (code, said) = person.policy(&["list"]);
    assert_eq!((code, said.as_str()), (Some(0), "no policies are stored\n"));
    // What is wrong is named, and not stored.
    let wrong = person.file(&NO_TOUCH.replace("resource.name", "resource.nam"));
    let (code, said) = person.policy(&["put", "no-touch", &wrong]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("the policy no-touch is not stored: line 3, column 8"),
        "{said}"
    );
    let (code, said) = person.policy(&["show", "no-touch"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the owner has no policy no-touch"), "{said}");
    let right = person.file(NO_TOUCH);
    let (code, said) = person.policy(&["put", "no-touch", &right]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stored for the owner, version 1"), "{said}");
    let (code, said) = person.policy(&["put", "no-touch", &right]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("has this text already"), "{said}");
    let (code, said) = person.policy(&["show", "no-touch"]);
    assert_eq!(code, Some(0));
    assert!(said.contains(NO_TOUCH), "{said}");
    // What is said about it, and what is done.
    let (code, said) = person.policy(&["check", "touch made", "--permission-mode", "bypass"]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("// owner/no-touch/1"), "{said}");
    let client = stack.client();
    let touch = |name: &str| script::bash(&format!("touch {name}; ls"));
    let mut session = Session::scripted(&client, &[touch("one"), script::text("done")]).await;
    session.until_turns_ended(1).await;
    assert_eq!(
        denied_by(&session),
        [r#"["owner/no-touch/1"]"#],
        "{}",
        session.story()
    );
    let (code, said) = person.policy(&["remove", "no-touch"]);
    assert_eq!(code, Some(0), "{said}");
    let next = script::prompt(&[touch("two"), script::text("done")]);
    session.send(&next, "m2").await;
    session.until_turns_ended(2).await;
    assert!(
        session
            .tool_results()
            .last()
            .is_some_and(|it| it.contains("two")),
        "{}",
        session.story()
    );
    // The deployment's counts as well; a version that was not seen is not replaced.
    let (code, said) = person.policy(&["put", "no-touch", &right, "--deployment"]);
    assert_eq!(code, Some(0), "{said}");
    let other = person.file(&format!("// mine\n{NO_TOUCH}"));
    let put = ["put", "no-touch", &other, "--deployment", "--replaces", "7"];
    let (code, said) = person.policy(&put);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("version 1 now"), "{said}");
    let next = script::prompt(&[touch("three"), script::text("done")]);
    session.send(&next, "m3").await;
    session.until_turns_ended(3).await;
    assert_eq!(denied_by(&session).len(), 2, "{}", session.story());
    assert_eq!(denied_by(&session)[1], r#"["deployment/no-touch/1"]"#);
    session.cancel().await;
    // Who changed what is in the audit at once.
    let asked = |deployment: bool| json!({"deployment": deployment});
    let audited = client.call("query_audit", asked(false)).await;
    let entries = audited["entries"].as_array().expect("entries");
    let changes: Vec<&Value> = entries
        .iter()
        .filter(|entry| entry["subject"] == "policy")
        .collect();
    assert_eq!(changes.len(), 2, "{audited}");
    assert!(
        changes
            .iter()
            .all(|it| it["changed_by"].is_string() && it["policy"] == "no-touch")
    );
    assert_eq!(changes.iter().filter(|it| it["removed"] == true).count(), 1);
    let audited = client.call("query_audit", asked(true)).await;
    assert!(audited.to_string().contains("no-touch"), "{audited}");
    // Nobody without the token, and no tool.
    let answer = reqwest::get(format!("{}/policies", stack.url())).await;
    assert_eq!(answer.expect("an answer").status(), 401);
    let (code, said) = person.policy(&["list", "--json"]);
    let listed: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (code, &listed["policies"][0]["scope"]),
        (Some(0), &"deployment".into())
    );
}
