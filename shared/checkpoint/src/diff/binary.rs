//! Whole contents in a patch, as git writes binary files: deflated, in base 85.

use std::io::Write as _;

use flate2::{Compression, write::ZlibEncoder};
use sha1::{Digest as _, Sha1};

const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";
/// Bytes on one line of a patch.
const LINE: usize = 52;

/// From one content to another; `None` where there is no file.
pub(super) fn patch(old: Option<&[u8]>, new: Option<&[u8]>) -> Vec<u8> {
    let mut out = format!("index {}..{}\nGIT binary patch\n", name(old), name(new)).into_bytes();
    literal(&mut out, new.unwrap_or_default());
    literal(&mut out, old.unwrap_or_default());
    out
}

/// The name that git gives a content; `git apply` compares it.
fn name(content: Option<&[u8]>) -> String {
    let Some(content) = content else {
        return "0".repeat(40);
    };
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn literal(out: &mut Vec<u8>, content: &[u8]) {
    // Writing to a buffer cannot fail.
    let _ = writeln!(out, "literal {}", content.len());
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let _ = encoder.write_all(content);
    for line in encoder.finish().unwrap_or_default().chunks(LINE) {
        out.push(match line.len() as u8 {
            length @ 1..=26 => b'A' + length - 1,
            length => b'a' + length - 27,
        });
        for group in line.chunks(4) {
            let mut word = [0; 4];
            word[..group.len()].copy_from_slice(group);
            let mut number = u32::from_be_bytes(word);
            let mut digits = [0; 5];
            for digit in digits.iter_mut().rev() {
                *digit = DIGITS[(number % 85) as usize];
                number /= 85;
            }
            out.extend_from_slice(&digits);
        }
        out.push(b'\n');
    }
    out.push(b'\n');
}
