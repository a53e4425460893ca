//! A CLI that says more than anybody can take at the moment.

use std::time::{Duration, Instant};

use domain::session::Attachment;
use domain::{CommandBody, Event, EventBody, State, UploadId};
use session_runner::supervisor::Outcome;

use super::{Script, polite, world};
use crate::support::{World, bodies};

fn texts(events: &[Event]) -> Vec<&str> {
    let texts = bodies(events).into_iter().filter_map(|body| match body {
        EventBody::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn notices<'a>(events: &'a [Event], wanted: &str) -> Vec<&'a str> {
    let notices = bodies(events).into_iter().filter_map(|body| match body {
        EventBody::Notice { code, message } if code == wanted => Some(message.as_str()),
        _ => None,
    });
    notices.collect()
}

/// Waits until a file of the workspace is there, and gives what is in it.
async fn file(world: &World, name: &str, wanted: impl Fn(&str) -> bool) -> String {
    let path = world.base.path().join("workspace").join(name);
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if wanted(&text) {
            return text;
        }
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "{name} is {text:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Says 1500 texts of 8 KiB once it is told to, and notes how far it came.
const TALKS: &str = r#"while [ ! -e go ]; do sleep 0.02; done
      long=$(head -c 8000 /dev/zero | tr '\0' x)
      for ((i = 1; i <= 1500; i++)); do
        printf '{"type":"assistant","message":{"id":"m%d","content":[{"type":"text","text":"%d %s"}]}}\n' $i $i $long
        echo $i > said
      done"#;

#[tokio::test]
async fn while_the_log_cannot_be_written_the_cli_waits_and_nothing_is_lost() {
    for (buffer, waits) in [(1024 * 1024, true), (64 * 1024 * 1024, false)] {
        let script = Script::new(&polite(TALKS));
        let mut world = world(&script).await;
        world.settings.buffer_bytes = buffer;
        world.settings.lease = Duration::from_secs(600);
        world.start();
        world
            .until("turn", |body| matches!(body, EventBody::TurnStarted { .. }))
            .await;
        // Every call of the store fails from now on.
        world.ports.fail_at_random(1, 1);
        let workspace = world.base.path().join("workspace");
        std::fs::write(workspace.join("go"), "").expect("written");
        if waits {
            // A MiB waits for the log, another before the supervisor, and the rest is in pipes.
            file(&world, "said", |said| {
                said.trim().parse().is_ok_and(|i: u32| i > 100)
            })
            .await;
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(2) {
                let said = std::fs::read_to_string(workspace.join("said")).unwrap_or_default();
                assert!(said.len() < 5 && said.trim() < "400", "it said {said}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        } else {
            file(&world, "said", |said| said == "1500\n").await;
        }
        world.ports.no_more_faults();
        let events = world.idle_after(1).await;
        let numbers: Vec<u32> = texts(&events)
            .iter()
            .map(|text| {
                text.split(' ')
                    .next()
                    .and_then(|number| number.parse().ok())
            })
            .map(|number| number.expect("a number"))
            .collect();
        assert_eq!(numbers, (1..=1500).collect::<Vec<u32>>());
        world.stop();
        assert_eq!(world.outcome().await, Outcome::Suspended);
    }
}

#[tokio::test]
async fn a_flood_on_standard_error_never_makes_the_cli_wait() {
    let flood = "if [ ! -e begun ]; then touch begun; (
        while [ ! -e go ]; do sleep 0.02; done
        head -c 10000000 /dev/zero | tr '\\0' x | fold -w 99 >&2
        echo >&2; echo 'the end' >&2; touch wrote) & fi";
    let script = Script::new(&polite(flood));
    let mut world = world(&script).await;
    let upload = UploadId::from_random([1; 17]);
    let bytes = b"attached".to_vec();
    let uploads = world.objects.uploads.clone();
    uploads
        .lock()
        .expect("no panic")
        .insert(upload.as_str().to_owned(), bytes);
    world.start();
    world.idle_after(1).await;
    world.objects.held.send_replace(true);
    let message = CommandBody::Message {
        text: "look".to_owned(),
        attachments: vec![Attachment {
            upload,
            name: "notes.txt".to_owned(),
        }],
    };
    world.send("m1", message).await;
    while world.objects.held.receiver_count() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The supervisor waits for the attachment, and hears nothing.
    std::fs::write(world.base.path().join("workspace/go"), "").expect("written");
    let path = world.base.path().join("workspace/wrote");
    let start = Instant::now();
    while !path.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "it waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.objects.held.receiver_count(), 1);
    world.objects.held.send_replace(false);
    let events = world
        .until(
            "the warning",
            |body| matches!(body, EventBody::Notice { code, .. } if code == "cli_warning"),
        )
        .await;
    let warnings = notices(&events, "cli_warning");
    let shown: usize = warnings.iter().map(|text| text.lines().count()).sum();
    let last = warnings.last().and_then(|text| text.lines().last());
    let more = last.and_then(|line| line.strip_prefix('[')?.split(' ').next());
    let more: usize = more.and_then(|more| more.parse().ok()).expect("a count");
    // 101011 lines of the flood, an empty one or none, and the end; the count is shown as one.
    assert!(
        (101_012..=101_014).contains(&(shown - 1 + more)),
        "{shown} {more}"
    );
    assert!(warnings.len() < 5 && shown < 200, "{shown}");
    world.idle_after(2).await;
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}

#[tokio::test]
async fn a_line_of_the_longest_length_is_heard_and_one_over_it_is_skipped() {
    let most = 64 * 1024 * 1024;
    let (before, after) = (
        r#"{"type":"assistant","message":{"id":"m","content":[{"type":"text","text":""#,
        r#""}]}}"#,
    );
    let fits = most - before.len() - after.len();
    let say = |bytes: usize| {
        format!("printf %s '{before}'; head -c {bytes} /dev/zero | tr '\\0' x; echo '{after}'")
    };
    let script = Script::new(&polite(&format!("{}; {}", say(fits), say(fits + 1))));
    let mut world = world(&script).await;
    assert_eq!(world.settings.max_line_bytes, most);
    world.start();
    // Reading the log again and again would take longer than the CLI does.
    let start = Instant::now();
    loop {
        let head = world.head().await;
        if (head.turn, head.state) == (1, State::Idle) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{head:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let events = world.events().await;
    // It was read whole; an event keeps its first MiB, and says how much more there was.
    let kept = 1024 * 1024;
    let said = texts(&events);
    let rest = format!("x… [{} more bytes]", fits - kept);
    assert!(
        said.len() == 1 && said[0].starts_with("xxx") && said[0].ends_with(&rest),
        "{} texts",
        said.len()
    );
    let skipped = notices(&events, "long_line");
    assert!(
        skipped.len() == 1 && skipped[0].contains(&format!("{} bytes", most + 1)),
        "{skipped:?}"
    );
    world.stop();
    assert_eq!(world.outcome().await, Outcome::Suspended);
}
