//! What the shell of a session can reach: no real key, no token, no AWS key, no state directory.

use std::collections::BTreeMap;

use e2e::script;
use e2e::session::Session;
use e2e::stack::{Options, Stack};
use emulator::offline_model::{OfflineModel, OfflineReason};

const OPERATOR_SECRET: &str = "operator0secret0key0of0the0machine0000000";

/// Looks for each pattern (an extended regular expression, one per line of `patterns`) in the
/// environment, in what `/proc` tells of every process, and in every readable file: one that the
/// session can write to however large, another up to 4 MiB, which is not the CLI's own program. Below `/usr`, where the machine's own documentation shows keys of the same form, only for the
/// secrets themselves. A session has no `/sys`.
const SEARCH: &str = r#"
cd /
echo "SEARCH BEGINS"
# Bytes: as text, what is no text takes many times as long.
export LC_ALL=C
# A device is mounted on a file, which find takes it for, and has no end.
[ -d /dev/shm ] && shared=/dev/shm
env | grep -E -f /workspace/patterns | sed 's/^/ENVIRONMENT /'
for process in /proc/[0-9]*; do
  for file in environ cmdline mountinfo maps status stat comm auxv; do
    tr '\0' '\n' < "$process/$file" 2>/dev/null | grep -q -a -E -f /workspace/patterns && echo "PROCESS $process/$file"
  done
  ls -l "$process/cwd" "$process/root" "$process/exe" "$process/fd" 2>/dev/null | grep -E -f /workspace/patterns | sed 's/^/LINK /'
done
find /usr -type f -size -4096k -readable -print0 2>/dev/null | xargs -0 grep -l -a -E -f /workspace/exact 2>/dev/null | sed 's/^/FILE /'
find / $shared \( -path /proc -o -path /dev -o -path /usr -o -path /workspace/patterns -o -path /workspace/exact \) -prune -o -type f -readable \( -writable -o -size -4096k \) -print0 2>/dev/null \
  | xargs -0 grep -l -a -E -f /workspace/patterns 2>/dev/null | sed 's/^/FILE /'
find / -path /proc -prune -o -print 2>/dev/null | grep -E -f /workspace/patterns | sed 's/^/PATH /'
echo "PROCESSES $(ls -d /proc/[0-9]* | wc -l)"
echo "FILES $(find / -path /proc -prune -o -type f -print 2>/dev/null | wc -l)"
echo "UID $(id -u)"
[ -e /sys ] && echo "SYS $(ls /sys)"
echo "SEARCH ENDS"
"#;

/// A pattern that finds `secret` and not itself.
fn pattern(secret: &str) -> String {
    let (first, rest) = secret.split_at(secret.len() / 2);
    let quoted = |text: &str| {
        text.chars()
            .map(|letter| match letter {
                letter if letter.is_ascii_alphanumeric() || "-_/".contains(letter) => {
                    letter.to_string()
                }
                other => format!("[{other}]"),
            })
            .collect::<String>()
    };
    let (one, rest) = rest.split_at(1);
    format!("{}[{one}]{}", quoted(first), quoted(rest))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shell_of_a_session_reaches_nothing_secret() {
    // To the stack this is the real API: it has an address and a key that only the gateway may know.
    let model = OfflineModel::start(OfflineReason::Asked)
        .await
        .expect("a free port");
    let options = Options::default()
        .with("ANTHROPIC_API_KEY", model.key())
        .with("ANTHROPIC_BASE_URL", &model.url())
        .with("AWS_SECRET_ACCESS_KEY", OPERATOR_SECRET);
    let stack = Stack::start(&options);
    let client = stack.client();

    let mut secrets = BTreeMap::from([
        ("real key", model.key().to_owned()),
        ("operator's AWS key", OPERATOR_SECRET.to_owned()),
        ("development token", stack.token.clone()),
        ("state directory", stack.state.display().to_string()),
    ]);
    let signing_key =
        std::fs::read_to_string(stack.state.join("signing-key")).expect("a signing key");
    secrets.insert("signing key", signing_key.trim().to_owned());
    let exact: Vec<String> = secrets.values().map(|secret| pattern(secret)).collect();
    let mut patterns = exact.clone();
    // Keys of the emulated AWS and session tokens are made at run time.
    patterns.push("AKIA[A-Z2-7]{16}".to_owned());
    patterns.push("v1[.][a-z2-7]{52}[.]ses_[a-z2-7]{26}[.]".to_owned());

    let decoy = "decoy-7c1f9a";
    patterns.push(pattern(decoy));
    let prepare = format!(
        "cat > exact <<'END'\n{}\nEND\ncat > patterns <<'END'\n{}\nEND\nprintf 'decoy-%s' 7c1f9a > planted; (head -c 6000000 /dev/zero; cat planted) > large",
        exact.join("\n"),
        patterns.join("\n")
    );
    // Planted for one command only, so that no process that goes on has it.
    let search = format!(
        "PLANTED=$(printf 'decoy-%s' 7c1f9a) env | grep -E -f patterns | sed 's/^/ENVIRONMENT /'\n{SEARCH}"
    );
    let [write, run] = script::unseen(&search);
    let mut session = Session::scripted(
        &client,
        &[script::bash(&prepare), write, run, script::text("done")],
    )
    .await;
    session.until_turns_ended(1).await;
    let found = session.tool_results().pop().expect("a result");
    assert!(
        found.contains("SEARCH BEGINS") && found.contains("SEARCH ENDS"),
        "{found}"
    );
    // The search finds what there is to find ...
    assert!(found.contains("ENVIRONMENT PLANTED="), "{found}");
    assert!(found.contains("FILE /workspace/planted"), "{found}");
    assert!(found.contains("FILE /workspace/large"), "{found}");
    // ... and nothing else.
    let leaks: Vec<&str> = found
        .lines()
        .filter(|line| {
            ["ENVIRONMENT ", "PROCESS ", "LINK ", "FILE ", "PATH "]
                .iter()
                .any(|kind| line.starts_with(kind))
        })
        .filter(|line| !line.contains("PLANTED="))
        .filter(|line| !line.ends_with("/workspace/planted") && !line.ends_with("/workspace/large"))
        // What the search itself prints is kept in a file of the CLI.
        .filter(|line| !(line.starts_with("FILE /tmp/claude-") && line.ends_with(".output")))
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}\nof {:?}", secrets.keys());
    assert!(!found.contains("UID 0\n"), "the session is root: {found}");
    assert!(
        !found.contains("SYS "),
        "it sees the machine's devices: {found}"
    );
    session.cancel().await;
}

#[tokio::test]
async fn sessions_do_not_see_each_other() {
    let stack = e2e::stack::shared();
    let client = stack.client();
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let hide = format!("echo {mark} > hidden; timeout 30 tail -f /dev/null --pid=1 # {mark}");
    let mut first = Session::scripted(&client, &[script::bash(&hide), script::text("done")]).await;
    first
        .until("a tool call", |session| {
            !session.of_kind("tool_call").is_empty()
        })
        .await;
    let half = &mark[..16];
    let look = format!(
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; find / -name hidden -not -path '/proc/*' 2>/dev/null; echo {}",
        half
    );
    let [write, run] = script::unseen(&look);
    let mut second = Session::scripted(&client, &[write, run, script::text("done")]).await;
    second.until_turns_ended(1).await;
    let said = second.tool_results().join("\n");
    assert!(said.contains(half), "{said}");
    assert!(!said.contains(&mark), "{said}");
    assert!(!said.contains("hidden\n"), "{said}");
    second.cancel().await;
    first.cancel().await;
}

#[tokio::test]
async fn the_shell_cannot_reach_the_aws_endpoint_with_what_it_has() {
    let stack = e2e::stack::shared();
    let client = stack.client();
    let (aws, health) = (stack.aws_url(), format!("{}/health", stack.url()));
    let ask = |name: &str, arguments: &str| {
        format!("echo \"{name} $(curl -s -m 20 -o /tmp/answer -w '%{{http_code}}' {arguments})\"\n")
    };
    let commands = [
        // What it may reach, so that the refusals below are refusals and not a missing curl.
        ask("HEALTH", &health),
        ask("CALLS", &format!("{aws}/_emulator/calls")),
        ask("BUCKETS", &format!("{aws}/")),
        ask(
            "TABLES",
            &format!("-X POST {aws}/ -H 'x-amz-target: DynamoDB_20120810.ListTables' -d '{{}}'"),
        ),
        "echo \"SAID $(cat /tmp/answer)\"\necho \"KEYS $(env | grep -c AWS_)\"\n".to_owned(),
    ];
    let mut session = Session::scripted(
        &client,
        &[script::bash(&commands.concat()), script::text("done")],
    )
    .await;
    session.until_turns_ended(1).await;
    let said = session.tool_results().join("\n");
    // DynamoDB refuses who is unknown with 400, as on AWS: the answer says why.
    for expected in [
        "HEALTH 200",
        "CALLS 401",
        "BUCKETS 403",
        "TABLES 400",
        "KEYS 0",
    ] {
        assert!(
            said.lines().any(|line| line == expected),
            "no {expected} in:\n{said}"
        );
    }
    let refusal = said.lines().find(|line| line.starts_with("SAID "));
    assert!(
        refusal.is_some_and(|line| line.contains("MissingAuthenticationToken")),
        "{said}"
    );
    session.cancel().await;
}

/// Whoever invokes a function says in the event who is calling, so nobody may who cannot sign.
#[tokio::test]
async fn the_shell_can_invoke_no_function() {
    let stack = e2e::stack::shared();
    let client = stack.client();
    // Every port of this machine that listens, the emulator's among them.
    let invoke = r#"
tried=0
for hex in $(grep ' 0A ' /proc/net/tcp | awk '{print $2}' | cut -d: -f2 | sort -u); do
  port=$((16#$hex)); tried=$((tried + 1))
  [ "$(curl -s -m 5 -o /dev/null -w '%{http_code}' -X POST "http://127.0.0.1:$port/2015-03-31/functions/call/invocations" -d '{}')" = 403 ] && echo "REFUSED"
  for path in 2015-03-31/functions/call/invocations 2021-11-15/functions/call/response-streaming-invocations; do
    curl -s -m 5 -o /dev/null -D - -X POST "http://127.0.0.1:$port/$path" -d '{}' \
      | grep -i '^x-amz-executed-version' && echo "INVOKED on $port"
  done
done
echo "TRIED $tried"
"#;
    let mut session =
        Session::scripted(&client, &[script::bash(invoke), script::text("done")]).await;
    session.until_turns_ended(1).await;
    let said = session.tool_results().join("\n");
    let tried = said
        .lines()
        .find_map(|line| line.strip_prefix("TRIED "))
        .and_then(|count| count.trim().parse::<u32>().ok());
    assert!(tried.is_some_and(|tried| tried >= 4), "{said}");
    // One of them is the endpoint that serves Lambda: it was reached, and said no.
    assert!(said.contains("REFUSED"), "{said}");
    assert!(!said.contains("INVOKED"), "{said}");
    session.cancel().await;
}
