//! What the tests of Lambda and of the gateway share: the test function's binary and
//! gates that hold an invocation until the test lets it go.

use std::{
    collections::BTreeMap, os::unix::fs::PermissionsExt, path::PathBuf, sync::LazyLock,
    time::Duration,
};

use emulator::{
    credentials::Credentials,
    lambda::{Lambda, LambdaOptions},
    process::{Logs, set_wrapper},
    template::FunctionResource,
};
use tokio::net::{TcpListener, TcpStream};

/// The function's binary: this test's own, told to be the function (`function::process`).
pub(crate) fn binary() -> PathBuf {
    static BOOTSTRAP: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let directory = tempfile::tempdir().unwrap();
        let test = std::env::current_exe().unwrap();
        let script = format!(
            "#!/bin/sh\nexec '{}' --exact function::process --nocapture\n",
            test.display()
        );
        let bootstrap = directory.path().join("bootstrap");
        std::fs::write(&bootstrap, script).unwrap();
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&bootstrap, executable).unwrap();
        directory
    });
    BOOTSTRAP.path().join("bootstrap")
}

/// A function of the template.
pub(crate) fn function(name: &str, kind: &str) -> FunctionResource {
    FunctionResource {
        alias: None,
        log_group: format!("/aws/lambda/test-{name}"),
        name: name.into(),
        logical_id: format!("{name}Function"),
        function_name: format!("test-{name}"),
        timeout_seconds: 30.0,
        memory_mib: 256,
        environment: BTreeMap::from([("ECHO_KIND".into(), kind.into())]),
        role: format!("arn:aws:iam::000000000000:role/{name}"),
        reserved_concurrency: None,
    }
}

/// Options under which every function is the test function.
pub(crate) fn options(functions: Vec<FunctionResource>) -> LambdaOptions {
    set_wrapper(env!("CARGO_BIN_EXE_emulator"));
    let binaries = functions.iter().map(|one| (one.name.clone(), binary()));
    let binaries = binaries.collect();
    let logs = Logs::new(None).unwrap();
    LambdaOptions::new(functions, binaries, Credentials::default(), logs)
}

/// Lambda with these functions.
pub(crate) async fn start(functions: Vec<FunctionResource>) -> Lambda {
    Lambda::start(options(functions)).await.unwrap()
}

/// An HTTP client. Other members of the workspace make reqwest ask for a TLS provider, even where
/// it is not used.
pub(crate) fn client() -> reqwest::Client {
    // An error says that it is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::new()
}

/// Something a function can be told to wait at.
pub(crate) struct Gate(TcpListener);

impl Gate {
    /// A gate nobody waits at yet.
    pub(crate) async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// What the function is told.
    pub(crate) fn address(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    /// Waits until a function has arrived. Dropping what this gives lets it go on.
    pub(crate) async fn arrival(&self) -> TcpStream {
        let arrival = tokio::time::timeout(Duration::from_secs(30), self.0.accept());
        arrival.await.expect("a function arrives").unwrap().0
    }
}

/// Waits for what other processes do.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}
