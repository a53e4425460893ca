//! Reads `secrets.txt`, and makes its secrets.

/// One line of the corpus.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// What it is, or nothing for what must stay.
    pub(crate) kind: Option<String>,
    /// The text with its secrets.
    pub(crate) text: String,
    /// The secrets in it.
    pub(crate) secrets: Vec<String>,
    /// Number of its line, from 1.
    pub(crate) line: usize,
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let lines = include_str!("secrets.txt").lines().enumerate();
    let rows = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    rows.map(|(number, line)| case(number + 1, line)).collect()
}

fn case(line: usize, row: &str) -> Case {
    let (kind, text) = row.split_once(" | ").expect("KIND | TEXT");
    let text = made(line as u64, &text.replace('¦', ""));
    let secrets = text.split('«').skip(1);
    let secrets = secrets.map(|rest| rest.split_once('»').expect("a closing mark").0.to_owned());
    Case {
        kind: (kind != "-").then(|| kind.to_owned()),
        secrets: secrets.collect(),
        text: text.replace(['«', '»'], ""),
        line,
    }
}

/// The text with what is made when it is read.
fn made(seed: u64, text: &str) -> String {
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut made = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '\\']) {
        made.push_str(&rest[..at]);
        let escape = rest.as_bytes()[at] == b'\\';
        rest = &rest[at + 1..];
        if escape {
            made.push(match rest.as_bytes()[0] {
                b'n' => '\n',
                b't' => '\t',
                b's' => '\\',
                other => panic!("an unknown escape: {}", char::from(other)),
            });
            rest = &rest[1..];
            continue;
        }
        let count = rest
            .find('}')
            .and_then(|end| Some((end, rest.get(1..end)?.parse().ok()?)));
        let Some((end, count)) = count else {
            made.push('{');
            continue;
        };
        let from: &[u8] = match rest.as_bytes()[0] {
            b'a' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            b'h' => b"0123456789abcdef",
            b'u' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
            b'b' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            b'd' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
            b'n' => b"0123456789",
            b'w' => b"abcdefghijklmnopqrstuvwxyz",
            other => panic!("an unknown alphabet: {}", char::from(other)),
        };
        for _ in 0..count {
            // xorshift: the same secrets every time.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            made.push(char::from(from[(random >> 33) as usize % from.len()]));
        }
        rest = &rest[end + 1..];
    }
    made + rest
}
