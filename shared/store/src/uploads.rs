//! Uploads: a row that says what was signed, and an object that the client sends itself.

use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use domain::{
    OwnerId, UnixMillis, UploadId,
    ports::{Unavailable, Uploads},
    upload::{SignedRequest, Upload},
};

use crate::{
    DAY_MILLISECONDS, Store,
    failure::{self, Kind},
    item::{Row, UnreadableRow, expiry, number},
    keys::{EXPIRES_AT, Record},
    objects::upload_object,
    system,
    table::NotWritten,
    write::Write,
};

const BYTES: &str = "bytes";
const SIGNED_UNTIL: &str = "signed_until";
/// How long an upload can be referred to after it could last be sent.
const USABLE_MILLISECONDS: u64 = DAY_MILLISECONDS;

impl Uploads for Store {
    async fn sign(&self, upload: &Upload) -> Result<SignedRequest, Unavailable> {
        const ATTEMPTED: &str = "sign the upload";
        let row = Row::at(&Record::Upload(&upload.owner, &upload.id).key())
            .with(BYTES, number(upload.bytes))
            .with(SIGNED_UNTIL, number(upload.expires_at.0))
            .with(
                EXPIRES_AT,
                expiry(upload.expires_at.plus(USABLE_MILLISECONDS)),
            );
        match self.table.write(ATTEMPTED, Write::put_new(row)).await {
            // Refused: this very call happened before, ids are random. Signing again is harmless.
            Ok(()) | Err(NotWritten::Refused(_)) => {}
            Err(NotWritten::Unavailable(unavailable)) => return Err(unavailable),
        }
        let valid = Duration::from_millis(upload.expires_at.since(system::now()).max(1000));
        let signing =
            PresigningConfig::expires_in(valid).map_err(|error| failure::own(ATTEMPTED, error))?;
        let length = i64::try_from(upload.bytes).map_err(|error| failure::own(ATTEMPTED, error))?;
        let request = self
            .s3
            .put_object()
            .bucket(&self.bucket)
            .key(upload_object(&upload.owner, &upload.id))
            .content_length(length)
            .presigned(signing)
            .await
            .map_err(|error| failure::aws(ATTEMPTED, Kind::Read, error))?;
        Ok(SignedRequest {
            method: request.method().to_owned(),
            url: self.for_clients(request.uri()),
            headers: request
                .headers()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    async fn upload(
        &self,
        owner: &OwnerId,
        id: &UploadId,
    ) -> Result<Option<(Upload, bool)>, Unavailable> {
        const ATTEMPTED: &str = "look for the upload";
        let Some(row) = self
            .table
            .get(ATTEMPTED, &Record::Upload(owner, id).key())
            .await?
        else {
            return Ok(None);
        };
        let read = || {
            if row.expired(system::now())? {
                return Ok(None);
            }
            Ok(Some(Upload {
                id: id.clone(),
                owner: owner.clone(),
                bytes: row.number(BYTES)?,
                expires_at: UnixMillis(row.number(SIGNED_UNTIL)?),
            }))
        };
        let upload = read().map_err(|error: UnreadableRow| failure::own(ATTEMPTED, error))?;
        let Some(upload) = upload else {
            return Ok(None);
        };
        let arrived = match Box::pin(
            self.s3
                .head_object()
                .bucket(&self.bucket)
                .key(upload_object(owner, id))
                .send(),
        )
        .await
        {
            Ok(object) => object.content_length() == i64::try_from(upload.bytes).ok(),
            Err(error) if error.as_service_error().is_some_and(|it| it.is_not_found()) => false,
            Err(error) => return Err(failure::aws(ATTEMPTED, Kind::Read, error)),
        };
        Ok(Some((upload, arrived)))
    }
}
