//! The roles of `template.yaml` against what the code asks for: the emulator remembers what each
//! function and task asks for while a stack lives through everything below; a role that lacks
//! something would fail it, and what a role permits beyond that is named with its reason.

mod excused;

use std::collections::{BTreeMap, BTreeSet};

use e2e::loopback::Server;
use e2e::mcp::Client;
use e2e::private_git::PrivateGitHost;
use e2e::session::Session;
use e2e::stack::{self, Options, Stack};
use e2e::stream::{LegacySession, Messages, tool_call};
use e2e::{checkout, process, script};
use emulator::iam::{Grant, Request, Role};
use serde_json::{Value, json};

use excused::excused;

fn options() -> Options {
    let registry = Server::of_registry("99.0.0").url();
    let mut options = Options::default()
        .with("SHANNON_CLAUDE_UPDATE_CHECK_SECONDS", "60")
        .with("SHANNON_NPM_REGISTRY_URL", &registry)
        .with("SHANNON_IDLE_SUSPEND_SECONDS", "10")
        .with("SHANNON_CANARY_INTERVAL_SECONDS", "60")
        .with("SHANNON_LISTEN_SECONDS", "20")
        .with("SHANNON_SSE_PAIR", "true");
    options.arguments.push("--test-hooks".to_owned());
    options
}

/// Tools of the modern era, on a session that lives through checkpoints, forks and its erasure.
async fn tools(stack: &Stack, client: &Client, token: &str) {
    let place = client.call("create_upload", json!({"bytes": 4})).await;
    let url = place["url"].as_str().expect("an address");
    let sent = client.http().put(url).body("file").send().await;
    assert_eq!(sent.expect("an answer").status(), 200, "{place}");
    let long = "head -c 20000 /dev/zero | tr '\\0' x; head -c 7000000 /dev/urandom > large";
    let steps = [
        script::bash(&format!("cat .attachments/a; {long}")),
        script::text("first"),
    ];
    let arguments = json!({
        "prompt": script::prompt(&steps), "permission_mode": "bypass", "client_token": token,
        "attachments": [{"upload_id": place["upload_id"], "name": "a"}],
    });
    let mut session = Session::create(client, arguments).await;
    session.until_turns_ended(1).await;
    let of = |more: Value| {
        let mut arguments = json!({"session_id": session.id});
        for (name, value) in more.as_object().expect("a mapping") {
            arguments[name] = value.clone();
        }
        arguments
    };
    for (tool, arguments) in [
        ("read_file", json!({"path": ".attachments/a"})),
        ("run_command", json!({"command": "echo second > second"})),
        ("create_checkpoint", json!({})),
    ] {
        client.call(tool, of(arguments)).await;
    }
    let listed = client.call("list_checkpoints", of(json!({}))).await;
    let ids: Vec<&Value> = listed["checkpoints"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|checkpoint| &checkpoint["checkpoint_id"])
        .collect();
    let (newest, oldest) = (ids[0], ids[ids.len() - 1]);
    for (tool, arguments) in [
        (
            "name_checkpoint",
            json!({"name": "one", "checkpoint": oldest}),
        ),
        ("name_checkpoint", json!({"name": "one", "remove": true})),
        ("pin_checkpoint", json!({"checkpoint": oldest})),
        ("diff_checkpoints", json!({"from": oldest, "to": newest})),
        ("export_workspace", json!({"checkpoint": newest})),
        (
            "export_workspace",
            json!({"checkpoint": newest, "since": oldest}),
        ),
        (
            "read_file",
            json!({"checkpoint": oldest, "path": ".attachments/a"}),
        ),
        ("get_session", json!({})),
        ("get_timeline", json!({})),
        ("list_approvals", json!({})),
        ("query_audit", json!({})),
    ] {
        client.call(tool, of(arguments)).await;
    }
    for (tool, arguments) in [
        ("list_sessions", json!({})),
        ("find_claude_binary", json!({})),
        ("verify_audit", json!({})),
        ("check_policy", json!({"command": "ls"})),
        ("query_audit", json!({"deployment": true})),
    ] {
        client.call(tool, arguments).await;
    }
    let forked = of(json!({"checkpoint": oldest, "prompt": script::prompt(&["TEXT:forked"])}));
    let forked = client.call("fork_session", forked).await;
    let mut fork = Session::follow(client, forked["session_id"].as_str().expect("an id"));
    fork.until_turns_ended(1).await;
    fork.cancel().await;
    client.call("suspend_session", of(json!({}))).await;
    let back = of(json!({"checkpoint": oldest}));
    client.call("restore_checkpoint", back).await;
    session
        .send(&script::prompt(&["SLEEP:30:TEXT:slow"]), "wakes")
        .await;
    session
        .until("its next turn", |session| session.state == "running")
        .await;
    let interrupt = json!({"session_id": session.id});
    client.call("interrupt_session", interrupt).await;
    session.cancel().await;
    let erase = json!({"session_id": session.id, "erase": true});
    client.call("delete_session", erase).await;
    stack.sweep().await;
    stack.sweep().await;
}

/// Turns as tasks: a question is answered once its session is suspended, a turn is cancelled.
async fn tasks(stack: &Stack) {
    let client = stack.client().with_tasks().with_elicitation();
    let plain = stack.client();
    let start = async |steps: &[String]| {
        let arguments = json!({"prompt": script::prompt(steps), "permission_mode": "bypass"});
        let call = json!({"name": "create_session", "arguments": arguments});
        let started = client.request("tools/call", call).await;
        started.result()["taskId"]
            .as_str()
            .expect("a task")
            .to_owned()
    };
    let task = start(&[script::question(), script::text("blue")]).await;
    let mut session = Session::follow(&plain, task.split('.').next().expect("an id"));
    session
        .until("the suspension", |session| session.state == "suspended")
        .await;
    let asking = client.request("tasks/get", json!({"taskId": task})).await;
    let requests = asking.result()["inputRequests"]
        .as_object()
        .expect("requests");
    let key = requests.keys().next().expect("one");
    let answer = json!({"action": "accept", "content": {"Which color?": "Blue"}});
    let update = json!({"taskId": task, "inputResponses": {key: answer}});
    client.request("tasks/update", update).await.result();
    session.until_turns_ended(1).await;
    let done = client.request("tasks/get", json!({"taskId": task})).await;
    assert_eq!(done.result()["status"], "completed", "{}", done.body);
    session.cancel().await;
    let task = start(&[script::slow(100, 200)]).await;
    let mut session = Session::follow(&plain, task.split('.').next().expect("an id"));
    session
        .until("its turn", |session| session.state == "running")
        .await;
    client
        .request("tasks/cancel", json!({"taskId": task}))
        .await
        .result();
    session.until_turns_ended(1).await;
    session.cancel().await;
}

/// A client of the initialize era that is asked, loses its stream, and goes; and one of 2024-11-05.
async fn transports(stack: &Stack, session: &str) {
    let transport = LegacySession::open(stack, json!({"elicitation": {}})).await;
    let wait = json!({"session_id": session, "until": "event", "wait_seconds": 1});
    let mut stream = transport.post(&tool_call(1, "wait_session", &wait)).await;
    stream.until(|message| message["id"] == 1).await;
    let call = tool_call(2, "cancel_session", &json!({"session_id": session}));
    let mut stream = transport.post(&call).await;
    let question = stream
        .until(|message| message["method"] == "elicitation/create")
        .await;
    let reply = json!({"jsonrpc": "2.0", "id": question["id"],
        "result": {"action": "accept", "content": {"confirm": true}}});
    assert_eq!(transport.post(&reply).await.status(), 202);
    stream.until(|message| message["id"] == 2).await;

    let client = stack.client();
    let request = client.http().get(stack.sse_url()).bearer_auth(&stack.token);
    let request = request.header("accept", "text/event-stream").send();
    let mut pair = request.await.expect("an answer");
    let mut heard = String::new();
    let mut until = async |wanted: &str| {
        while !heard.contains(wanted) {
            let piece = pair
                .chunk()
                .await
                .expect("it goes on")
                .expect("it has not ended");
            heard.push_str(&String::from_utf8_lossy(&piece));
        }
        heard.clone()
    };
    let opened = until("\n\n").await;
    let place = opened.lines().find_map(|line| line.strip_prefix("data:"));
    let here = url::Url::parse(&stack.sse_url()).expect("an address");
    let place = here.join(place.expect("an address").trim());
    let introduction = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2024-11-05", "capabilities": {},
        "clientInfo": {"name": "shannon-tests", "version": "1"}}});
    let posted = client
        .http()
        .post(place.expect("an address"))
        .bearer_auth(&stack.token)
        .header("content-type", "application/json")
        .body(introduction.to_string())
        .send()
        .await;
    assert_eq!(posted.expect("an answer").status(), 202);
    until("serverInfo").await;
}

/// Somebody decides on a page while the session is suspended, and stores and removes a policy.
async fn people(stack: &Stack) {
    let client = stack.client();
    let mut person = stack.approver();
    let steps = [script::bash("touch made"), script::text("done")];
    let arguments = json!({"prompt": script::prompt(&steps), "permission_mode": "review"});
    let mut session = Session::create(&client, arguments).await;
    let asked = session.until_asked(None).await;
    let url = asked["url"].as_str().expect("an address");
    session
        .until("the suspension", |session| session.state == "suspended")
        .await;
    let stranger = e2e::approver::Approver::new("not the token");
    let wrong = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("action", "login"), ("token", "not the token")])
        .finish();
    let form = client
        .http()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(wrong)
        .send()
        .await;
    assert_eq!(form.expect("an answer").status(), 401);
    assert_eq!(stranger.open(url).await.status, 401);
    let decided = person.decide(url, "allow_once", &[]).await;
    assert_eq!(decided.status, 303, "{}", decided.text);
    session.until_turns_ended(1).await;
    session.cancel().await;
    let policy = |arguments: &[&str]| {
        let state = stack.state.display().to_string();
        let arguments = [&["policy"], arguments, &["--state", &state]].concat();
        let said = stack::run_emulator(&arguments, &Options::default());
        assert!(said.status.success(), "{arguments:?}: {said:?}");
    };
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = "@reason(\"r\")\nforbid (principal, action, resource is Program)\n\
                when { resource.name == \"never\" };\n";
    std::fs::write(file.path(), text).expect("written");
    let path = file.path().display().to_string();
    let mut made_keys = Vec::new();
    tokio::task::block_in_place(|| {
        policy(&["put", "never", &path]);
        policy(&["check", "ls"]);
        policy(&["remove", "never"]);
        let state = stack.state.display().to_string();
        let emulator = |arguments: &[&str]| {
            let arguments = [arguments, &["--state", &state]].concat();
            let said = stack::run_emulator(&arguments, &Options::default());
            assert!(said.status.success(), "{arguments:?}: {said:?}");
            String::from_utf8_lossy(&said.stdout).trim().to_owned()
        };
        emulator(&["audit", "verify"]);
        let made = emulator(&["key", "create", "laptop", "--json"]);
        made_keys.push(serde_json::from_str::<Value>(&made).expect("JSON"));
        emulator(&["key", "list"]);
        git_credentials(&state);
    });
    for made in made_keys {
        let text = |name: &str| made[name].as_str().expect("a text").to_owned();
        let holder = stack.client().with_token(Some(&text("key")));
        assert_eq!(holder.request("tools/list", json!({})).await.status, 200);
        let id = text("id");
        tokio::task::block_in_place(|| {
            let state = stack.state.display().to_string();
            let arguments = ["key", "revoke", &id, "--state", &state];
            let said = stack::run_emulator(&arguments, &Options::default());
            assert!(said.status.success(), "{said:?}");
        });
    }
}

/// Stores a credential for a host of nobody, looks at it, and takes it away.
fn git_credentials(state: &str) {
    use std::io::Write as _;
    for arguments in [
        &["set", "git.example.com"][..],
        &["list"],
        &["remove", "git.example.com"],
    ] {
        let mut child = std::process::Command::new(stack::emulator())
            .arg("git-credential")
            .args(arguments)
            .args(["--state", state])
            .env_clear()
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("the emulator starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // The others read nothing.
        let _ = stdin.write_all(b"token");
        drop(stdin);
        assert!(child.wait().expect("it ends").success(), "{arguments:?}");
    }
}

/// A session whose repository is on a host for which there is a credential.
async fn cloned(stack: &Stack, client: &Client) {
    let files = BTreeMap::from([("private.txt", "for us")]);
    let host = PrivateGitHost::with_files(&files, "robot", "token");
    let url = format!("{}/git-credentials/{}", stack.url(), host.host());
    let stored = client.http().put(url).bearer_auth(&stack.token);
    let stored = stored.json(&json!({"username": "robot", "token": "token"}));
    assert_eq!(stored.send().await.expect("an answer").status(), 200);
    let arguments = json!({"prompt": script::prompt(&[script::text("done")]),
        "workspace": {"git_url": host.clone_url()}});
    let mut session = Session::create(client, arguments).await;
    session.until_turns_ended(1).await;
    session.cancel().await;
}

/// What only reads.
async fn readers(stack: &Stack, session: &str) {
    let client = stack.client();
    let listed = client.call("list_checkpoints", json!({"session_id": session}));
    let newest = listed.await["checkpoints"][0]["checkpoint_id"].clone();
    let newest = newest.as_str().expect("a checkpoint").to_owned();
    for (method, params) in [
        ("server/discover", json!({})),
        ("tools/list", json!({})),
        ("resources/list", json!({})),
        ("prompts/list", json!({})),
    ] {
        client.request(method, params).await.result();
    }
    let base = format!("shannon://sessions/{session}");
    for uri in [
        base.clone(),
        format!("{base}/events"),
        format!("{base}/files/large"),
        format!("{base}/files/small?checkpoint={newest}"),
        format!("{base}/checkpoints"),
        format!("{base}/timeline"),
        format!("{base}/diff"),
    ] {
        let read = client.request("resources/read", json!({"uri": uri})).await;
        assert_eq!(read.status, 200, "{uri}: {}", read.body);
    }
    let file = "shannon://sessions/{id}/files/{+path}{?checkpoint}";
    for (uri, name, context) in [
        ("shannon://sessions/{id}", "id", json!({})),
        (file, "path", json!({"id": session})),
    ] {
        let params = json!({"ref": {"type": "ref/resource", "uri": uri},
            "argument": {"name": name, "value": ""}, "context": {"arguments": context}});
        client.request("completion/complete", params).await.result();
    }
    let tasked = stack.client().with_tasks();
    let arguments = json!({"prompt": script::prompt(&["SLEEP:2:TEXT:heard"])});
    let call = json!({"name": "create_session", "arguments": arguments});
    let started = tasked.request("tools/call", call).await;
    let task = started.result()["taskId"]
        .as_str()
        .expect("a task")
        .to_owned();
    let filter = json!({"resourceSubscriptions": [base], "taskIds": [task]});
    let (headers, body) = tasked.prepare("subscriptions/listen", json!({"notifications": filter}));
    let mut request = tasked.http().post(tasked.url()).body(body.to_string());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut stream = Messages::of(request.send().await.expect("an answer"));
    assert!(stream.next().await.is_some(), "it begins");
    let mut heard = Session::follow(&client, task.split('.').next().expect("an id"));
    heard.cancel().await;
    let ready = client.http().get(format!("{}/ready", stack.url()));
    assert_eq!(ready.send().await.expect("an answer").status(), 200);
    let stranger = stack.client().with_token(Some("nobody's token"));
    assert_eq!(stranger.request("tools/list", json!({})).await.status, 401);
}

/// What was asked for, by role.
async fn asked_for(stack: &Stack) -> BTreeMap<String, Vec<(Request, bool)>> {
    let url = format!("{}/_emulator/permissions", stack.aws_url());
    let request = stack.client().http().get(url).bearer_auth(&stack.token);
    let answer = request.send().await.expect("an answer");
    let answer: Value = serde_json::from_str(&answer.text().await.expect("a text")).expect("JSON");
    let mut asked: BTreeMap<String, Vec<(Request, bool)>> = BTreeMap::new();
    for recorded in answer["requests"].as_array().expect("requests") {
        let request = serde_json::from_value(recorded.clone()).expect("a request");
        let role = recorded["role"].as_str().expect("a role").to_owned();
        let allowed = recorded["allowed"] == true;
        asked.entry(role).or_default().push((request, allowed));
    }
    asked
}

/// The roles of the template.
fn roles() -> Vec<Role> {
    let parameters = [
        ("AccessTokenSha256", "0".repeat(64)),
        ("SigningKey", "0".repeat(32)),
        ("AnthropicApiKey", "a".repeat(32)),
        ("RunnerImage", "session-runner".to_owned()),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value));
    let template = checkout::root().join("template.yaml");
    let stack = emulator::template::load(&template, &parameters.into(), "shannon");
    stack.expect("the template is right").roles
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_permits_what_is_asked_for_and_nothing_else() {
    let stack = Stack::start(&options());
    let (client, legacy) = (stack.client(), stack.client().legacy());
    let make = "head -c 20000 /dev/zero | tr '\\0' x; echo small > small; head -c 300000 /dev/urandom > large";
    let steps = [script::bash(make), script::text("first")];
    let arguments = json!({"prompt": script::prompt(&steps), "permission_mode": "bypass"});
    let mut read = Session::create(&client, arguments).await;
    read.until_turns_ended(1).await;
    // Its runner is asked, as long as it has one.
    let file = format!("shannon://sessions/{}/files/small", read.id);
    let found = client.request("resources/read", json!({"uri": file})).await;
    assert_eq!(found.status, 200, "{}", found.body);
    let lost = async {
        let mut session = Session::scripted(&client, &[script::slow(60, 200)]).await;
        session
            .until("its turn", |session| session.state == "running")
            .await;
        process::kill_hard(process::runner_of(&session.id).id);
        session.until_turns_ended(1).await;
        assert!(
            session.of_kind("runner_started").len() > 1,
            "{}",
            session.story()
        );
        session.cancel().await;
    };
    // Two at a time: the CLI has to be ready in time on a busy machine, too.
    tokio::join!(tools(&stack, &client, "modern"), people(&stack));
    tokio::join!(tools(&stack, &legacy, "legacy"), tasks(&stack));
    tokio::join!(lost, async {
        cloned(&stack, &client).await;
        readers(&stack, &read.id).await;
        let arguments = json!({"prompt": script::prompt(&[script::slow(100, 200)])});
        let session = Session::create(&client, arguments).await;
        transports(&stack, &session.id).await;
    });
    read.cancel().await;
    stack.sweep().await;
    let asked = asked_for(&stack).await;
    let mut problems = BTreeSet::new();
    for role in roles() {
        let requests = asked.get(&role.name).map_or(&[][..], Vec::as_slice);
        let mut used = BTreeSet::new();
        for (request, allowed) in requests {
            if !allowed {
                problems.insert(format!(
                    "{} lacks {} on {} {:?}",
                    role.name, request.action, request.resource, request.context
                ));
            }
            used.extend(role.policies.iter().flat_map(|policy| policy.used(request)));
        }
        let written = role.policies.iter().filter(|policy| policy.written_here);
        let unused = written.flat_map(|policy| policy.grants());
        for grant in unused.filter(|grant| !used.contains(grant) && !excused(&role, grant)) {
            let Grant {
                action,
                resource,
                condition,
                ..
            } = grant;
            problems.insert(format!(
                "{} never uses {action} on {resource} {condition}",
                role.name
            ));
        }
    }
    let problems: Vec<String> = problems.into_iter().collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
