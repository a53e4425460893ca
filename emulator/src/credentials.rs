//! Who makes an AWS call: every function and every task gets an access key of its own, so each call
//! that reaches the emulated services can be attributed, and one made without a key we issued is
//! refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The part of the stack a key was issued to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Principal {
    /// A Lambda function, by its directory name (`model-gateway`).
    Function(String),
    /// An ECS task. `started_by` is what the caller of RunTask passed, the session in our stack.
    Task {
        /// Last part of the task ARN.
        id: String,
        /// `startedBy` of the RunTask call.
        started_by: String,
        /// ARN of its task role; empty when it has none.
        role: String,
    },
    /// A person at the machine: boto3, the AWS CLI, a test.
    Operator,
}

/// What an AWS SDK signs with.
#[derive(Clone)]
pub struct AccessKey {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: String,
}

/// All keys of one running emulator. Cheap to clone; never written to disk.
#[derive(Clone, Default)]
pub struct Credentials(Arc<Mutex<HashMap<String, (Principal, String)>>>);

impl Credentials {
    /// Makes a key for `principal`. Issuing twice gives two keys that both work until revoked.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    #[must_use]
    pub fn issue(&self, principal: Principal) -> AccessKey {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let letters = |count: usize| -> String {
            let mut bytes = vec![0_u8; count];
            getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
            bytes
                .into_iter()
                .map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]))
                .collect()
        };
        let key = AccessKey {
            id: format!("AKIA{}", letters(16)),
            secret: letters(40),
        };
        self.lock()
            .insert(key.id.clone(), (principal, key.secret.clone()));
        key
    }

    /// The holder and the secret of a key, or `None` when we never issued it or took it back.
    #[must_use]
    pub fn lookup(&self, access_key_id: &str) -> Option<(Principal, String)> {
        self.lock().get(access_key_id).cloned()
    }

    /// Takes a key back: an instance or a task that ended cannot call any more.
    pub fn revoke(&self, access_key_id: &str) {
        self.lock().remove(access_key_id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Principal, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
