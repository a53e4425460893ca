//! Processes end with the emulator, log where they should, and see nothing of its environment.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use emulator::process::{LogStream, Logs, ProcessSpec, SpawnError, set_wrapper, spawn};

fn shell(script: &str, logs: &Logs) -> ProcessSpec {
    set_wrapper(env!("CARGO_BIN_EXE_emulator"));
    ProcessSpec {
        name: "shell".into(),
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: vec![("ONLY".into(), "this".into())],
        directory: None,
        log: logs.sink("shell", "one"),
    }
}

/// Polls until `condition` holds: what it waits for happens in other processes.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A zombie is dead; only its parent has not looked yet.
#[cfg(target_os = "linux")]
fn alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
}

/// A zombie is dead; only its parent has not looked yet.
#[cfg(not(target_os = "linux"))]
fn alive(id: u32) -> bool {
    let ps = Command::new("ps")
        .args(["-o", "stat=", "-p", &id.to_string()])
        .output();
    let state = String::from_utf8(ps.unwrap().stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

#[tokio::test]
async fn lines_go_to_the_log_of_the_name_and_to_the_feed() {
    let directory = tempfile::tempdir().unwrap();
    let logs = Logs::new(Some(directory.path().join("logs"))).unwrap();
    let mut feed = logs.subscribe();
    let script = "env; echo; printf 'no line end' >&2";
    let mut process = spawn(shell(script, &logs)).await.unwrap();
    assert!(process.wait().await.unwrap().success());
    let mut lines = Vec::new();
    while let Ok(line) = feed.try_recv() {
        assert_eq!(
            (line.name.as_str(), line.instance.as_str()),
            ("shell", "one")
        );
        lines.push((line.stream, line.line));
    }
    assert!(lines.contains(&(LogStream::Output, "ONLY=this".into())));
    assert!(lines.contains(&(LogStream::Error, "no line end".into())));
    let ours = ["PATH", "HOME", "CARGO", "ANTHROPIC"];
    for (_, line) in &lines {
        let name = line.split('=').next().unwrap_or_default();
        // The shell itself sets PWD, _ and (some) PATH.
        assert!(!ours.contains(&name) || name == "PATH", "{line}");
    }
    let file = std::fs::read_to_string(directory.path().join("logs/shell.log")).unwrap();
    let line = file
        .lines()
        .find(|line| line.ends_with("ONLY=this"))
        .unwrap();
    let mut words = line.split(' ');
    assert!(words.next().unwrap().ends_with('Z'), "{line}");
    assert_eq!(words.next(), Some("one"));
}

#[tokio::test]
async fn a_line_without_end_does_not_fill_the_memory() {
    let logs = Logs::new(None).unwrap();
    let mut feed = logs.subscribe();
    let script = "head -c 1000000 /dev/zero | tr '\\0' x";
    let mut process = spawn(shell(script, &logs)).await.unwrap();
    assert!(process.wait().await.unwrap().success());
    let (mut pieces, mut bytes) = (0, 0);
    while let Ok(line) = feed.try_recv() {
        pieces += 1;
        bytes += line.line.len();
    }
    assert_eq!(bytes, 1_000_000);
    assert!((2..=4).contains(&pieces), "{pieces}");
}

#[tokio::test]
async fn terminate_asks_and_kill_ends_the_group() {
    let logs = Logs::new(None).unwrap();
    let mut feed = logs.subscribe();
    let script = "trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
    let mut process = spawn(shell(script, &logs)).await.unwrap();
    assert_eq!(feed.recv().await.unwrap().line, "ready");
    process.terminate();
    assert_eq!(process.wait().await.unwrap().code(), Some(5));
    assert_eq!(process.wait().await.unwrap().code(), Some(5), "again");

    let script = "sleep 1000 & echo $!; wait";
    let mut process = spawn(shell(script, &logs)).await.unwrap();
    let child = loop {
        if let Ok(child) = feed.recv().await.unwrap().line.parse::<u32>() {
            break child;
        }
    };
    assert!(alive(child));
    process.kill();
    assert_eq!(process.wait().await.unwrap().code(), None);
    eventually("the grandchild ends", || !alive(child));
}

#[tokio::test]
async fn what_a_process_leaves_behind_ends_with_it_and_with_its_owner() {
    let logs = Logs::new(None).unwrap();
    let mut feed = logs.subscribe();
    let script = "sleep 1000 & echo $!";
    let mut process = spawn(shell(script, &logs)).await.unwrap();
    let child: u32 = feed.recv().await.unwrap().line.parse().unwrap();
    assert!(process.wait().await.unwrap().success());
    eventually("what it left behind ends", || !alive(child));

    let dropped = spawn(shell("echo $$; exec sleep 1000", &logs))
        .await
        .unwrap();
    let id: u32 = feed.recv().await.unwrap().line.parse().unwrap();
    assert_eq!(id, dropped.id());
    drop(dropped);
    eventually("a dropped process ends", || !alive(id));
}

#[tokio::test]
async fn what_cannot_run_says_so() {
    let logs = Logs::new(None).unwrap();
    for program in ["/nonexistent/program", "/etc/passwd", "/tmp"] {
        let spec = ProcessSpec {
            program: program.into(),
            ..shell("", &logs)
        };
        let error = spawn(spec).await.unwrap_err();
        assert!(matches!(error, SpawnError::NotExecutable(_)), "{error}");
        assert!(error.to_string().contains(program));
    }
    // Executable, but what is to run it does not exist.
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("script");
    std::fs::write(&program, "#!/nonexistent/interpreter\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let mut feed = logs.subscribe();
    let spec = ProcessSpec {
        program,
        ..shell("", &logs)
    };
    let mut process = spawn(spec).await.unwrap();
    assert_eq!(process.wait().await.unwrap().code(), Some(127));
    assert!(feed.recv().await.unwrap().line.contains("cannot run"));
}

/// This test's binary as the emulator: starts a child, says its id, and waits to be killed.
#[tokio::test]
async fn owner_of_a_child() {
    if std::env::var_os("OWNER_OF_A_CHILD").is_none() {
        return;
    }
    let logs = Logs::new(None).unwrap();
    let process = spawn(shell("exec sleep 1000", &logs)).await.unwrap();
    println!("child {}", process.id());
    std::future::pending::<()>().await;
}

#[test]
fn no_child_outlives_an_owner_that_was_killed() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_of_a_child", "--nocapture"])
        .env("OWNER_OF_A_CHILD", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let child: u32 = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("child ")?.1.trim().parse().ok())
        .expect("the owner names its child");
    assert!(alive(child));
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the child ends", || !alive(child));
}

/// The wrapper of systems without a parent-death signal, which works here too.
#[test]
fn the_keeping_wrapper_kills_when_its_lifeline_closes_and_passes_on_the_rest() {
    use std::os::unix::process::CommandExt;
    let start = |script: &str| {
        Command::new(env!("CARGO_BIN_EXE_emulator"))
            .args(["child", "keep", &std::process::id().to_string()])
            .args(["/bin/sh", "-c", script])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut first = start("sleep 1000 & echo $!; wait");
    let mut line = String::new();
    let mut output = BufReader::new(first.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    let grandchild: u32 = line.trim().parse().unwrap();
    assert!(alive(grandchild));
    drop(first.stdin.take());
    first.wait().unwrap();
    eventually("the grandchild ends", || !alive(grandchild));

    // Waiting would close the lifeline if it were not taken out.
    let mut second = start("exit 42");
    let _lifeline = second.stdin.take();
    assert_eq!(second.wait().unwrap().code(), Some(42));

    let mut third = start("trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done");
    let mut output = BufReader::new(third.stdout.take().unwrap());
    let _lifeline = third.stdin.take();
    line.clear();
    output.read_line(&mut line).unwrap();
    let id = nix::unistd::Pid::from_raw(i32::try_from(third.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(third.wait().unwrap().code(), Some(5));
}

#[test]
fn a_wrapper_whose_parent_is_gone_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let marker = directory.path().join("started");
    let script = format!("touch {}", marker.display());
    for mode in ["exec", "keep"] {
        if mode == "exec" && !cfg!(target_os = "linux") {
            continue;
        }
        let status = Command::new(env!("CARGO_BIN_EXE_emulator"))
            // Some other process than its parent.
            .args(["child", mode, "1", "/bin/sh", "-c", &script])
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(125), "{mode}");
        assert!(!marker.exists(), "{mode}");
    }
}
