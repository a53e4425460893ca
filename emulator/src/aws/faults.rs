//! Failures on demand, for tests: throttling, a full disk, or a write that stops between its bytes and
//! its metadata. Available only when the emulator was started with test hooks.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// A fault that a test asks for; it applies to the next `count` matching calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// `dynamodb`, `s3`, `ecs`, `sns`, `sts` or `ssm`.
    pub service: String,
    /// Name of the API operation, `*` for any.
    pub operation: String,
    /// An error code of the service (`ThrottlingException`, `SlowDown`), `DiskFull`, `Hang` (no
    /// answer at all), or `HoldBeforeCommit` (S3 writes: never go on after the bytes are in place).
    pub error: String,
    /// How often.
    pub count: u32,
}

/// What a call meets instead of being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An error of the service, by its code.
    Error(String),
    /// The emulator cannot write its state.
    DiskFull,
    /// It gets no answer.
    Hang,
}

const HANG: &str = "Hang";
const HOLD: &str = "HoldBeforeCommit";
const DISK_FULL: &str = "DiskFull";

/// The planned faults of one emulator. Cheap to clone.
#[derive(Clone)]
pub(super) struct Faults(Option<Arc<Mutex<Vec<PlannedFault>>>>);

impl Faults {
    pub(super) fn new(enabled: bool) -> Self {
        Self(enabled.then(Arc::default))
    }

    pub(super) fn enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a fault behind those that are planned. Ignored without test hooks.
    pub(super) fn plan(&self, fault: PlannedFault) {
        if let Some(planned) = &self.0 {
            planned
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(fault);
        }
    }

    /// The fault that this call meets, used up by it.
    pub(super) fn take(&self, service: &str, operation: &str) -> Option<Fault> {
        self.next(service, operation, |error| error != HOLD)
            .map(|error| match error.as_str() {
                DISK_FULL => Fault::DiskFull,
                HANG => Fault::Hang,
                _ => Fault::Error(error),
            })
    }

    /// Waits for ever if a test asked for it: the process is then killed in the middle of a write.
    pub(super) async fn hold(&self, service: &str, operation: &str) {
        if self
            .next(service, operation, |error| error == HOLD)
            .is_some()
        {
            std::future::pending::<()>().await;
        }
    }

    fn next(&self, service: &str, operation: &str, kind: impl Fn(&str) -> bool) -> Option<String> {
        let mut planned = self
            .0
            .as_ref()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let found = planned.iter_mut().find(|fault| {
            fault.count > 0
                && fault.service == service
                && (fault.operation == operation || fault.operation == "*")
                && kind(&fault.error)
        })?;
        found.count -= 1;
        let error = found.error.clone();
        planned.retain(|fault| fault.count > 0);
        Some(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(operation: &str, error: &str, count: u32) -> PlannedFault {
        PlannedFault {
            service: "dynamodb".to_owned(),
            operation: operation.to_owned(),
            error: error.to_owned(),
            count,
        }
    }

    #[test]
    fn a_fault_meets_as_many_matching_calls_as_asked() {
        let faults = Faults::new(true);
        faults.plan(fault("PutItem", "ThrottlingException", 2));
        faults.plan(fault("*", DISK_FULL, 1));
        let throttled = Some(Fault::Error("ThrottlingException".to_owned()));
        assert_eq!(faults.take("dynamodb", "PutItem"), throttled);
        assert_eq!(faults.take("s3", "PutObject"), None);
        assert_eq!(faults.take("dynamodb", "GetItem"), Some(Fault::DiskFull));
        assert_eq!(faults.take("dynamodb", "PutItem"), throttled);
        assert_eq!(faults.take("dynamodb", "PutItem"), None);
    }

    #[test]
    fn without_hooks_nothing_is_planned() {
        let faults = Faults::new(false);
        faults.plan(fault("*", "ThrottlingException", 1));
        assert_eq!(faults.take("dynamodb", "PutItem"), None);
    }
}
