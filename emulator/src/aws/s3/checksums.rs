//! Checksums of uploads: what the client claims (in headers, or in trailers after the body, as the SDKs
//! do by default) is compared with what arrived.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderMap;
use s3s::{
    S3Request, S3Result, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256},
    s3_error,
};

use super::{files::StoredFile, properties::Checksums};

const PREFIX: &str = "x-amz-checksum-";

/// What a client says about the bytes it sends.
pub(super) struct Claims {
    headers: HeaderMap,
    trailers: Option<TrailingHeaders>,
    content_md5: Option<String>,
}

impl Claims {
    pub(super) fn of<T>(request: &S3Request<T>) -> Self {
        Self {
            headers: request.headers.clone(),
            trailers: request.trailing_headers.clone(),
            content_md5: request
                .headers
                .get("content-md5")
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
        }
    }

    /// Whether the client says what its bytes are.
    pub(super) fn any(&self) -> bool {
        self.content_md5.is_some() || !self.algorithms().is_empty()
    }

    /// A hasher for each algorithm that the client names; CRC64NVME, as S3 does, when it names none.
    pub(super) fn hasher(&self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        let mut any = false;
        for algorithm in self.algorithms() {
            any |= enable(&mut hasher, &algorithm);
        }
        if !any {
            hasher.crc64nvme = Some(Crc64Nvme::new());
        }
        hasher
    }

    fn algorithms(&self) -> Vec<String> {
        let text = |name: &str| {
            self.headers
                .get_all(name)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .map(|value| value.trim().to_ascii_lowercase())
                .collect::<Vec<_>>()
        };
        let mut names = text("x-amz-sdk-checksum-algorithm");
        names.extend(text("x-amz-trailer"));
        names.extend(self.headers.keys().map(|name| name.as_str().to_owned()));
        names
            .into_iter()
            .map(|name| name.strip_prefix(PREFIX).unwrap_or(&name).to_owned())
            .collect()
    }

    /// Compares every claim with the bytes that arrived.
    ///
    /// # Errors
    /// `BadDigest` names the algorithm that differs; `InvalidDigest` a Content-MD5 that is none.
    pub(super) fn verify(&self, file: &StoredFile) -> S3Result<Checksums> {
        if let Some(claim) = &self.content_md5 {
            let claimed = STANDARD
                .decode(claim)
                .ok()
                .filter(|bytes| bytes.len() == 16)
                .ok_or_else(|| {
                    s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid.")
                })?;
            if claimed != file.md5 {
                return Err(s3_error!(
                    BadDigest,
                    "The Content-MD5 you specified did not match what we received."
                ));
            }
        }
        let checksums = Checksums::from_request(file.checksum.clone());
        for (algorithm, computed) in checksums.named() {
            let name = format!("{PREFIX}{}", algorithm.to_ascii_lowercase());
            let claim = self.header(&self.headers, &name).or_else(|| {
                self.trailers
                    .as_ref()
                    .and_then(|trailers| trailers.read(|map| self.header(map, &name)).flatten())
            });
            if let (Some(claim), Some(computed)) = (claim, computed)
                && claim != *computed
            {
                return Err(s3_error!(
                    BadDigest,
                    "The {algorithm} you specified did not match the calculated checksum."
                ));
            }
        }
        Ok(checksums)
    }

    fn header(&self, map: &HeaderMap, name: &str) -> Option<String> {
        map.get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    }
}

/// Switches one algorithm on; false when the name is none.
pub(super) fn enable(hasher: &mut ChecksumHasher, algorithm: &str) -> bool {
    match algorithm.to_ascii_lowercase().as_str() {
        "crc32" => hasher.crc32 = Some(Crc32::new()),
        "crc32c" => hasher.crc32c = Some(Crc32c::new()),
        "crc64nvme" => hasher.crc64nvme = Some(Crc64Nvme::new()),
        "sha1" => hasher.sha1 = Some(Sha1::new()),
        "sha256" => hasher.sha256 = Some(Sha256::new()),
        _ => return false,
    }
    true
}

/// The composite checksum of a multipart object: the algorithm over the raw digests of its parts, with
/// the number of parts behind a dash. `None` when a part lacks that digest.
pub(super) fn composite(algorithm: &str, parts: &[Checksums]) -> Option<Checksums> {
    let mut hasher = ChecksumHasher::default();
    if !enable(&mut hasher, algorithm) {
        return None;
    }
    for part in parts {
        let digest = part
            .named()
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(algorithm))
            .and_then(|(_, value)| value)?;
        hasher.update(&STANDARD.decode(digest).ok()?);
    }
    let mut checksums = Checksums::from_request(hasher.finalize());
    checksums.kind = Some("COMPOSITE".to_owned());
    let count = parts.len();
    for value in [
        &mut checksums.crc32,
        &mut checksums.crc32c,
        &mut checksums.crc64nvme,
        &mut checksums.sha1,
        &mut checksums.sha256,
    ]
    .into_iter()
    .flatten()
    {
        value.push_str(&format!("-{count}"));
    }
    Some(checksums)
}
