//! Files in chunks of 64 KiB, each encrypted and authenticated (ChaCha20-Poly1305), so that any of them
//! can be read without the others.
//!
//! ```text
//! magic (8 bytes)  salt (32 bytes)  chunk 0  chunk 1  ..  last chunk      each chunk: its bytes, tag (16)
//! ```
//!
//! The key of a file is derived from the state's key and the file's random salt, so numbers can be the
//! nonces: the chunk's number, and 1 in the last byte for the last chunk. A file that was cut at any
//! chunk, or whose chunks were moved, cannot be opened.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use ring::aead::{Aad, LessSafeKey, Nonce};

use super::StateKey;

/// Bytes of a chunk before it is encrypted.
pub(crate) const CHUNK: usize = 64 * 1024;
const MAGIC: &[u8; 8] = b"SHSEAL01";
const SALT: usize = 32;
const HEADER: usize = MAGIC.len() + SALT;
const TAG: usize = 16;

fn nonce(number: u64, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

/// Encrypts what is pushed, a chunk at a time.
pub(crate) struct Sealer {
    key: LessSafeKey,
    salt: [u8; SALT],
    number: u64,
    pending: Vec<u8>,
}

impl Sealer {
    /// A sealer for one file, which begins with [`Sealer::header`].
    pub(crate) fn new(key: &StateKey) -> io::Result<Self> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
        let key = key.of_file(&salt);
        Ok(Self {
            key: key.ok_or_else(|| io::Error::other("no key for a file"))?,
            salt,
            number: 0,
            pending: Vec::new(),
        })
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        [&MAGIC[..], &self.salt].concat()
    }

    /// Appends the chunks that are full to `out`. The last one waits for [`Sealer::finish`].
    pub(crate) fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.pending.len() == CHUNK {
                self.seal(false, out)?;
            }
            let length = bytes.len().min(CHUNK - self.pending.len());
            let (now, later) = bytes.split_at(length);
            self.pending.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Appends the last chunk.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.seal(true, out)
    }

    fn seal(&mut self, last: bool, out: &mut Vec<u8>) -> io::Result<()> {
        let mut chunk = std::mem::take(&mut self.pending);
        self.key
            .seal_in_place_append_tag(nonce(self.number, last), Aad::empty(), &mut chunk)
            .map_err(|_| io::Error::other("a chunk cannot be encrypted"))?;
        self.number += 1;
        out.append(&mut chunk);
        Ok(())
    }
}

/// Reads an encrypted file from any position.
pub(crate) struct Opener {
    file: File,
    key: LessSafeKey,
    /// How many chunks it has.
    chunks: u64,
    number: u64,
    /// Bytes at the beginning of the next chunk that are not wanted.
    skip: usize,
}

impl Opener {
    /// Opens a file that begins with a header.
    pub(crate) fn new(mut file: File, key: &StateKey) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut header = [0; HEADER];
        let damaged = || invalid("it is not encrypted, or damaged");
        match file.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged()),
            read => read?,
        }
        let Some(salt) = header.strip_prefix(MAGIC) else {
            return Err(damaged());
        };
        let body = size - HEADER as u64;
        Ok(Self {
            file,
            key: key.of_file(salt).ok_or_else(damaged)?,
            chunks: body.div_ceil((CHUNK + TAG) as u64).max(1),
            number: 0,
            skip: 0,
        })
    }

    /// Goes to a byte of what is in it.
    pub(crate) fn skip_to(&mut self, position: u64) -> io::Result<()> {
        self.number = position / CHUNK as u64;
        self.skip = usize::try_from(position % CHUNK as u64).unwrap_or(0);
        let place = HEADER as u64 + self.number * (CHUNK + TAG) as u64;
        self.file.seek(SeekFrom::Start(place)).map(drop)
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The file cannot be read, was changed or cut, or the key is another.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.number >= self.chunks {
            return Ok(None);
        }
        let mut chunk = Vec::with_capacity(CHUNK + TAG);
        (&mut self.file)
            .take((CHUNK + TAG) as u64)
            .read_to_end(&mut chunk)?;
        let last = self.number + 1 == self.chunks;
        let length = self
            .key
            .open_in_place(nonce(self.number, last), Aad::empty(), &mut chunk)
            .map_err(|_| invalid("its bytes were changed or cut, or the key is another"))?
            .len();
        chunk.truncate(length);
        self.number += 1;
        let skip = std::mem::take(&mut self.skip).min(chunk.len());
        chunk.drain(..skip);
        Ok(Some(chunk))
    }
}

fn invalid(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

/// Encrypts all of a small file.
pub(crate) fn seal(key: &StateKey, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut sealer = Sealer::new(key)?;
    let mut out = sealer.header();
    sealer.push(bytes, &mut out)?;
    sealer.finish(&mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn read(path: &Path, key: &StateKey, from: u64) -> io::Result<Vec<u8>> {
        let mut opener = Opener::new(File::open(path)?, key)?;
        opener.skip_to(from)?;
        let mut all = Vec::new();
        while let Some(chunk) = opener.next()? {
            all.extend(chunk);
        }
        Ok(all)
    }

    #[test]
    fn what_was_sealed_comes_back_from_any_place_and_nothing_else_does() {
        let directory = tempfile::tempdir().unwrap();
        let key = StateKey::make(&directory.path().join("key")).unwrap();
        let other = StateKey::make(&directory.path().join("other")).unwrap();
        let path = directory.path().join("file");
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 5] {
            let bytes: Vec<u8> = (0..size)
                .map(|it| u8::try_from(it % 251).unwrap())
                .collect();
            let sealed = seal(&key, &bytes).unwrap();
            assert_ne!(sealed, seal(&key, &bytes).unwrap(), "a salt of its own");
            fs::write(&path, &sealed).unwrap();
            for from in [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 7] {
                if from <= size {
                    let read = read(&path, &key, from as u64).unwrap();
                    assert_eq!(read, bytes[from..], "{size} from {from}");
                }
            }
            assert!(read(&path, &other, 0).is_err(), "another key");
            for place in [0, MAGIC.len(), HEADER, sealed.len() - 1] {
                let mut changed = sealed.clone();
                changed[place] ^= 1;
                fs::write(&path, &changed).unwrap();
                assert!(read(&path, &key, 0).is_err(), "{size}: {place} was changed");
            }
            for cut in [1, TAG, CHUNK + TAG] {
                if let Some(left) = sealed.len().checked_sub(cut) {
                    fs::write(&path, &sealed[..left]).unwrap();
                    assert!(read(&path, &key, 0).is_err(), "{size}: {cut} were cut");
                }
            }
        }
        fs::write(&path, "not encrypted, whatever it is, and long enough").unwrap();
        assert!(read(&path, &key, 0).is_err());
    }
}
