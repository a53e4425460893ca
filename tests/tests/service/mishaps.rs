//! What goes wrong on a machine: it is said clearly, and nothing is lost.

use std::fs;
use std::path::PathBuf;

use e2e::script;
use e2e::service::{Installation, Service, Setup};
use e2e::session::Session;
use serde_json::json;

fn stop(service: Service) {
    service.ask_to_end();
    let (status, said) = service.ended();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_has_one_service_and_has_to_be_writable() {
    let installation = Installation::make();
    let mut setup = Setup::new();
    let service = setup.start(&installation);
    let client = service.client();
    let mut session = Session::scripted(&client, &[script::text("kept")]).await;
    session.until_turns_ended(1).await;

    // Another port, the same state.
    let port = setup.environment.insert(
        "SHANNON_PORT".to_owned(),
        e2e::service::free_port().to_string(),
    );
    let (status, said) = setup
        .try_start(&installation)
        .expect_err("one is there already");
    assert_eq!(status.code(), Some(1), "{said}");
    let holder = format!("(process {})", service.process_id());
    assert!(
        said.contains("another emulator uses") && said.contains(&holder),
        "{said}"
    );
    assert_eq!(service.get("/ready").await, 200, "the first does not care");
    // The same port, another state.
    setup
        .environment
        .insert("SHANNON_PORT".to_owned(), port.expect("it had one"));
    let state = setup.environment.insert(
        "SHANNON_STATE_DIRECTORY".to_owned(),
        setup.path().join("other").display().to_string(),
    );
    let (status, said) = setup
        .try_start(&installation)
        .expect_err("the port is taken");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("already in use"), "{said}");
    setup.environment.insert(
        "SHANNON_STATE_DIRECTORY".to_owned(),
        state.expect("it had one"),
    );
    stop(service);

    let read_only = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\"";
    setup.through = setup.after(read_only);
    let (status, said) = setup
        .try_start(&installation)
        .expect_err("nothing can be written");
    assert_eq!(status.code(), Some(1), "{said}");
    let state = setup.state().display().to_string();
    assert!(
        said.contains("state directory") && said.contains(&state),
        "{said}"
    );
    assert!(said.contains("Read-only file system"), "{said}");

    setup.through.clear();
    let service = setup.start(&installation);
    let client = service.client();
    let mut again = Session::follow(&client, &session.id);
    again.until_turns_ended(1).await;
    assert_eq!(again.events[..session.events.len()], session.events);
    again.cancel().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_what_was_acknowledged_is_there_afterwards() {
    let installation = Installation::make();
    let mut setup = Setup::new();
    fs::create_dir(setup.state()).expect("a directory");
    setup.through = setup.after("mount -t tmpfs -o size=64m,mode=700 none \"$0\"");
    let service = setup.start(&installation);
    let client = service.client();
    let mut session = Session::scripted(&client, &[script::text("before")]).await;
    session.until_turns_ended(1).await;

    // The state as the service sees it.
    let process =
        e2e::process::running_with(&installation.path().join("emulator").display().to_string());
    let process = process
        .iter()
        .find(|process| process.command_line.contains(" serve"))
        .expect("it runs");
    let inside = PathBuf::from(format!(
        "/proc/{}/root{}",
        process.id,
        setup.state().display()
    ));
    let filler = inside.join("filler");
    let full = (|| -> std::io::Result<()> {
        use std::io::Write as _;
        let mut file = fs::File::create(&filler)?;
        loop {
            file.write_all(&[0; 4096])?;
        }
    })();
    assert_eq!(
        full.expect_err("it fills up").kind(),
        std::io::ErrorKind::StorageFull
    );

    let mut refusals = 0;
    for number in 0..50 {
        let prompt = format!("{} {}", "x".repeat(30_000), number);
        let made = client
            .request(
                "tools/call",
                json!({
                    "name": "create_session", "arguments": {"prompt": prompt},
                }),
            )
            .await;
        if made.status != 200 || made.result()["isError"] == true {
            refusals += 1;
            break;
        }
    }
    assert_eq!(refusals, 1, "a full disk took everything");
    assert_eq!(service.get("/health").await, 200, "{}", service.said());
    let found = client
        .call("get_session", json!({"session_id": session.id}))
        .await;
    assert!(
        found["state"].is_string(),
        "what is there can be read: {found}"
    );

    fs::remove_file(&filler).expect("our own file");
    let mut next = Session::scripted(&client, &[script::text("after")]).await;
    next.until_turns_ended(1).await;
    assert!(next.said().contains("after"));
    let mut again = Session::follow(&client, &session.id);
    again.until_turns_ended(1).await;
    assert_eq!(again.events[..session.events.len()], session.events);
}
