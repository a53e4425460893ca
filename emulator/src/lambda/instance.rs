//! The life of one instance: a process with its own key, from start to exit.

use std::{os::unix::process::ExitStatusExt, path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Function, Lambda, environment, outcome::FunctionError, phase::Timer};
use crate::{
    credentials::Principal,
    process::{self, LogSink, ProcessSpec},
};

impl Lambda {
    /// Starts an instance that the pool has made room for.
    pub(super) fn launch(&self, function: &Arc<Function>, id: String, over: CancellationToken) {
        self.lock_instances().insert(id.clone(), function.clone());
        let limit = self.0.options.init + function.timeout();
        after(limit, over, {
            let (function, id) = (function.clone(), id.clone());
            move || function.pool().init_timed_out(&id, limit)
        });
        let (lambda, function) = (self.clone(), function.clone());
        self.0.supervisors.spawn(async move {
            let error = lambda.supervise(&function, &id).await;
            function.pool().ended(&id, error);
            lambda.lock_instances().remove(&id);
            // Invocations may wait for the room that it leaves.
            lambda.dispatch(&function);
        });
    }

    pub(super) fn lock_instances(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::HashMap<String, Arc<Function>>> {
        self.0
            .instances
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Runs the process until it is gone and says how that is to be reported.
    async fn supervise(&self, function: &Arc<Function>, id: &str) -> FunctionError {
        let name = &function.resource.name;
        let log = self.0.options.logs.sink(name, &id[..8]);
        let Some(binary) = function.pool().binary() else {
            return cannot_start(&log, "there is no binary for this function");
        };
        // Not taken back when the instance ends: as on AWS, a request it signed (an upload) stays
        // good for its own time.
        let key = self
            .0
            .options
            .credentials
            .issue(Principal::Function(name.clone()));
        let endpoint = self.0.endpoint_url().unwrap_or_else(|| self.url());
        let places = environment::Places {
            runtime_api: &format!("{}/{id}", self.url()),
            endpoint_url: &endpoint,
            binary: &binary,
        };
        let spec = ProcessSpec {
            name: name.clone(),
            environment: environment::of_instance(&function.resource, id, &key, &places),
            program: binary.clone(),
            arguments: Vec::new(),
            directory: binary.parent().map(PathBuf::from),
            log: log.clone(),
        };
        let mut process = match process::spawn(spec).await {
            Ok(process) => process,
            Err(error) => return cannot_start(&log, &error.to_string()),
        };
        function.pool().started(id, process.handle(), log.clone());
        let how = match process.wait().await {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, Some(signal)) => format!("signal {signal}"),
                (None, None) => "an unknown status".to_owned(),
            },
            Err(error) => format!("an unknown status ({error})"),
        };
        log.note(format!("the process ended with {how}"));
        FunctionError::new(
            "Runtime.ExitError",
            &format!("Error: Runtime exited with error: {how}"),
        )
    }

    /// Watches the timeout of an invocation.
    pub(super) fn watch_invocation(&self, function: &Arc<Function>, timer: Timer) {
        let (function, limit) = (function.clone(), function.timeout());
        after(limit, timer.over, move || {
            function
                .pool()
                .timed_out(&timer.instance, &timer.request_id, limit);
        });
    }

    /// Watches how long an instance is idle.
    pub(super) fn watch_idle(&self, function: &Arc<Function>, id: &str, over: CancellationToken) {
        let (function, id) = (function.clone(), id.to_owned());
        after(self.0.options.idle, over, move || function.pool().reap(&id));
    }
}

fn cannot_start(log: &LogSink, reason: &str) -> FunctionError {
    log.note(format!("cannot start: {reason}"));
    FunctionError::new("Runtime.InvalidEntrypoint", reason)
}

/// Does `action` after `limit` unless it is `over` before.
fn after(limit: Duration, over: CancellationToken, action: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(limit) => action(),
            () = over.cancelled() => {}
        }
    });
}
