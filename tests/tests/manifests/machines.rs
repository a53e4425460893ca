//! What machines without containers take: the unit of systemd, the property list of launchd, the user
//! data of cloud-init, and the scripts that install.

use std::path::Path;
use std::process::Command;

use e2e::{checkout, installed};
use serde_json::{Value, json};

use crate::judges::{Draft, Verdict, changed, holds, path, run, tool, yaml};

const UNIT: &str = "infra/self-hosted/shannon.service";
const PLIST: &str = "infra/self-hosted/shannon.plist";
const CLOUD: &str = "infra/self-hosted/cloud-init.yaml";

fn systemd(arguments: &[&str], unit: &str) -> Verdict {
    // The program is not installed here, and that it is there is checked too.
    let unit = Draft::of(
        UNIT,
        &unit.replace("/opt/shannon/emulator serve", "/bin/true"),
    );
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg(&unit.path);
    let found = command.output();
    assert!(
        found.is_ok(),
        "systemd-analyze is missing: Debian package systemd"
    );
    run(&mut command)
}

#[test]
fn systemd_finds_no_fault_with_the_unit() {
    let verify = |unit: &str| systemd(&["verify", "--man=no"], unit);
    let verdict = verify(&checkout::read(UNIT));
    verdict.accepts();
    assert_eq!(verdict.said, "");
    let broken = verify(&changed(UNIT, "Restart=always", "Restart=sometimes"));
    assert!(broken.said.contains("sometimes"), "{}", broken.said);
    let broken = verify(&changed(UNIT, "ProtectClock=", "ProtectClocks="));
    assert!(broken.said.contains("ProtectClocks"), "{}", broken.said);
}

#[test]
fn the_unit_is_exposed_by_two_at_most() {
    // The threshold is in tenths.
    let arguments = ["security", "--offline=true", "--no-pager", "--threshold=20"];
    let verdict = systemd(&arguments, &checkout::read(UNIT));
    verdict.accepts();
    let exposure = |verdict: &Verdict| -> f64 {
        let (_, rest) = verdict
            .said
            .split_once("shannon.service: ")
            .expect("a level");
        rest.split(' ')
            .next()
            .and_then(|word| word.parse().ok())
            .expect("a number")
    };
    assert!(exposure(&verdict) <= 2.0, "{}", verdict.said);
    let open = changed(UNIT, "CapabilityBoundingSet=\n", "");
    let verdict = systemd(&arguments, &open);
    assert!(
        !verdict.content && exposure(&verdict) > 2.0,
        "{}",
        verdict.said
    );
}

#[test]
fn the_unit_holds_the_numbers() {
    let text = checkout::read(UNIT);
    for line in [
        "User=shannon",
        "ExecStart=/opt/shannon/emulator serve",
        "Environment=SHANNON_CONFIG_PATH=/etc/shannon/shannon.toml",
        "Restart=always",
        "RestartSec=10",
        "RestartPreventExitStatus=2",
        "StartLimitIntervalSec=200",
        "StartLimitBurst=5",
        "KillMode=mixed",
        "TimeoutStopSec=120",
        "LimitNOFILE=65535",
        "LimitNPROC=4096",
        "CPUQuota=200%",
        "MemoryMax=2G",
        "StateDirectory=shannon",
        "StateDirectoryMode=0700",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "CapabilityBoundingSet=",
        "RestrictNamespaces=user mnt pid ipc uts",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line}");
    }
    // What the runner does to isolate a session must stay possible (the comments say why), or the
    // service would not start.
    let together = [
        "ProcSubset=pid",
        "ProtectKernelTunables=yes",
        "ProtectKernelLogs=yes",
    ];
    assert!(
        together
            .iter()
            .all(|line| text.lines().any(|it| it == *line))
    );
    for line in [
        "ProtectHostname=no",
        "SystemCallFilter=@system-service mount umount2 pivot_root sethostname",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line}");
    }
    assert!(!text.contains("\nMemoryDenyWriteExecute="));
    // Each secret is a file that systemd hands over.
    let variables = text
        .lines()
        .filter_map(|line| line.strip_prefix("Environment="));
    for variable in variables.filter(|it| it.contains("TOKEN") || it.contains("KEY")) {
        let (name, value) = variable.split_once('=').expect("a value");
        let file = value.strip_prefix("%d/").expect("a credential");
        assert!(name.ends_with("_FILE"), "{name}");
        let loaded = format!("\nLoadCredential={file}:/etc/shannon/secrets/{file}\n");
        assert!(text.contains(&loaded), "{file} is not loaded");
    }
}

/// Reads a property list as JSON, with the parser that Python brings.
fn plist(file: &Path) -> Verdict {
    let script =
        "import json, plistlib, sys\nprint(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let mut command = Command::new(installed::manifest_tools().interpreter());
    run(command.args(["-c", script]).arg(file))
}

#[test]
fn the_property_list_is_one_and_holds_the_numbers() {
    let verdict = plist(&path(PLIST));
    verdict.accepts();
    let list: Value = serde_json::from_str(&verdict.said).expect("JSON");
    let files = json!({"NumberOfFiles": 65535, "Core": 0});
    holds(
        &list,
        &[
            ("/Label", json!("shannon")),
            (
                "/ProgramArguments",
                json!(["/opt/shannon/emulator", "serve", "--unisolated"]),
            ),
            ("/UserName", json!("_shannon")),
            ("/KeepAlive", json!(true)),
            ("/RunAtLoad", json!(true)),
            ("/ThrottleInterval", json!(10)),
            ("/ExitTimeOut", json!(120)),
            ("/Umask", json!(0o077)),
            ("/SoftResourceLimits", files.clone()),
            ("/HardResourceLimits", files),
            (
                "/EnvironmentVariables/SHANNON_CONFIG_PATH",
                json!("/etc/shannon/shannon.toml"),
            ),
        ],
    );
    // launchd knows no other keys, and says nothing about those that it does not know.
    let known = [
        "EnvironmentVariables",
        "ExitTimeOut",
        "GroupName",
        "HardResourceLimits",
        "InitGroups",
        "KeepAlive",
        "Label",
        "ProgramArguments",
        "RunAtLoad",
        "SoftResourceLimits",
        "StandardErrorPath",
        "StandardOutPath",
        "ThrottleInterval",
        "Umask",
        "UserName",
        "WorkingDirectory",
    ];
    for name in list.as_object().expect("a dictionary").keys() {
        assert!(known.contains(&name.as_str()), "{name}");
    }
    plist(&Draft::broken(PLIST, "<integer>10</integer>", "<integer>ten</integer>").path)
        .refuses("ValueError");
    plist(&Draft::broken(PLIST, "</dict>", "").path).refuses("Error");
}

fn cloud_init(file: &Path) -> Verdict {
    let mut command = Command::new(installed::manifest_tools().interpreter());
    command
        .env("PYTHONPATH", installed::cloud_init())
        .args(["-m", "cloudinit.cmd.main", "schema", "--config-file"])
        .arg(file);
    run(&mut command)
}

#[test]
fn cloud_init_takes_the_user_data() {
    cloud_init(&path(CLOUD)).accepts();
    cloud_init(&Draft::broken(CLOUD, "permissions: \"0600\"", "permissions: 600").path)
        .refuses("permissions");
    cloud_init(&Draft::broken(CLOUD, "#cloud-config\n", "").path).refuses("cloud-config");
    let data = yaml(CLOUD);
    let files = data["write_files"].as_array().expect("files");
    let content = |path: &str| {
        let file = files.iter().find(|file| file["path"] == path);
        let content = file.and_then(|file| file["content"].as_str());
        content.unwrap_or_else(|| panic!("no {path}")).to_owned()
    };
    let journal = content("/etc/systemd/journald.conf.d/shannon.conf");
    for line in ["SystemMaxFileSize=100M", "SystemMaxFiles=10"] {
        assert!(journal.contains(line), "no {line}");
    }
    // What is fetched is checked before anything of it runs.
    let fetch = content("/usr/local/sbin/shannon-fetch");
    let [fetched, checked, unpacked, run] =
        ["curl ", "sha256sum --check", "tar --extract", "/install\""]
            .map(|word| fetch.find(word).unwrap_or_else(|| panic!("no {word}")));
    assert!(fetched < checked && checked < unpacked && unpacked < run);
    let script = Draft::of("fetch", &fetch);
    run_shellcheck(&script.path).accepts();
}

fn run_shellcheck(file: &Path) -> Verdict {
    let mut command = tool("shellcheck");
    // SC1091: what it reads from /etc is not here.
    run(command.args(["--exclude", "SC1091"]).arg(file))
}

#[test]
fn shellcheck_takes_the_scripts() {
    for file in [
        "infra/self-hosted/install",
        "infra/self-hosted/archive",
        "infra/cloud-run/identity-token",
        "infra/pipelines/coverage",
        "infra/pipelines/deploy",
        "infra/pipelines/notice",
    ] {
        run_shellcheck(&path(file)).accepts();
    }
    let broken = Draft::broken(
        "infra/self-hosted/install",
        "install -m 0755 \"$file\"",
        "install -m 0755 $file",
    );
    run_shellcheck(&broken.path).refuses("SC2086");
}

#[test]
fn the_archive_has_all_that_its_installation_asks_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let binaries = directory.path().join("binaries");
    std::fs::create_dir(&binaries).expect("made");
    let mut programs: Vec<String> = checkout::directories("functions").into_iter().collect();
    programs.push("emulator".to_owned());
    for program in &programs {
        testkit::executable(&binaries.join(program), "#!/bin/sh\n");
    }
    let archive = |name: &str, binaries: &Path| {
        let file = directory.path().join(name);
        let mut command = Command::new(path("infra/self-hosted/archive"));
        command.arg("--binaries").arg(binaries).arg(&file);
        (run(&mut command), file)
    };
    let (verdict, first) = archive("first.tar.gz", &binaries);
    verdict.accepts();
    let (verdict, second) = archive("second.tar.gz", &binaries);
    verdict.accepts();
    let [first, second] = [first, second].map(|file| std::fs::read(file).expect("an archive"));
    assert!(first == second, "the same files make another archive");
    let mut unpacked = tar::Archive::new(flate2::read::GzDecoder::new(&first[..]));
    let names: Vec<String> = unpacked
        .entries()
        .expect("entries")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.path().expect("a name").display().to_string();
            name.trim_start_matches("shannon/").to_owned()
        })
        .collect();
    let install = checkout::read("infra/self-hosted/install");
    let asked = install
        .lines()
        .find_map(|line| line.strip_prefix("for file in emulator "));
    let asked = asked.expect("what it looks for").trim_end_matches("; do");
    for file in asked.split(' ').chain(["emulator", "install", "README.md"]) {
        assert!(
            names.iter().any(|name| name == file),
            "no {file} in {names:?}"
        );
    }
    for function in checkout::directories("functions") {
        assert!(
            names.contains(&format!("functions/{function}")),
            "no {function}"
        );
    }
    std::fs::remove_file(binaries.join("call")).expect("removed");
    archive("third.tar.gz", &binaries).0.refuses("has no call");
}
