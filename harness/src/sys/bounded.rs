//! The last part of a text of any length, with bounded memory.

use futures::{AsyncRead, AsyncReadExt};

/// How much of a log is kept: its end, where what went wrong stands.
pub(super) const KEPT: usize = 1 << 20;

/// The end of a text, from the beginning of a line on.
#[derive(Debug, Default)]
pub(super) struct End {
    bytes: Vec<u8>,
    before: u64,
}

impl End {
    pub(super) fn push(&mut self, more: &[u8]) {
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
    pub(super) fn text(mut self) -> (Vec<u8>, u64) {
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
}

/// Reads to the end, and keeps that.
pub(super) async fn end_of(mut from: impl AsyncRead + Unpin) -> std::io::Result<End> {
    let mut end = End::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer).await? {
            0 => return Ok(end),
            read => end.push(&buffer[..read]),
        }
    }
}
