//! Times as people and MCP write them (RFC 3339, UTC) and as we keep them (Unix milliseconds).

use domain::UnixMillis;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `2026-11-20T12:00:00.123Z`. A time that no calendar has is written as milliseconds.
#[must_use]
pub fn to_rfc3339(time: UnixMillis) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.0) * 1_000_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| time.0.to_string())
}

/// Reads RFC 3339 with any offset; `None` for anything else and for times before 1970.
pub(crate) fn from_rfc3339(text: &str) -> Option<UnixMillis> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000)
        .ok()
        .map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        let time = UnixMillis(1_795_176_005_123);
        assert_eq!(to_rfc3339(time), "2026-11-20T12:00:05.123Z");
        assert_eq!(from_rfc3339(&to_rfc3339(time)), Some(time));
        assert_eq!(from_rfc3339("2026-11-20T13:00:05.123+01:00"), Some(time));
        for bad in ["", "today", "2026-11-20", "1969-12-31T23:59:59Z"] {
            assert_eq!(from_rfc3339(bad), None, "{bad}");
        }
        assert_eq!(to_rfc3339(UnixMillis(u64::MAX)), u64::MAX.to_string());
    }
}
