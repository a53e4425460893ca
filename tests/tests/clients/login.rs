//! The real Claude Code logs in: it finds the issuer by the stack's metadata, registers itself, sends the
//! person to a page, and has a token that the authorizer takes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{checkout, installed, stack};

const PATIENCE: Duration = Duration::from_secs(60);

/// `claude` asks for a terminal before it logs in.
const IN_A_TERMINAL: &str =
    "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/// A person's home, with a browser that notes where it was sent.
struct Person {
    home: tempfile::TempDir,
}

impl Person {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let bin = home.path().join("bin");
        std::fs::create_dir(&bin).expect("our own directory");
        for name in ["xdg-open", "open"] {
            let path = bin.join(name);
            let script = format!(
                "#!/bin/sh\nprintf '%s' \"$1\" > '{0}.part' && mv '{0}.part' '{0}'\n",
                home.path().join("visited").display()
            );
            std::fs::write(&path, script).expect("our own directory");
            let executable = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&path, executable).expect("our own file");
        }
        Self { home }
    }

    fn command(&self, program: &Path) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.home.path().join("bin");
        let mut command = Command::new(program);
        command
            .current_dir(self.home.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("BROWSER", bin.join("xdg-open"))
            .env("DISPLAY", ":9")
            .env("HOME", self.home.path())
            .env("TERM", "xterm")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .stdin(Stdio::null());
        command
    }

    fn said(&self, arguments: &[&str]) -> String {
        let mut command = self.command(&installed::claude());
        let output = command.args(arguments).output().expect("the CLI starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    /// What the CLI keeps of its servers.
    fn kept(&self) -> String {
        std::fs::read_to_string(self.home.path().join(".claude.json")).expect("the CLI's own file")
    }

    fn logs_in(&self) -> (Child, PathBuf) {
        let log = self.home.path().join("login.log");
        let file = std::fs::File::create(&log).expect("our own directory");
        let mut command = self.command(Path::new("python3"));
        command
            .args(["-c", IN_A_TERMINAL])
            .arg(installed::claude())
            .args(["mcp", "login", "shannon"])
            .stdout(file)
            .stderr(Stdio::null());
        (command.spawn().expect("python3 starts"), log)
    }

    /// Where the browser was sent.
    async fn visited(&self, log: &Path) -> String {
        let start = Instant::now();
        loop {
            if let Ok(url) = std::fs::read_to_string(self.home.path().join("visited")) {
                return url;
            }
            let said = std::fs::read_to_string(log).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "{said}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What the page's form brings, without what the person adds.
fn hidden(page: &str) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    for field in page.split("<input type=\"hidden\" name=\"").skip(1) {
        let (name, rest) = field.split_once("\" value=\"").expect("a value");
        let (value, _) = rest.split_once('"').expect("its end");
        fields.push((name.to_owned(), value.replace("&amp;", "&")));
    }
    fields
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_logs_in_with_a_browser() {
    let stack = stack::shared();
    let person = Person::new();
    let url = stack.mcp_url();
    person.said(&[
        "mcp",
        "add",
        "-s",
        "user",
        "--transport",
        "http",
        "shannon",
        &url,
    ]);
    let before = person.said(&["mcp", "list"]);
    assert!(!before.contains("Connected"), "{before}");
    let (mut login, log) = person.logs_in();

    let page_url = person.visited(&log).await;
    assert!(page_url.starts_with(&stack.url()), "{page_url}");
    // Whoever comes first installs it; for the others it is there already.
    drop(rustls::crypto::ring::default_provider().install_default());
    let browser = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let page = browser.get(&page_url).send().await.expect("the page");
    let page = page.text().await.expect("the page");
    assert!(page.contains("Claude Code"), "{page}");
    let mut form = hidden(&page);
    for (name, value) in [
        ("granted", "sessions:read"),
        ("granted", "sessions:write"),
        ("decision", "allow"),
        ("development_token", &stack.token),
    ] {
        form.push((name.to_owned(), value.to_owned()));
    }
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&form)
        .finish();
    let decided = browser.post(format!("{}/oauth/authorize", stack.url()));
    let decided = decided.body(body).send().await.expect("an answer");
    assert_eq!(decided.status(), 303);
    let back = decided.headers()["location"].to_str().expect("an address");
    let told = browser.get(back).send().await.expect("Claude Code listens");
    assert!(told.status().is_success());

    let ended = tokio::task::spawn_blocking(move || login.wait());
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("an end");
    let said = std::fs::read_to_string(&log).expect("its words");
    assert!(
        ended.expect("no panic").expect("an end").success(),
        "{said}"
    );
    assert!(said.contains("Authenticated"), "{said}");
    let after = person.said(&["mcp", "list"]);
    assert!(after.contains("Connected"), "{after}");
}

/// The line that a deployment with a user pool gives out is one that the CLI understands.
#[test]
fn the_line_of_the_output_names_the_client_and_its_port() {
    let parameters = [
        ("AccessTokenSha256", "0".repeat(64)),
        ("SigningKey", "0".repeat(32)),
        ("AnthropicApiKey", "a".repeat(32)),
        ("RunnerImage", "session-runner".to_owned()),
        ("PublicUrl", "https://mcp.example.com".to_owned()),
        ("LoginDomain", "shannon-test".to_owned()),
    ];
    let parameters = parameters.map(|(name, value)| (name.to_owned(), value));
    let template = checkout::root().join("template.yaml");
    let stack = emulator::template::load(&template, &parameters.into(), "shannon");
    let stack = stack.expect("the template is right");
    let line = &stack.outputs["ClaudeCodeLogin"];
    let (add, login) = line.split_once(" && ").expect("two commands");
    assert_eq!(login, "claude mcp login shannon");
    let add: Vec<&str> = add.split(' ').skip(1).collect();
    let person = Person::new();
    person.said(&add);
    let kept: serde_json::Value = serde_json::from_str(&person.kept()).expect("JSON");
    let servers = kept["projects"].as_object().expect("projects").values();
    let server = servers
        .map(|project| &project["mcpServers"]["shannon"])
        .next();
    let server = server.expect("a server");
    assert_eq!(server["url"], "https://mcp.example.com/mcp", "{server}");
    assert_eq!(
        server["oauth"]["clientId"], "shannon-userpoolclient",
        "{server}"
    );
    assert_eq!(server["oauth"]["callbackPort"], 3118, "{server}");
}
