//! Cuts the CLI's output into lines without ever holding more than one line's limit in memory.
//!
//! Lines of several MiB are normal (a written file is echoed twice). A line over the limit is
//! reported and skipped, and the stream goes on: one absurd line must not end a session.
//! Reading is cancel-safe: dropping the future of [`LineReader::next`] loses nothing.

use tokio::io::{AsyncRead, AsyncReadExt};

/// What the reader found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// One line without its line feed (nor a carriage return before it).
    Line(Vec<u8>),
    /// A line that was longer than the limit. Its bytes are gone; the number tells how many.
    TooLong {
        /// Length of the skipped line in bytes, without the line feed.
        bytes: u64,
    },
}

/// Reads lines in chunks.
#[derive(Debug)]
pub struct LineReader<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where the search for the next line feed goes on.
    searched: usize,
    /// Bytes of an over-long line that were already thrown away.
    skipped: u64,
    ended: bool,
    chunk_bytes: usize,
    limit_bytes: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// A reader over `source` that asks for `chunk_bytes` at a time and accepts lines of at most
    /// `limit_bytes`.
    pub fn new(source: R, chunk_bytes: usize, limit_bytes: usize) -> Self {
        LineReader {
            source,
            buffer: Vec::new(),
            searched: 0,
            skipped: 0,
            ended: false,
            chunk_bytes: chunk_bytes.max(1),
            limit_bytes: limit_bytes.max(1),
        }
    }

    /// The next line, or `None` at the end of the stream. A last line without line feed counts.
    ///
    /// # Errors
    /// The error of the underlying stream; reading again may work if that says so.
    pub async fn next(&mut self) -> std::io::Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.take_line() {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(self.take_rest());
            }
            self.shed_excess();
            self.fill().await?;
        }
    }

    /// Takes one chunk more from the source.
    async fn fill(&mut self) -> std::io::Result<()> {
        self.buffer.reserve(self.chunk_bytes);
        let mut limited = (&mut self.source).take(self.chunk_bytes as u64);
        // read_buf is cancel-safe: nothing is consumed unless it is in the buffer.
        if limited.read_buf(&mut self.buffer).await? == 0 {
            self.ended = true;
        }
        Ok(())
    }

    fn take_line(&mut self) -> Option<Piece> {
        let Some(found) = self.buffer[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n')
        else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + found;
        let rest = self.buffer.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.buffer, rest);
        line.pop();
        self.searched = 0;
        Some(self.finish(line))
    }

    fn take_rest(&mut self) -> Option<Piece> {
        if self.buffer.is_empty() && self.skipped == 0 {
            return None;
        }
        let line = std::mem::take(&mut self.buffer);
        self.searched = 0;
        Some(self.finish(line))
    }

    fn finish(&mut self, mut line: Vec<u8>) -> Piece {
        let bytes = self.skipped + line.len() as u64;
        self.skipped = 0;
        if bytes > self.limit_bytes as u64 {
            return Piece::TooLong { bytes };
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Piece::Line(line)
    }

    fn shed_excess(&mut self) {
        if self.buffer.len() > self.limit_bytes {
            self.skipped += self.buffer.len() as u64;
            self.buffer = Vec::new();
            self.searched = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn all(input: &[u8], chunk: usize, limit: usize) -> Vec<Piece> {
        let mut reader = LineReader::new(input, chunk, limit);
        let mut found = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            found.push(piece);
        }
        found
    }

    fn line(text: &str) -> Piece {
        Piece::Line(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn an_over_long_line_is_reported_and_the_stream_goes_on() {
        let pieces = all(b"ab\n0123456789\ncd\r\n\nlast", 3, 4).await;
        assert_eq!(
            pieces,
            [
                line("ab"),
                Piece::TooLong { bytes: 10 },
                line("cd"),
                line(""),
                line("last")
            ]
        );
    }

    #[tokio::test]
    async fn an_over_long_line_at_the_end_is_reported_once() {
        assert_eq!(
            all(b"0123456789", 4, 4).await,
            [Piece::TooLong { bytes: 10 }]
        );
    }

    /// Gives as much as is asked for, and notes how much that was at most.
    struct Asked(usize);

    impl AsyncRead for Asked {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            self.0 = self.0.max(buffer.remaining());
            let room = buffer.remaining();
            buffer.put_slice(&vec![b'x'; room]);
            std::task::Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn no_more_is_asked_for_at_once_than_the_setting_says() {
        for chunk in [4096, 16_384, 100_000] {
            let mut reader = LineReader::new(Asked(0), chunk, 500_000);
            for _ in 0..20 {
                assert!(reader.take_line().is_none());
                reader.shed_excess();
                reader.fill().await.unwrap();
            }
            assert_eq!(reader.source.0, chunk);
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_depend_on_chunks(input in "[ab\n]{0,60}", chunk in 1usize..9, limit in 1usize..20) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let small = runtime.block_on(all(input.as_bytes(), chunk, limit));
            let whole = runtime.block_on(all(input.as_bytes(), 1000, limit));
            prop_assert_eq!(&small, &whole);
            let expected = input.strip_suffix('\n').unwrap_or(&input);
            let count = if input.is_empty() { 0 } else { expected.split('\n').count() };
            prop_assert_eq!(small.len(), count);
        }
    }
}
