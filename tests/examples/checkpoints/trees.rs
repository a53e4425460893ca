//! The trees that are stored and brought back.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use testkit::Random;

/// Text that compresses about as source code does.
fn source(random: &mut Random, length: usize) -> Vec<u8> {
    const WORDS: [&str; 24] = [
        "let ",
        "mut ",
        "fn ",
        "state",
        "match ",
        ") -> ",
        "{\n    ",
        "value",
        "self.",
        "Result<",
        "Option<",
        "pub(crate) ",
        "return ",
        "if ",
        "else ",
        "Some(",
        "None",
        "Ok(",
        "Err(",
        "();\n",
        "impl ",
        "struct ",
        "::new",
        "// ",
    ];
    let mut text = Vec::with_capacity(length + 32);
    while text.len() < length {
        text.extend_from_slice(WORDS[random.below(24) as usize].as_bytes());
        if random.one_in(2) {
            text.extend_from_slice(format!("{:x} ", random.below(1 << 28)).as_bytes());
        }
    }
    text.truncate(length);
    text
}

fn noise(random: &mut Random, length: usize) -> Vec<u8> {
    (0..length / 8)
        .flat_map(|_| random.next().to_le_bytes())
        .collect()
}

/// Writes a tree by its name.
pub(crate) fn tree(name: &str, files: &Path) -> io::Result<()> {
    let mut random = Random::new(1);
    match name {
        "10,000 files" => {
            for number in 0..10_000 {
                let directory = files.join(format!("d{}", number / 100));
                fs::create_dir_all(&directory)?;
                let length = 400 + random.below(9_600) as usize;
                let text = source(&mut random, length);
                fs::write(directory.join(format!("f{number}.rs")), text)?;
            }
        }
        "500 MB mixed" => {
            for number in 0..2_000 {
                let directory = files.join(format!("d{}", number / 50));
                fs::create_dir_all(&directory)?;
                let path = directory.join(format!("f{number}"));
                let length = 1_000 + random.below(500_000) as usize;
                let bytes = if number % 2 == 0 {
                    source(&mut random, length)
                } else {
                    noise(&mut random, length)
                };
                fs::write(path, bytes)?;
            }
        }
        "1,000,000 files" => {
            for number in 0..1_000_000 {
                let directory = files.join(format!("d{}/d{}", number / 10_000, number / 100));
                if number % 100 == 0 {
                    fs::create_dir_all(&directory)?;
                }
                let text = format!("number {number} {:x}\n", random.next());
                fs::write(directory.join(format!("f{number}")), text)?;
            }
        }
        _ => {
            let mut file = fs::File::create(files.join("binary"))?;
            let pieces = if name == "4 GiB file" { 4_096 } else { 1_024 };
            for _ in 0..pieces {
                file.write_all(&noise(&mut random, 1 << 20))?;
            }
        }
    }
    Ok(())
}

/// Adds a line to one of the 10,000 files; says whether there is that file.
pub(crate) fn one_line(files: &Path) -> io::Result<bool> {
    let path = files.join("d31/f3117.rs");
    if !path.exists() {
        return Ok(false);
    }
    let mut file = fs::File::options().append(true).open(path)?;
    file.write_all(b"// one line more\n")?;
    Ok(true)
}
