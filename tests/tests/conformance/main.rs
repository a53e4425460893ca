//! The official conformance suite, through a round robin over instances that are replaced while it
//! runs: whatever it may check, no two requests need the same process.

mod hostile;
mod round_robin;
mod suite;

use round_robin::RoundRobin;

#[test]
fn what_2025_11_25_requires() {
    let instances = RoundRobin::start();
    let report = suite::run(&instances.url(), "2025-11-25");
    report.must_pass(30);
    instances.must_have_cut(1);
    instances.must_have_replaced(3);
}

#[test]
fn what_2026_07_28_requires() {
    let instances = RoundRobin::start();
    let report = suite::run(&instances.url(), "2026-07-28");
    report.must_pass(37);
    instances.must_have_replaced(3);
}
