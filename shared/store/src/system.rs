//! The machine's clock and randomness, so that one value has every port that a use case needs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::{
    UnixMillis,
    ports::{Clock, IdSource},
};

use crate::Store;

/// This machine's time.
pub(crate) fn now() -> UnixMillis {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

/// Clock and randomness for who has no [`Store`] yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Clock for Store {
    fn now(&self) -> UnixMillis {
        now()
    }

    async fn sleep(&self, milliseconds: u64) {
        System.sleep(milliseconds).await;
    }
}

impl IdSource for Store {
    fn random(&self) -> [u8; 17] {
        System.random()
    }
}

impl Clock for System {
    fn now(&self) -> UnixMillis {
        now()
    }

    async fn sleep(&self, milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

impl IdSource for System {
    /// # Panics
    /// When the operating system gives no randomness: an id that can be guessed would be worse.
    fn random(&self) -> [u8; 17] {
        let mut bytes = [0; 17];
        match getrandom::fill(&mut bytes) {
            Ok(()) => bytes,
            Err(error) => panic!("the operating system gives no randomness: {error}"),
        }
    }
}
