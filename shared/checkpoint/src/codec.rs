//! Numbers and bytes, written compactly and read with suspicion.

/// Bytes that are not what they should be: what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Appends to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// Seven bits at a time, the lowest first.
    pub(crate) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Small whichever its sign.
    pub(crate) fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)) as u64);
    }

    pub(crate) fn length(&mut self, length: usize) {
        self.number(length as u64);
    }

    /// With its length before it.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// As it is; the reader knows the length.
    pub(crate) fn plain(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Absent or with its length before it.
    pub(crate) fn optional(&mut self, text: Option<&str>) {
        match text {
            None => self.byte(0),
            Some(text) => {
                self.byte(1);
                self.bytes(text.as_bytes());
            }
        }
    }
}

/// Takes from the front of a slice; never reads behind it and never allocates more than it holds.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.plain(1)?[0])
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed("a number is too large"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A number that fits 32 bits.
    pub(crate) fn small(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed("a number is too large"))
    }

    /// A count of things of which each takes at least `each` bytes: more than could follow is
    /// refused before anything is allocated for them.
    pub(crate) fn count(&mut self, each: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.0.len() / each {
            return Err(Malformed("a count is larger than what follows"));
        }
        Ok(count)
    }

    pub(crate) fn plain(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn bytes(&mut self, most: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if length > most {
            return Err(Malformed("a text is too long"));
        }
        self.plain(length)
    }

    pub(crate) fn text(&mut self, most: usize) -> Result<String, Malformed> {
        String::from_utf8(self.bytes(most)?.to_vec()).map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(crate) fn optional(&mut self, most: usize) -> Result<Option<String>, Malformed> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.text(most).map(Some),
            _ => Err(Malformed("neither absent nor present")),
        }
    }

    pub(crate) fn hash(&mut self) -> Result<Hash, Malformed> {
        let bytes = self.plain(32)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(bytes);
        Ok(Hash(hash))
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed("something follows its end"))
        }
    }
}

/// A BLAKE3 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Hash(pub(crate) [u8; 32]);

impl Hash {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    pub(crate) fn hex(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Half of it: enough that no two contents that anybody has share it. A lie would be noticed
    /// when the content is compared with the whole hash.
    pub(crate) fn half(&self) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&self.0[..16]);
        half
    }

    /// Eight of its bytes, for indexes.
    pub(crate) fn prefix(&self) -> u64 {
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&self.0[..8]);
        u64::from_le_bytes(prefix)
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.hex()[..12])
    }
}

/// Decompresses what must be exactly `raw` bytes; stored as it is when compression gave nothing.
pub(crate) fn unpack(stored: &[u8], raw: usize) -> Result<Vec<u8>, Malformed> {
    if stored.len() == raw {
        return Ok(stored.to_vec());
    }
    let bytes = zstd::bulk::decompress(stored, raw).map_err(|_| Malformed("it does not unpack"))?;
    if bytes.len() != raw {
        return Err(Malformed("it unpacks to another size"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_round_trip(number: u64, signed: i64) {
            let mut writer = Writer::default();
            writer.number(number);
            writer.signed(signed);
            let mut reader = Reader(&writer.0);
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn hostile_bytes_are_refused_and_never_panic(bytes: Vec<u8>) {
            let mut reader = Reader(&bytes);
            let _ = reader.number();
            let _ = reader.count(3);
            let _ = reader.optional(10);
            let _ = reader.hash();
            let _ = unpack(&bytes, 1000);
        }
    }
}
