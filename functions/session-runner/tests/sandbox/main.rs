//! The sandbox from inside: what a session can see, what it cannot, and that nothing outlives it.
//!
//! These tests need what the runner needs. A machine without it fails them; it does not skip them.
#![cfg(target_os = "linux")]

mod capabilities;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use session_runner::sandbox::launch::Sandbox;
use session_runner::sandbox::plan::{Bind, Isolation, Plan};
use session_runner::sandbox::session::Session;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

const RUNNER: &str = env!("CARGO_BIN_EXE_session-runner");

struct Box {
    base: tempfile::TempDir,
    sandbox: Sandbox,
}

fn sandbox(isolation: Isolation) -> Box {
    let base = tempfile::tempdir().expect("a directory");
    let sandbox = Sandbox::prepare(isolation, base.path(), Path::new(RUNNER)).expect("a sandbox");
    Box { base, sandbox }
}

impl Box {
    fn start(&self, script: &str) -> Session {
        let directories = self.sandbox.directories();
        let environment = vec![
            (
                "PATH".to_owned(),
                "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned(),
            ),
            ("SECRET_OF_SESSION".to_owned(), "relay".to_owned()),
        ];
        let command = ["/bin/bash", "-c", script].map(str::to_owned).to_vec();
        self.sandbox
            .start(command, environment, &directories.workspace.inside, &[])
            .expect("a start")
    }

    async fn run(&self, script: &str) -> (Option<i32>, String) {
        let mut session = self.start(script);
        drop(session.child.stdin.take());
        let mut out = String::new();
        let mut err = String::new();
        let mut stdout = session.child.stdout.take().expect("stdout");
        let mut stderr = session.child.stderr.take().expect("stderr");
        let (read_out, read_err) = tokio::join!(
            stdout.read_to_string(&mut out),
            stderr.read_to_string(&mut err)
        );
        read_out.and(read_err).expect("text");
        let status = session.child.wait().await.expect("an end");
        (status.code(), format!("{out}{err}"))
    }
}

/// Set where a test runs another one of this program without the privileges of other isolations.
const ONLY_UID: &str = "SHANNON_TEST_ONLY_UID";

/// The kinds of isolation, from none of which anything can hide. Another uid takes root to give.
fn isolations() -> Vec<Isolation> {
    if std::env::var_os(ONLY_UID).is_some() {
        return vec![Isolation::Uid];
    }
    let mut isolations = vec![Isolation::Namespaces, Isolation::None];
    if nix::unistd::geteuid().is_root() {
        isolations.push(Isolation::Uid);
    }
    isolations
}

/// Processes of this machine whose command line contains `mark`.
fn processes(mark: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines
        .filter(|line| line.contains(mark) && line.starts_with("sleep"))
        .collect()
}

async fn gone(mark: &str) {
    let start = Instant::now();
    while !processes(mark).is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "still there: {:?}",
            processes(mark)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn mark() -> String {
    // Seconds that no other test or program sleeps for.
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("8{}.{count}", std::process::id())
}

#[tokio::test]
async fn a_session_in_namespaces_is_alone() {
    let place = sandbox(Isolation::Namespaces);
    let (code, said) = place
        .run(
            "echo uid=$(id -u) gid=$(id -g) groups=$(id -G) host=$(hostname) pwd=$PWD
             echo root: $(ls -A /)
             echo workspace: $(ls -A /workspace)
             echo processes: $(ls /proc | grep -c '^[0-9]*$')
             echo homes: $(ls /root /home 2>&1 | tr '\\n' ' ')
             echo network: $(ls /sys 2>&1)
             grep NoNewPrivs /proc/self/status",
        )
        .await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("uid=1000 gid=1000 groups=1000 host=session pwd=/workspace"),
        "{said}"
    );
    assert!(said.contains("NoNewPrivs:\t1"), "{said}");
    assert!(said.contains("workspace:\n"), "{said}");
    let root = said
        .lines()
        .find_map(|line| line.strip_prefix("root: "))
        .expect("a root");
    for name in root.split(' ') {
        let known = [
            "bin",
            "claude",
            "dev",
            "etc",
            "gnu",
            "home",
            "lib",
            "lib32",
            "lib64",
            "libx32",
            "nix",
            "proc",
            "run",
            "sbin",
            "tmp",
            "usr",
            "var",
            "workspace",
        ];
        assert!(known.contains(&name), "the session sees /{name}");
    }
    let count: u32 = said
        .lines()
        .find_map(|line| line.strip_prefix("processes: "))
        .expect("a count")
        .parse()
        .expect("a number");
    assert!(count <= 8, "{said}");
}

#[tokio::test]
async fn a_session_reads_no_secret_of_the_machine() {
    let place = sandbox(Isolation::Namespaces);
    let secret = place.base.path().join("var/shannon/secret");
    std::fs::write(&secret, "machine-secret").expect("written");
    let script = format!(
        "cat {0} /etc/shadow /etc/gshadow /etc/ssh/* /proc/1/environ /proc/1/mem /proc/1/root/etc/passwd 2>/dev/null
         for p in /proc/[0-9]*; do cat $p/environ 2>/dev/null | tr '\\0' '\\n'; done
         ls {1} /root /var/lib /boot 2>/dev/null; true",
        secret.display(),
        place.base.path().display()
    );
    let (code, said) = place.run(&script).await;
    assert_eq!(code, Some(0), "{said}");
    for line in said.lines() {
        let own = [
            "PATH=",
            "SECRET_OF_SESSION=",
            "PWD=",
            "SHLVL=",
            "_=",
            "OLDPWD=",
        ];
        assert!(
            own.iter().any(|name| line.starts_with(name)),
            "the session read {line:?}"
        );
    }
}

#[tokio::test]
async fn only_its_own_directories_can_be_written() {
    let place = sandbox(Isolation::Namespaces);
    let (code, said) = place
        .run(
            "for d in / /usr /usr/bin /etc /run /run/shannon /dev /proc/sys/kernel /var /home \
                      /workspace /claude /home/session /tmp /dev/shm; do
               touch $d/probe 2>/dev/null && echo wrote $d
             done
             echo x 2>/dev/null > /claude/settings.json && echo wrote settings
             rm -f /claude/settings.json 2>/dev/null && echo removed settings
             mv /claude/settings.json /claude/other 2>/dev/null && echo moved settings
             mount -t tmpfs x /workspace 2>/dev/null && echo mounted
             mount -o remount,rw / 2>/dev/null && echo remounted
             umount /claude/settings.json 2>/dev/null && echo unmounted
             unshare -Urm sh -c 'umount /claude/settings.json || mount -o remount,bind,rw /claude/settings.json' 2>/dev/null && echo unshared
             cat /claude/settings.json",
        )
        .await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said,
        "wrote /workspace\nwrote /claude\nwrote /home/session\nwrote /tmp\nwrote /dev/shm\n{}\n"
    );
    assert!(
        place
            .sandbox
            .directories()
            .workspace
            .outside
            .join("probe")
            .exists()
    );
}

#[tokio::test]
async fn killing_a_session_kills_what_hid_from_it() {
    for isolation in isolations() {
        let place = sandbox(isolation);
        let mark = mark();
        let mut session = place.start(&format!(
            "setsid sleep {mark} & (setsid nohup sleep {mark} >/dev/null 2>&1 &) ; (trap '' TERM HUP INT; sleep {mark}) & echo started; wait"
        ));
        let mut lines = BufReader::new(session.child.stdout.take().expect("stdout")).lines();
        assert_eq!(
            lines.next_line().await.expect("a line").as_deref(),
            Some("started")
        );
        while processes(&mark).len() < 3 {
            tokio::task::yield_now().await;
        }
        session.kill_all().await.expect("killed");
        // Not "soon": when it returns, nothing is there.
        assert_eq!(processes(&mark), Vec::<String>::new(), "{isolation:?}");
    }
}

#[tokio::test]
async fn what_an_ended_session_left_dies_too() {
    for isolation in isolations() {
        let place = sandbox(isolation);
        let mark = mark();
        let mut session = place.start(&format!(
            "(setsid nohup sleep {mark} >/dev/null 2>&1 &); exit 3"
        ));
        let status = session.child.wait().await.expect("an end");
        assert_eq!(status.code(), Some(3));
        session.kill_all().await.expect("killed");
        assert_eq!(processes(&mark), Vec::<String>::new(), "{isolation:?}");
    }
}

#[tokio::test]
async fn a_stage_that_cannot_tell_that_all_is_gone_is_an_error() {
    for (on_quit, problem) in [
        ("", "the stage of the sandbox was killed"),
        ("exit 125", "the stage of the sandbox failed"),
    ] {
        let base = tempfile::tempdir().expect("a directory");
        let stage = base.path().join("stage");
        let script = format!(
            "#!/bin/bash\ntrap '{on_quit}' QUIT\necho ready\nwhile :; do sleep 0.05; done\n"
        );
        // By another process: a file that this one has open for writing cannot be started.
        let made = std::process::Command::new("/bin/sh")
            .args(["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""])
            .arg(&stage)
            .arg(script)
            .status();
        assert!(made.expect("a shell").success());
        let sandbox = Sandbox::prepare(Isolation::None, base.path(), &stage).expect("a sandbox");
        let command = vec!["true".to_owned()];
        let session = sandbox.start(command, vec![], base.path(), &[]);
        let mut session = session.expect("a start");
        let mut lines = BufReader::new(session.child.stdout.take().expect("stdout")).lines();
        let ready = lines.next_line().await.expect("a line");
        assert_eq!(ready.as_deref(), Some("ready"));
        let error = session.kill_all().await.expect_err("nobody knows");
        assert!(error.to_string().starts_with(problem), "{error}");
    }
}

#[tokio::test]
async fn a_session_that_is_dropped_dies_whole() {
    for isolation in [Isolation::Namespaces, Isolation::None] {
        let place = sandbox(isolation);
        let mark = mark();
        let mut session = place.start(&format!(
            "(setsid nohup sleep {mark} >/dev/null 2>&1 &); echo started; sleep {mark}"
        ));
        let mut lines = BufReader::new(session.child.stdout.take().expect("stdout")).lines();
        assert_eq!(
            lines.next_line().await.expect("a line").as_deref(),
            Some("started")
        );
        while processes(&mark).len() < 2 {
            tokio::task::yield_now().await;
        }
        drop(session);
        gone(&mark).await;
    }
}

#[tokio::test]
async fn the_exit_code_and_signals_pass_through() {
    for isolation in [Isolation::Namespaces, Isolation::None] {
        let place = sandbox(isolation);
        assert_eq!(place.run("exit 7").await.0, Some(7));
        let mut session =
            place.start("trap 'echo asked; exit 9' TERM; echo ready; while :; do sleep 0.01; done");
        let mut lines = BufReader::new(session.child.stdout.take().expect("stdout")).lines();
        assert_eq!(
            lines.next_line().await.expect("a line").as_deref(),
            Some("ready")
        );
        session.terminate();
        assert_eq!(
            lines.next_line().await.expect("a line").as_deref(),
            Some("asked")
        );
        assert_eq!(session.child.wait().await.expect("an end").code(), Some(9));
    }
}

#[tokio::test]
async fn a_program_that_is_missing_says_so() {
    for isolation in isolations() {
        let place = sandbox(isolation);
        let directories = place.sandbox.directories();
        let session = place.sandbox.start(
            vec!["/nonexistent/claude".to_owned()],
            vec![],
            &directories.workspace.inside,
            &[],
        );
        let mut session = session.expect("a start");
        let mut said = String::new();
        let mut stderr = session.child.stderr.take().expect("stderr");
        stderr.read_to_string(&mut said).await.expect("text");
        let status = session.child.wait().await.expect("an end");
        assert_eq!(status.code(), Some(125));
        assert!(
            said.contains("shannon sandbox: cannot start /nonexistent/claude"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_uid_of_its_own_sees_no_runner() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can give a session another uid; anybody else is told.
        let base = tempfile::tempdir().expect("a directory");
        let refused = Sandbox::prepare(Isolation::Uid, base.path(), Path::new(RUNNER));
        assert!(
            refused.is_err_and(|error| error.to_string().contains("needs a runner that is root"))
        );
        return;
    }
    let place = sandbox(Isolation::Uid);
    let secret = place.base.path().join("var/shannon/secret");
    std::fs::write(&secret, "machine-secret").expect("written");
    let claude = place
        .sandbox
        .directories()
        .claude
        .outside
        .display()
        .to_string();
    let script = format!(
        "echo uid=$(id -u) groups=$(id -G)
         cat {} 2>/dev/null; cat /proc/{}/environ 2>/dev/null
         kill -9 {} 2>/dev/null && echo killed
         rm -f {claude}/settings.json 2>/dev/null && echo removed
         echo x 2>/dev/null > {claude}/settings.json && echo wrote
         touch {claude}/own && echo own
         grep NoNewPrivs /proc/self/status",
        secret.display(),
        std::process::id(),
        std::process::id()
    );
    let (code, said) = place.run(&script).await;
    assert_eq!(code, Some(0), "{said}");
    let user = place.sandbox.user().expect("a user");
    assert_eq!(
        said,
        format!("uid={user} groups={user}\nown\nNoNewPrivs:\t1\n")
    );
}

/// The stages as an ordinary user, and the death of the runner: both need a process of its own
/// between this test and the sandbox.
fn plan_for(base: &Path, isolation: Isolation, runner: u32, script: &str) -> PathBuf {
    let make = |name: &str| {
        let path = base.join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        path
    };
    let workspace = make("workspace");
    let plan = Plan {
        isolation,
        runner,
        command: ["/bin/bash", "-c", script].map(str::to_owned).to_vec(),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        working_directory: match isolation {
            Isolation::Namespaces => PathBuf::from("/workspace"),
            Isolation::Uid | Isolation::None => workspace.clone(),
        },
        beside: false,
        user: None,
        new_root: make("root"),
        binds: vec![Bind {
            from: workspace,
            to: PathBuf::from("/workspace"),
            read_only: false,
        }],
    };
    let path = base.join("plan");
    std::fs::write(&path, serde_json::to_vec(&plan).expect("json")).expect("written");
    path
}

#[test]
fn an_ordinary_user_can_run_sessions_too() {
    let base = tempfile::tempdir().expect("a directory");
    let plan = plan_for(
        base.path(),
        Isolation::Namespaces,
        std::process::id(),
        "echo $(id -u) $(ls / | wc -l) > /workspace/said; touch /usr/x; cat /proc/1/environ",
    );
    let mut command = std::process::Command::new(RUNNER);
    let program = base.path().join("session-runner");
    if nix::unistd::geteuid().is_root() {
        // The program must be readable for that user, wherever the checkout is. Another process
        // copies it: a child that another test starts now would keep a file open that this one
        // writes, and what is open for writing cannot be run.
        let copied = std::process::Command::new("cp")
            .args([Path::new(RUNNER), &program])
            .status();
        assert!(copied.expect("cp").success());
        command = std::process::Command::new(&program);
        for path in ["", "root", "workspace", "plan", "session-runner"] {
            std::os::unix::fs::chown(base.path().join(path), Some(54321), Some(54321))
                .expect("given");
        }
        command.uid(54321).gid(54321);
    }
    let output = command
        .args(["sandbox", "enter"])
        .arg(plan)
        .env_clear()
        .output()
        .expect("an end");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = std::fs::read_to_string(base.path().join("workspace/said")).unwrap_or_default();
    assert!(said.starts_with("1000 "), "{said} {errors}");
    assert!(
        errors.contains("Read-only file system") && errors.contains("environ: Permission denied"),
        "{errors}"
    );
}

#[tokio::test]
async fn nothing_survives_a_killed_runner() {
    for isolation in [Isolation::Namespaces, Isolation::None] {
        let base = tempfile::tempdir().expect("a directory");
        let mark = mark();
        // A shell stands for the runner: it starts the sandbox as its child and is killed.
        let script = format!("setsid nohup sleep {mark} >/dev/null 2>&1 & sleep {mark} & wait");
        let plan = plan_for(base.path(), isolation, 0, &script);
        let text = std::fs::read_to_string(&plan).expect("the plan");
        let shell = format!(
            "sed 's/\"runner\":0/\"runner\":'$$'/' {0} > {0}.own; {RUNNER} sandbox enter {0}.own & wait",
            plan.display()
        );
        assert!(text.contains("\"runner\":0"));
        let mut runner = tokio::process::Command::new("/bin/bash")
            .args(["-c", &shell])
            .stdin(Stdio::null())
            .spawn()
            .expect("a shell");
        let start = Instant::now();
        while processes(&mark).len() < 2 {
            assert!(start.elapsed() < Duration::from_secs(20), "never started");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        runner.kill().await.expect("killed");
        gone(&mark).await;
    }
}

#[test]
fn a_stage_with_another_parent_ends() {
    let base = tempfile::tempdir().expect("a directory");
    let plan = plan_for(base.path(), Isolation::None, 1, "true");
    let output = std::process::Command::new(RUNNER)
        .args(["sandbox", "enter"])
        .arg(plan)
        .output()
        .expect("an end");
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is gone"));
}

#[tokio::test]
async fn what_runs_beside_ends_alone() {
    for isolation in isolations() {
        let place = sandbox(isolation);
        let (first, second) = (mark(), mark());
        let mut session = place.start(&format!("sleep {first} & sleep {first}"));
        let directory = place.sandbox.directories().workspace.inside.clone();
        let script =
            format!("(setsid sleep {second} &) ; sleep {second} & echo begun; sleep {second}");
        let command = ["bash", "-c", &script].map(str::to_owned).to_vec();
        let environment = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        let mut beside = place
            .sandbox
            .start_beside(command, environment, &directory)
            .expect("a start");
        let mut lines = BufReader::new(beside.child.stdout.take().expect("stdout")).lines();
        assert_eq!(
            lines.next_line().await.expect("text").as_deref(),
            Some("begun")
        );
        while processes(&first).len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        beside.kill_all().await.expect("all of it is gone");
        assert_eq!(processes(&second), Vec::<String>::new(), "{isolation:?}");
        assert_eq!(processes(&first).len(), 2, "{isolation:?}");
        // Its own end is none of the other's either.
        let script = format!("setsid sleep {second} & exit 3");
        let command = ["bash", "-c", &script].map(str::to_owned).to_vec();
        let mut beside = place
            .sandbox
            .start_beside(
                command,
                vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
                &directory,
            )
            .expect("a start");
        let status = beside.child.wait().await.expect("an end");
        assert_eq!(status.code(), Some(3), "{isolation:?}");
        gone(&second).await;
        assert_eq!(processes(&first).len(), 2, "{isolation:?}");
        session.kill_all().await.expect("all of it is gone");
        gone(&first).await;
    }
}
