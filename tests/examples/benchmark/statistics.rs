//! Median and percentile of a few measurements.

use std::time::Duration;

/// The value below which that share (0 to 1) of the sorted measurements lies.
pub(crate) fn percentile(measurements: &mut [Duration], share: f64) -> Duration {
    assert!(!measurements.is_empty(), "nothing was measured");
    measurements.sort_unstable();
    let last = measurements.len() - 1;
    // Few values: the next one up, never one between two.
    let position = (last as f64 * share).ceil() as usize;
    measurements[position.min(last)]
}

/// The middle one.
pub(crate) fn median(measurements: &mut [Duration]) -> Duration {
    percentile(measurements, 0.5)
}

/// In milliseconds, with one decimal.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
