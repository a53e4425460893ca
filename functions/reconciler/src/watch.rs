//! What is looked at besides sessions, with the sweeps of some minutes.

use boot::Settings;
use store::{Store, Topic};

use crate::{Canary, CanaryError, Event, Updates, backups};

/// The canary, backups, and newer releases.
#[derive(Debug)]
pub struct Watch {
    canary: Canary,
    updates: Updates,
    operators: Topic,
}

impl Watch {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`CanaryError`].
    pub async fn from_settings(settings: &Settings) -> Result<Self, CanaryError> {
        let topic = settings.text("SHANNON_OPERATOR_TOPIC")?;
        Ok(Self {
            canary: Canary::from_settings(settings)?,
            updates: Updates::from_settings(settings)?,
            operators: Box::pin(Topic::connect(topic)).await,
        })
    }

    /// Looks at what is due with this event. Cut anywhere, the next interval looks again.
    pub async fn look(&self, store: &Store, event: &Event) {
        self.canary.look_if_due(event).await;
        Box::pin(backups::look_if_due(&self.canary, store, event)).await;
        let updates = &self.updates;
        Box::pin(updates.ask_if_due(store, &self.operators, event)).await;
    }
}
