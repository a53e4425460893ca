//! The secret of a webhook: `whsec_` and 24 to 64 bytes in base64.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use thiserror::Error;

const PREFIX: &str = "whsec_";
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// It cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "not whsec_ and 24 to 64 bytes in base64; make one with: echo whsec_$(openssl rand -base64 32)"
)]
pub struct InvalidSecret;

/// The bytes that sign.
pub(super) fn read(text: &str) -> Result<Vec<u8>, InvalidSecret> {
    let encoded = text.strip_prefix(PREFIX).ok_or(InvalidSecret)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| InvalidSecret)?;
    Some(bytes)
        .filter(|bytes| BYTES.contains(&bytes.len()))
        .ok_or(InvalidSecret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_has_its_prefix_and_its_length() {
        let of = |bytes: usize| format!("{PREFIX}{}", STANDARD.encode(vec![7; bytes]));
        for bytes in [24, 32, 64] {
            assert_eq!(read(&of(bytes)), Ok(vec![7; bytes]));
        }
        let unprefixed = of(32).replace(PREFIX, "");
        for wrong in [&of(23), &of(65), &unprefixed, "whsec_", "whsec_?", ""] {
            assert_eq!(read(wrong), Err(InvalidSecret), "{wrong}");
        }
    }
}
