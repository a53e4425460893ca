//! Who makes an AWS call: every function and every task gets an access key of its own, so each call
//! that reaches the emulated services can be attributed, and one made without a key we issued is
//! refused.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
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
    /// Somebody who took on a role with AssumeRole.
    Session {
        /// ARN of the role.
        role: String,
        /// Name that the session was given.
        name: String,
        /// Its tags.
        tags: BTreeMap<String, String>,
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

/// A key that is good for a while, and only together with its token.
#[derive(Clone)]
pub struct TemporaryKey {
    /// Id and secret.
    pub key: AccessKey,
    /// `AWS_SESSION_TOKEN`.
    pub token: String,
    /// When it ends.
    pub expires_at: SystemTime,
}

/// Why a key is not taken although its signature is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// The token that belongs to the key was not sent, or another one.
    #[error("The security token included in the request is invalid.")]
    Invalid,
    /// Its time is over.
    #[error("The security token included in the request is expired")]
    Expired,
}

/// What is known of a key.
struct Holder {
    principal: Principal,
    secret: String,
    temporary: Option<(String, SystemTime)>,
}

/// All keys of one running emulator. Cheap to clone; never written to disk.
#[derive(Clone, Default)]
pub struct Credentials(Arc<Mutex<HashMap<String, Holder>>>);

/// Random letters and digits.
fn letters(count: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = vec![0_u8; count];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
        .into_iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]))
        .collect()
}

impl Credentials {
    /// Makes a key for `principal`. Issuing twice gives two keys that both work until revoked.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    #[must_use]
    pub fn issue(&self, principal: Principal) -> AccessKey {
        let key = AccessKey {
            id: format!("AKIA{}", letters(16)),
            secret: letters(40),
        };
        self.keep(&key, principal, None);
        key
    }

    /// Makes a key that ends by itself.
    ///
    /// # Panics
    /// When the operating system has no randomness.
    #[must_use]
    pub fn issue_for(&self, principal: Principal, lifetime: Duration) -> TemporaryKey {
        let temporary = TemporaryKey {
            key: AccessKey {
                id: format!("ASIA{}", letters(16)),
                secret: letters(40),
            },
            token: letters(80),
            expires_at: SystemTime::now() + lifetime,
        };
        let ends = (temporary.token.clone(), temporary.expires_at);
        self.keep(&temporary.key, principal, Some(ends));
        temporary
    }

    fn keep(&self, key: &AccessKey, principal: Principal, temporary: Option<(String, SystemTime)>) {
        let holder = Holder {
            principal,
            secret: key.secret.clone(),
            temporary,
        };
        self.lock().insert(key.id.clone(), holder);
    }

    /// The holder and the secret of a key, or `None` when we never issued it or took it back.
    #[must_use]
    pub fn lookup(&self, access_key_id: &str) -> Option<(Principal, String)> {
        let keys = self.lock();
        let holder = keys.get(access_key_id)?;
        Some((holder.principal.clone(), holder.secret.clone()))
    }

    /// Whether a key came with what belongs to it, and its time is not over.
    ///
    /// # Errors
    /// See [`BadToken`]; the request must be refused.
    pub fn check_token(&self, access_key_id: &str, token: Option<&str>) -> Result<(), BadToken> {
        let keys = self.lock();
        let temporary = keys.get(access_key_id).and_then(|it| it.temporary.as_ref());
        match (temporary, token) {
            (None, None) => Ok(()),
            (Some((wanted, until)), Some(given)) if wanted == given => {
                if *until <= SystemTime::now() {
                    return Err(BadToken::Expired);
                }
                Ok(())
            }
            _ => Err(BadToken::Invalid),
        }
    }

    /// Takes a key back: an instance or a task that ended cannot call any more.
    pub fn revoke(&self, access_key_id: &str) {
        self.lock().remove(access_key_id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Holder>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
