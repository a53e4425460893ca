//! What a session of a uid of its own takes of root's privileges.

use super::ONLY_UID;

/// What the task definition of `template.yaml` leaves of the privileges that a container's root has
/// is enough for a session of a uid of its own, from its directories to its end.
#[test]
fn a_uid_of_its_own_takes_the_capabilities_of_the_task_definition_and_no_others() {
    const DEFAULT: [&str; 14] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let template = include_str!("../../../../template.yaml");
    let (_, dropped) = template.split_once("{Drop: [").expect("a list");
    let dropped = dropped.split(']').next().expect("its end");
    let dropped: Vec<&str> = dropped.split(", ").collect();
    let kept: Vec<&str> = DEFAULT
        .into_iter()
        .filter(|name| !dropped.contains(name))
        .collect();
    assert_eq!(
        kept,
        [
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "KILL",
            "SETGID",
            "SETUID"
        ]
    );
    if !nix::unistd::geteuid().is_root() {
        // Then it cannot be tried: only root can give a session another uid.
        return;
    }
    let bounding = kept.iter().map(|name| format!(",+{}", name.to_lowercase()));
    let bounding = format!("-all{}", bounding.collect::<String>());
    for test in [
        "a_uid_of_its_own_sees_no_runner",
        "killing_a_session_kills_what_hid_from_it",
        "what_an_ended_session_left_dies_too",
        "what_runs_beside_ends_alone",
    ] {
        let output = std::process::Command::new("setpriv")
            .args(["--bounding-set", &bounding, "--inh-caps", "-all"])
            .arg(std::env::current_exe().expect("this test"))
            .args(["--exact", test])
            .env(ONLY_UID, "1")
            .output()
            .expect("setpriv");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
    }
}
