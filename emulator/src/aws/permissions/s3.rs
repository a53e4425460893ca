//! S3 calls as IAM sees them. Facts: S3 User Guide, "Required permissions for Amazon S3 API operations".

use http::{HeaderMap, Uri};
use s3s::path::S3Path;

use crate::iam::Request;

fn bucket_arn(bucket: &str) -> String {
    format!("arn:aws:s3:::{bucket}")
}

fn object_arn(bucket: &str, key: &str) -> String {
    format!("arn:aws:s3:::{bucket}/{key}")
}

fn query(uri: &Uri, name: &str) -> Option<String> {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let mut values = pairs.filter(|(key, _)| key == name);
    values.next().map(|(_, value)| value.into_owned())
}

fn header<'headers>(headers: &'headers HeaderMap, name: &str) -> Option<&'headers str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What a call asks for, but for what only its body says (see [`deletion`]).
pub(in crate::aws) fn requests(
    operation: &str,
    path: &S3Path,
    uri: &Uri,
    headers: &HeaderMap,
) -> Vec<Request> {
    match path {
        S3Path::Root => vec![Request::new("s3:ListAllMyBuckets", "*")],
        S3Path::Bucket { bucket } => on_bucket(operation, bucket, uri),
        S3Path::Object { bucket, key } => {
            let version = query(uri, "versionId").is_some();
            let mut requests = on_object(operation, &object_arn(bucket, key), version, headers);
            if let Some(source) = header(headers, "x-amz-copy-source") {
                requests.push(copied(source));
            }
            requests
        }
    }
}

fn on_bucket(operation: &str, bucket: &str, uri: &Uri) -> Vec<Request> {
    let action = match operation {
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => "ListBucket",
        "ListObjectVersions" => "ListBucketVersions",
        "ListMultipartUploads" => "ListBucketMultipartUploads",
        // Each object of it is asked for by itself.
        "DeleteObjects" => return Vec::new(),
        other => other,
    };
    let request = Request::new(&format!("s3:{action}"), bucket_arn(bucket));
    vec![request.with("s3:prefix", query(uri, "prefix"))]
}

fn on_object(operation: &str, arn: &str, version: bool, headers: &HeaderMap) -> Vec<Request> {
    let request = |action: &str| Request::new(&format!("s3:{action}"), arn);
    let versioned = |action: &str| match version {
        true => request(&format!("{action}Version")),
        false => request(action),
    };
    match operation {
        "GetObject" | "HeadObject" => vec![versioned("GetObject")],
        "DeleteObject" => {
            let mut requests = vec![versioned("DeleteObject")];
            if header(headers, "x-amz-bypass-governance-retention") == Some("true") {
                requests.push(request("BypassGovernanceRetention"));
            }
            requests
        }
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => {
            let mut requests = vec![request("PutObject")];
            for (name, action) in [
                ("x-amz-object-lock-mode", "PutObjectRetention"),
                ("x-amz-object-lock-legal-hold", "PutObjectLegalHold"),
                ("x-amz-tagging", "PutObjectTagging"),
                ("x-amz-acl", "PutObjectAcl"),
            ] {
                if headers.contains_key(name) {
                    requests.push(request(action));
                }
            }
            requests
        }
        "ListParts" => vec![request("ListMultipartUploadParts")],
        "GetObjectTagging" | "PutObjectTagging" | "DeleteObjectTagging" => {
            let action = operation.trim_end_matches("Tagging");
            let of = if version { "VersionTagging" } else { "Tagging" };
            vec![request(&format!("{action}{of}"))]
        }
        other => vec![request(other)],
    }
}

/// Reading what a copy is made of: `/bucket/key?versionId=..`, in the spelling of an address.
fn copied(source: &str) -> Request {
    let (path, version) = match source.split_once("?versionId=") {
        Some((path, _)) => (path, true),
        None => (source, false),
    };
    let path = percent_encoding::percent_decode_str(path.trim_start_matches('/'));
    let action = if version {
        "s3:GetObjectVersion"
    } else {
        "s3:GetObject"
    };
    Request::new(action, format!("arn:aws:s3:::{}", path.decode_utf8_lossy()))
}

/// Deleting one of the objects that a DeleteObjects names.
pub(in crate::aws) fn deletion(
    bucket: &str,
    key: &str,
    version: bool,
    bypass: bool,
) -> Vec<Request> {
    let mut headers = HeaderMap::new();
    if bypass {
        let value = http::HeaderValue::from_static("true");
        headers.insert("x-amz-bypass-governance-retention", value);
    }
    on_object("DeleteObject", &object_arn(bucket, key), version, &headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(
        operation: &str,
        path: &S3Path,
        query: &str,
        headers: &[(&'static str, &'static str)],
    ) -> String {
        let uri: Uri = format!("/x?{query}").parse().expect("an address");
        let headers = headers.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                http::HeaderValue::from_static(value),
            )
        });
        let requests = requests(operation, path, &uri, &headers.collect());
        let line = |request: &Request| {
            let resource = request.resource.trim_start_matches("arn:aws:s3:::");
            let context = serde_json::to_value(&request.context).expect("plain data");
            match context["s3:prefix"][0].as_str() {
                Some(prefix) => format!("{} {resource} {prefix:?}", request.action),
                None => format!("{} {resource}", request.action),
            }
        };
        requests.iter().map(line).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_call_is_seen_with_what_it_needs() {
        let bucket = S3Path::bucket("b");
        let object = S3Path::object("b", "a/k");
        let lock = [("x-amz-object-lock-mode", "GOVERNANCE")];
        let bypass = [("x-amz-bypass-governance-retention", "true")];
        let copy = [("x-amz-copy-source", "/c/x%20y?versionId=1")];
        for (operation, path, query, headers, expected) in [
            (
                "ListBuckets",
                &S3Path::Root,
                "",
                &[][..],
                "s3:ListAllMyBuckets *",
            ),
            ("GetObject", &object, "", &[], "s3:GetObject b/a/k"),
            ("HeadObject", &object, "", &[], "s3:GetObject b/a/k"),
            (
                "GetObject",
                &object,
                "versionId=1",
                &[],
                "s3:GetObjectVersion b/a/k",
            ),
            (
                "PutObject",
                &object,
                "x-id=PutObject",
                &[],
                "s3:PutObject b/a/k",
            ),
            (
                "PutObject",
                &object,
                "",
                &lock,
                "s3:PutObject b/a/k, s3:PutObjectRetention b/a/k",
            ),
            (
                "UploadPart",
                &object,
                "partNumber=1",
                &[],
                "s3:PutObject b/a/k",
            ),
            (
                "CompleteMultipartUpload",
                &object,
                "uploadId=1",
                &[],
                "s3:PutObject b/a/k",
            ),
            (
                "AbortMultipartUpload",
                &object,
                "uploadId=1",
                &[],
                "s3:AbortMultipartUpload b/a/k",
            ),
            (
                "CopyObject",
                &object,
                "",
                &copy,
                "s3:PutObject b/a/k, s3:GetObjectVersion c/x y",
            ),
            ("DeleteObject", &object, "", &[], "s3:DeleteObject b/a/k"),
            (
                "DeleteObject",
                &object,
                "versionId=1",
                &bypass,
                "s3:DeleteObjectVersion b/a/k, s3:BypassGovernanceRetention b/a/k",
            ),
            (
                "GetObjectTagging",
                &object,
                "versionId=1",
                &[],
                "s3:GetObjectVersionTagging b/a/k",
            ),
            (
                "ListObjectsV2",
                &bucket,
                "prefix=a%2F",
                &[],
                "s3:ListBucket b \"a/\"",
            ),
            (
                "ListObjectsV2",
                &bucket,
                "prefix=",
                &[],
                "s3:ListBucket b \"\"",
            ),
            (
                "ListObjectVersions",
                &bucket,
                "versions",
                &[],
                "s3:ListBucketVersions b",
            ),
            (
                "PutBucketVersioning",
                &bucket,
                "versioning",
                &[],
                "s3:PutBucketVersioning b",
            ),
            ("DeleteObjects", &bucket, "delete", &[], ""),
        ] {
            assert_eq!(
                seen(operation, path, query, headers),
                expected,
                "{operation} {query}"
            );
        }
        let deletion = deletion("b", "k", true, true);
        let actions: Vec<_> = deletion.iter().map(|one| one.action.as_str()).collect();
        assert_eq!(
            actions,
            ["s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"]
        );
    }
}
