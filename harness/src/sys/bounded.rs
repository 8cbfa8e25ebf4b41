//! What others print, with bounded memory: all of it up to a limit, its end, or its lines.

use std::io::{self, Read};

use futures::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, Stream, stream};
use tokio_util::compat::TokioAsyncReadCompatExt;

/// Beyond the limit, in bytes, nothing was read.
#[derive(Debug, thiserror::Error)]
#[error(
    "more than {} came, and no more of it is read\n\
     hint: is it what it should be? By hand it shows more",
    size(*.0)
)]
pub struct TooMuch(pub usize);

/// `64 MB`; of less than one, bytes.
fn size(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MB", bytes >> 20) } else { format!("{bytes} bytes") }
}

/// All that comes; what is not UTF-8 is replaced.
///
/// # Errors
/// It could not be read, or is of more than `most` bytes.
pub async fn whole(from: impl tokio::io::AsyncRead + Unpin, most: usize) -> io::Result<String> {
    let mut bytes = vec![];
    let mut from = tokio::io::AsyncReadExt::take(from, most as u64 + 1);
    tokio::io::AsyncReadExt::read_to_end(&mut from, &mut bytes).await?;
    text_of(&bytes, most)
}

/// The same of what is read in a thread of its own.
pub fn whole_now(from: impl Read, most: usize) -> io::Result<String> {
    let mut bytes = vec![];
    from.take(most as u64 + 1).read_to_end(&mut bytes)?;
    text_of(&bytes, most)
}

fn text_of(bytes: &[u8], most: usize) -> io::Result<String> {
    if bytes.len() > most {
        return Err(io::Error::other(TooMuch(most)));
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// The lines of a text; what is not UTF-8 is replaced. One of more than `most` bytes is an error.
pub fn lines(from: impl AsyncBufRead + Unpin, most: usize) -> impl Stream<Item = io::Result<String>> + Unpin {
    Box::pin(stream::try_unfold(from, move |mut from| async move {
        let mut line = vec![];
        if (&mut from).take(most as u64 + 1).read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.len() > most {
            return Err(io::Error::other(TooMuch(most)));
        }
        Ok(Some((String::from_utf8_lossy(&line).into_owned(), from)))
    }))
}

/// How much of an end is kept: there stands what went wrong.
pub const KEPT: usize = 1 << 20;

/// The end of a text, from the beginning of a line on.
#[derive(Debug, Default)]
pub struct End {
    bytes: Vec<u8>,
    before: u64,
}

impl End {
    /// Takes the next part of the text.
    pub fn push(&mut self, more: &[u8]) {
        self.bytes.extend(more);
        if self.bytes.len() > 2 * KEPT {
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        let over = self.bytes.len() - KEPT;
        self.bytes.drain(..over);
        self.before += over as u64;
    }

    /// The text, with a note where something is left out, and how many bytes that is. A line that was cut in
    /// two is left out whole: half a token is not known for one.
    pub fn text(mut self) -> (Vec<u8>, u64) {
        if self.bytes.len() > KEPT {
            self.shorten();
        }
        if self.before == 0 {
            return (self.bytes, 0);
        }
        let line = self.bytes.iter().position(|byte| *byte == b'\n').map_or(self.bytes.len(), |at| at + 1);
        let cut = self.before + line as u64;
        let mut text = format!("[svidproof: cut: the {cut} bytes before this are left out]\n").into_bytes();
        text.extend(&self.bytes[line..]);
        (text, cut)
    }

    /// The text alone; what is not UTF-8 is replaced.
    pub fn into_string(self) -> String {
        String::from_utf8_lossy(&self.text().0).into_owned()
    }
}

impl io::Write for End {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.push(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads to the end, in a thread of its own, and keeps that.
pub fn end_now(mut from: impl Read) -> io::Result<String> {
    let mut end = End::default();
    io::copy(&mut from, &mut end)?;
    Ok(end.into_string())
}

/// Reads to the end, and keeps that.
pub async fn end_of(mut from: impl AsyncRead + Unpin) -> io::Result<End> {
    let mut end = End::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(end),
            read => end.push(&buffer[..read]),
        }
    }
}

/// The same of what is tokio's.
pub async fn end_of_stream(from: impl tokio::io::AsyncRead + Unpin) -> io::Result<End> {
    end_of(from.compat()).await
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use futures::io::Cursor;

    use super::*;
    use crate::sys::chain;

    #[tokio::test]
    async fn what_is_read_whole_has_a_limit_that_is_named() {
        assert_eq!(whole(&b"all\xff"[..], 4).await.unwrap(), "all\u{fffd}");
        assert_eq!(whole(&b""[..], 0).await.unwrap(), "");
        let error = whole(tokio::io::repeat(b'x'), 2 << 20).await.unwrap_err();
        assert_eq!(
            chain(&error),
            "more than 2 MB came, and no more of it is read\nhint: is it what it should be? By hand it shows more"
        );
    }

    #[tokio::test]
    async fn a_line_that_does_not_end_is_not_kept() {
        let all = |text: &'static [u8]| lines(Cursor::new(text), 4).try_collect::<Vec<_>>();
        assert_eq!(all(b"one\n\ntwo\xff\nlast").await.unwrap(), ["one", "", "two\u{fffd}", "last"]);
        assert_eq!(all(b"").await.unwrap(), Vec::<String>::new());
        // The end of a line is none of it.
        assert_eq!(all(b"four\n").await.unwrap(), ["four"]);
        let error = all(b"one\nfives").await.unwrap_err();
        assert!(chain(&error).starts_with("more than 4 bytes came"), "{error}");
        let endless = futures::io::BufReader::new(futures::io::repeat(b'x'));
        assert!(lines(endless, 1 << 20).try_collect::<Vec<_>>().await.is_err());
    }
}
