//! The newest release, in memory, and who was told.

use domain::{
    ports::{Operators, Releases, Unavailable},
    release::Release,
};

use super::Fake;

impl Fake {
    /// What operators were told: subject and text.
    #[must_use]
    pub fn peek_told(&self) -> Vec<(String, String)> {
        self.lock().world.told.clone()
    }
}

impl Releases for Fake {
    async fn release(&self) -> Result<Option<Release>, Unavailable> {
        self.call("release", |world| Ok(world.release)).await
    }

    async fn keep_release(&self, release: &Release) -> Result<(), Unavailable> {
        self.call("keep_release", |world| {
            let later = world
                .release
                .is_none_or(|kept| kept.seen_at <= release.seen_at);
            if later {
                world.release = Some(*release);
            }
            Ok(())
        })
        .await
    }
}

impl Operators for Fake {
    async fn tell(&self, subject: &str, text: &str) -> Result<(), Unavailable> {
        self.call("tell", |world| {
            world.told.push((subject.to_owned(), text.to_owned()));
            Ok(())
        })
        .await
    }
}
