//! How long ordinary text takes: `cargo run --release -p redact --example measure -- FILE..`

use std::time::Instant;

fn main() {
    let redactor = redact::Redactor::new(["a-known-credential".to_owned()]);
    for file in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let text = text.repeat((1 << 20) / text.len().max(1) + 1);
        std::hint::black_box(redactor.is_clean("warm"));
        let start = Instant::now();
        let clean = redactor.clean(&text);
        let took = start.elapsed();
        eprintln!(
            "{file}: {} bytes in {took:?}, changed: {}",
            text.len(),
            clean != text
        );
    }
}
