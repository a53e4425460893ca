//! Large objects of a session on their way out: written piece by piece, so that whatever writes one
//! needs little memory, and fetched by a client through a signed address.

use std::fmt::Write as _;
use std::time::Duration;

use aws_sdk_s3::{
    presigning::PresigningConfig,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart, ServerSideEncryption},
};
use domain::{SessionKey, TreeKey, ports::Unavailable};
use sha2::{Digest, Sha256};

use crate::{
    Store,
    failure::{self, Kind},
    objects::session_object,
    tree_objects::encryption_context,
};

const ATTEMPTED: &str = "write an export";

/// Least bytes of every piece but the last
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub const LEAST_PIECE_BYTES: usize = 5 * 1024 * 1024;

/// An object that is being written. Nothing of it is visible before [`ObjectWriter::finish`]; what
/// was written of one that is dropped before goes with the bucket's rule for unfinished uploads,
/// after a day.
pub struct ObjectWriter<'store> {
    store: &'store Store,
    tree: TreeKey,
    object: String,
    /// Its name in S3, once there is more than one piece.
    upload: Option<String>,
    parts: Vec<CompletedPart>,
    digest: Sha256,
    bytes: u64,
}

/// An object that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenObject {
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Store {
    /// Begins an object of a session; once it is finished it replaces one of that name.
    #[must_use]
    pub fn write_session_object(
        &self,
        tree: &TreeKey,
        key: &SessionKey,
        name: &str,
    ) -> ObjectWriter<'_> {
        ObjectWriter {
            store: self,
            tree: tree.clone(),
            object: session_object(tree, key, name),
            upload: None,
            parts: Vec::new(),
            digest: Sha256::new(),
            bytes: 0,
        }
    }

    /// An address from which anybody who has it can fetch an object of a session for this long; it
    /// is shorter where our own credentials end before. `file_name` is what a browser calls it, ours
    /// and never a client's.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn sign_session_object(
        &self,
        tree: &TreeKey,
        key: &SessionKey,
        name: &str,
        file_name: &str,
        valid: Duration,
    ) -> Result<String, Unavailable> {
        const ATTEMPTED: &str = "sign an address";
        let signing =
            PresigningConfig::expires_in(valid).map_err(|error| failure::own(ATTEMPTED, error))?;
        let request = self
            .s3
            .get_object()
            .bucket(&self.bucket)
            .key(session_object(tree, key, name))
            .response_content_disposition(format!("attachment; filename=\"{file_name}\""))
            .presigned(signing)
            .await
            .map_err(|error| failure::aws(ATTEMPTED, Kind::Read, error))?;
        Ok(self.for_clients(request.uri()))
    }
}

impl ObjectWriter<'_> {
    /// Writes a piece of at least [`LEAST_PIECE_BYTES`], behind those before. After an error the
    /// object has to be begun anew.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn piece(&mut self, bytes: Vec<u8>) -> Result<(), Unavailable> {
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => {
                let begun = Box::pin(
                    self.store
                        .s3
                        .create_multipart_upload()
                        .bucket(&self.store.bucket)
                        .key(&self.object)
                        .server_side_encryption(ServerSideEncryption::AwsKms)
                        .ssekms_encryption_context(encryption_context(&self.tree))
                        .send(),
                )
                .await
                .map_err(|error| failure::aws(ATTEMPTED, Kind::Write, error))?;
                let upload = begun
                    .upload_id()
                    .ok_or_else(|| failure::own(ATTEMPTED, "the upload has no name"))?;
                self.upload.insert(upload.to_owned()).clone()
            }
        };
        self.part(&upload, bytes).await
    }

    /// Writes the last piece, of any size, and makes the object visible.
    ///
    /// # Errors
    /// [`Unavailable`]; where the outcome is unknown it may be there all the same.
    pub async fn finish(mut self, last: Vec<u8>) -> Result<WrittenObject, Unavailable> {
        match self.upload.take() {
            None => {
                self.count(&last);
                self.store.put(&self.tree, &self.object, last).await?;
            }
            Some(upload) => {
                if !last.is_empty() {
                    self.part(&upload, last).await?;
                }
                let parts = CompletedMultipartUpload::builder()
                    .set_parts(Some(std::mem::take(&mut self.parts)))
                    .build();
                Box::pin(
                    self.store
                        .s3
                        .complete_multipart_upload()
                        .bucket(&self.store.bucket)
                        .key(&self.object)
                        .upload_id(upload)
                        .multipart_upload(parts)
                        .send(),
                )
                .await
                .map_err(|error| failure::aws(ATTEMPTED, Kind::Write, error))?;
            }
        }
        let mut sha256 = String::new();
        for byte in self.digest.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        Ok(WrittenObject {
            bytes: self.bytes,
            sha256,
        })
    }

    async fn part(&mut self, upload: &str, bytes: Vec<u8>) -> Result<(), Unavailable> {
        self.count(&bytes);
        let number = i32::try_from(self.parts.len() + 1);
        let number = number.map_err(|error| failure::own(ATTEMPTED, error))?;
        let written = Box::pin(
            self.store
                .s3
                .upload_part()
                .bucket(&self.store.bucket)
                .key(&self.object)
                .upload_id(upload)
                .part_number(number)
                .body(ByteStream::from(bytes))
                .send(),
        )
        .await
        .map_err(|error| failure::aws(ATTEMPTED, Kind::Write, error))?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(written.e_tag().map(ToOwned::to_owned));
        self.parts.push(part.build());
        Ok(())
    }

    fn count(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}
