//! What must not leave the machine, found in what is about to: private keys, tokens, passwords and known
//! secrets give way to a mark that says what stood there.
//!
//! It would rather hide too much: a mark in the place of a harmless word costs a reader a look elsewhere.

mod encoded;
mod names;
mod object;
mod text;

pub use names::is_telling;
pub use object::object;

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter ones would be found in every other word.
const SHORTEST: usize = 8;
/// How often what is hidden may be encoded over again.
const DEPTH: u8 = 2;

/// Knows the secrets of one run.
#[derive(Debug, Default)]
pub struct Redactor {
    known: Option<AhoCorasick>,
}

/// What a secret gives way to.
fn mark(what: &str) -> String {
    format!("[redacted: {what}]")
}

impl Redactor {
    /// One that hides these wherever they stand, plain, in base64, or escaped in JSON. Those of fewer than
    /// eight bytes are passed over, and so is what is public: certificates.
    pub fn knowing(secrets: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let mut needles: Vec<Vec<u8>> = vec![];
        for secret in secrets {
            let secret = secret.trim_ascii();
            if secret.len() < SHORTEST || is_public(secret) {
                continue;
            }
            needles.extend([STANDARD_NO_PAD.encode(secret), URL_SAFE_NO_PAD.encode(secret)].map(Into::into));
            if let Ok(text) = std::str::from_utf8(secret) {
                let escaped = serde_json::Value::from(text).to_string();
                needles.push(escaped.trim_matches('"').into());
            }
            needles.push(secret.into());
        }
        let known = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(needles);
        // One of more than 2^31 bytes cannot be made: then nothing may leave at all, and nothing does.
        Self { known: Some(known.unwrap_or_else(|_| everything())) }
    }

    /// The same bytes with marks in the place of all that is secret, and how many marks there are.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> (Cow<'a, [u8]>, usize) {
        self.deep(bytes, DEPTH)
    }

    fn deep<'a>(&self, bytes: &'a [u8], depth: u8) -> (Cow<'a, [u8]>, usize) {
        let (mut bytes, mut marks) = (Cow::Borrowed(bytes), 0);
        if let Some(known) = self.known.as_ref().filter(|known| known.is_match(bytes.as_ref())) {
            let mut clean = vec![];
            known.replace_all_with_bytes(&bytes, &mut clean, |_, _, to| {
                to.extend(mark("a known secret").bytes());
                marks += 1;
                true
            });
            bytes = Cow::Owned(clean);
        }
        let (bytes, texts) = text::clean(bytes);
        let holds = |inside: &[u8]| depth > 0 && self.deep(inside, depth - 1).1 > 0;
        let (bytes, encodings) = encoded::clean(bytes, holds);
        (bytes, marks + texts + encodings)
    }
}

/// Matches at every byte.
fn everything() -> AhoCorasick {
    AhoCorasick::new((0..=u8::MAX).map(|byte| [byte])).unwrap_or_else(|_| unreachable!("256 short needles"))
}

/// PEM of certificates and nothing else.
fn is_public(secret: &[u8]) -> bool {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let begins = |name: &[u8]| secret.windows(name.len()).filter(|window| *window == name).count();
    secret.starts_with(BEGIN) && begins(BEGIN) == begins(b"-----BEGIN CERTIFICATE-----")
}

#[cfg(test)]
mod tests;
