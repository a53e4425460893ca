//! Uploads and compute, in memory.

use domain::{
    FencingToken, OwnerId, SessionKey, UploadId,
    ports::{Compute, Unavailable, Uploads},
    upload::{SignedRequest, Upload},
};

use super::{Fake, world::StartedTask};

impl Uploads for Fake {
    async fn sign(&self, upload: &Upload) -> Result<SignedRequest, Unavailable> {
        self.call("sign", |world| {
            let key = (upload.owner.clone(), upload.id.clone());
            world
                .uploads
                .entry(key)
                .or_insert_with(|| (upload.clone(), false));
            Ok(SignedRequest {
                method: "PUT".to_owned(),
                url: format!("http://127.0.0.1/{}/uploads/{}", upload.owner, upload.id),
                headers: vec![("content-length".to_owned(), upload.bytes.to_string())],
            })
        })
        .await
    }

    async fn upload(
        &self,
        owner: &OwnerId,
        id: &UploadId,
    ) -> Result<Option<(Upload, bool)>, Unavailable> {
        self.call("upload", |world| {
            Ok(world.uploads.get(&(owner.clone(), id.clone())).cloned())
        })
        .await
    }
}

impl Compute for Fake {
    async fn start_runner(
        &self,
        key: &SessionKey,
        fence: FencingToken,
    ) -> Result<String, Unavailable> {
        self.call("start_runner", |world| {
            if let Some(task) = world
                .tasks
                .iter()
                .find(|task| task.key == *key && task.fence == fence)
            {
                return Ok(task.name.clone());
            }
            let name = format!("task-{}", world.tasks.len() + 1);
            world.tasks.push(StartedTask {
                name: name.clone(),
                key: key.clone(),
                fence,
                stopped: None,
            });
            Ok(name)
        })
        .await
    }

    async fn stop_runner(&self, task: &str, reason: &str) -> Result<(), Unavailable> {
        self.call("stop_runner", |world| {
            if let Some(task) = world.tasks.iter_mut().find(|it| it.name == task) {
                task.stopped.get_or_insert_with(|| reason.to_owned());
            }
            Ok(())
        })
        .await
    }
}
