//! What happens to a request before it is done: its sender has to be known and permitted, it is
//! counted, and a fault may be in its way.

use s3s::{
    S3Error, S3ErrorCode, S3Request, S3Result,
    access::{S3Access, S3AccessContext},
    auth::Credentials as SignedBy,
    dto::DeleteObjectsInput,
    path::S3Path,
    s3_error,
};

use crate::{
    aws::{
        calls::{Call, Calls},
        faults::{Fault, Faults},
        permissions::{Opener, Permissions, s3_deletion, s3_requests},
    },
    credentials::{BadToken, Credentials, Principal},
    iam::Request,
};

/// Header, or part of a signed address, with the token of a temporary key. Names of headers are the same
/// in every spelling; that of the part of an address is compared with this.
const SECURITY_TOKEN: &str = "X-Amz-Security-Token";

/// Operations that encrypt a new object, and where they say for what it is.
const ENCRYPTING: [&str; 3] = ["PutObject", "CopyObject", "CreateMultipartUpload"];
const ENCRYPTION_CONTEXT: &str = "x-amz-server-side-encryption-context";

/// Whether whoever asks may have an object decrypted.
pub(super) fn may_open(
    opener: Option<&Opener>,
    object: (&str, &str),
    context: Option<&str>,
) -> S3Result<()> {
    // Every request was looked at before it came here.
    let opener = opener.ok_or_else(|| s3_error!(AccessDenied, "Access Denied"))?;
    let opened = opener.may("Decrypt", object, context);
    opened.map_err(|denied| s3_error!(AccessDenied, "{denied}"))
}

/// What the object service knows of the rest of the emulator.
pub(in crate::aws) struct Surroundings {
    pub(in crate::aws) credentials: Credentials,
    pub(in crate::aws) calls: Calls,
    pub(in crate::aws) faults: Faults,
    pub(in crate::aws) permissions: Permissions,
}

/// Looks at each request whose signature is right.
pub(super) struct Observer(pub(super) Surroundings);

/// Whether the sender may list the bucket: without that, a missing object is refused instead of
/// missing, as nobody is to find out what there is. A permission for some prefixes does not count,
/// because reading an object has none.
#[derive(Clone, Copy)]
pub(super) struct MayList(bool);

impl MayList {
    /// Of a request that was let through.
    pub(super) fn of(extensions: &http::Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self(false))
    }

    /// The error that the sender gets to see.
    pub(super) fn shown(self, error: S3Error) -> S3Error {
        if self.0 || *error.code() != S3ErrorCode::NoSuchKey {
            return error;
        }
        s3_error!(AccessDenied, "Access Denied")
    }
}

impl Observer {
    fn sender(
        &self,
        signed_by: Option<&SignedBy>,
        uri: &http::Uri,
        headers: &http::HeaderMap,
    ) -> S3Result<Principal> {
        let query = uri.query().unwrap_or_default();
        let mut query = url::form_urlencoded::parse(query.as_bytes());
        let in_address = query.find(|(name, _)| name == SECURITY_TOKEN);
        let token = match headers.get(SECURITY_TOKEN) {
            Some(token) => token.to_str().ok().map(str::to_owned),
            None => in_address.map(|(_, token)| token.into_owned()),
        };
        let key = signed_by.map_or("", |key| key.access_key.as_str());
        match self.0.credentials.check_token(key, token.as_deref()) {
            Ok(()) => {}
            Err(error @ BadToken::Expired) => return Err(s3_error!(ExpiredToken, "{error}")),
            Err(error @ BadToken::Invalid) => return Err(s3_error!(InvalidToken, "{error}")),
        }
        let known = signed_by.and_then(|key| self.0.credentials.lookup(&key.access_key));
        known
            .map(|(principal, _)| principal)
            .ok_or_else(|| s3_error!(AccessDenied, "Access Denied"))
    }

    fn permitted(&self, sender: &Principal, requests: &[Request]) -> S3Result<()> {
        let checked = self.0.permissions.check(sender, requests);
        checked.map_err(|denied| s3_error!(AccessDenied, "{denied}"))
    }
}

#[async_trait::async_trait]
impl S3Access for Observer {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let sender = self.sender(context.credentials(), context.uri(), context.headers())?;
        let operation = context.s3_op().name();
        self.0.calls.count(Call {
            principal: sender.clone(),
            service: "s3",
            operation,
            content: context.uri().path().as_bytes(),
        });
        let path = context.s3_path();
        let requests = s3_requests(operation, path, context.uri(), context.headers());
        self.permitted(&sender, &requests)?;
        let fault = self.0.faults.take("s3", operation);
        if let S3Path::Object { bucket, key } = path {
            let opener = Opener::new(&self.0.permissions, &sender);
            if ENCRYPTING.contains(&operation) {
                let said = context.headers().get(ENCRYPTION_CONTEXT);
                let said = said.and_then(|value| value.to_str().ok());
                let encrypted = opener.may("GenerateDataKey", (&**bucket, &**key), said);
                encrypted.map_err(|denied| s3_error!(AccessDenied, "{denied}"))?;
            }
            let list = Request::new("s3:ListBucket", format!("arn:aws:s3:::{bucket}"));
            let may_list = MayList(self.0.permissions.permits(&sender, &list));
            context.extensions_mut().insert(may_list);
            context.extensions_mut().insert(opener);
        }
        match fault {
            None => Ok(()),
            Some(Fault::DiskFull) => Err(super::disk_full()),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Error(code)) => Err(injected(&code)),
        }
    }

    /// On AWS each object is refused for itself; here one refusal is one of all.
    async fn delete_objects(&self, request: &mut S3Request<DeleteObjectsInput>) -> S3Result<()> {
        let signed_by = request.credentials.as_ref();
        let sender = self.sender(signed_by, &request.uri, &request.headers)?;
        let input = &request.input;
        let bypass = input.bypass_governance_retention.unwrap_or(false);
        for object in &input.delete.objects {
            let version = object.version_id.is_some();
            let requests = s3_deletion(&input.bucket, &object.key, version, bypass);
            self.permitted(&sender, &requests)?;
        }
        Ok(())
    }
}

fn injected(code: &str) -> S3Error {
    let code = S3ErrorCode::from_bytes(code.as_bytes())
        .unwrap_or_else(|| S3ErrorCode::Custom(code.into()));
    let mut error = S3Error::with_message(code, "injected by a test");
    if error.status_code().is_none() {
        error.set_status_code(http::StatusCode::INTERNAL_SERVER_ERROR);
    }
    error
}
