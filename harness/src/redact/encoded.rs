//! Secrets in base64: each run of its alphabet is looked into.

use std::borrow::Cow;
use std::sync::LazyLock;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use regex::bytes::Regex;

use super::mark;

/// Of either alphabet (RFC 4648), over several lines too, also where these are the two characters `\n`.
static RUN: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let (run, next) = (r"[A-Za-z0-9+/_-]{20,}", r"(?:\s*\r?\n[ \t]*|\\+n[ \t]*)");
    Regex::new(&format!(r"{run}(?:{next}{run})*(?:{next}[A-Za-z0-9+/_-]+)?={{0,2}}")).ok()
});

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Marks in the place of all that, decoded, is a key or `holds` a secret, and how many.
pub(super) fn clean(bytes: Cow<[u8]>, holds: impl Fn(&[u8]) -> bool) -> (Cow<[u8]>, usize) {
    let (mut clean, mut from, mut marks) = (vec![], 0, 0);
    for run in RUN.iter().flat_map(|run| run.find_iter(&bytes)) {
        if decodings(run.as_bytes()).any(|inside| is_key(&inside) || holds(&inside)) {
            clean.extend(&bytes[from..run.start()]);
            clean.extend(mark("a secret in base64").bytes());
            from = run.end();
            marks += 1;
        }
    }
    if marks == 0 {
        return (bytes, 0);
    }
    clean.extend(&bytes[from..]);
    (Cow::Owned(clean), marks)
}

/// What stands before it may be of its alphabet too, such as a path's `/`: at each of four places it may
/// begin.
fn decodings(run: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut letters = Vec::with_capacity(run.len());
    let mut rest = run.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'-' => letters.push(b'+'),
            b'_' => letters.push(b'/'),
            // With the `n` that follows it.
            b'\\' => drop(rest.find(|next| **next == b'n')),
            byte if byte.is_ascii_alphanumeric() || b"+/".contains(byte) => letters.push(*byte),
            _ => {}
        }
    }
    (0..4).filter_map(move |skip| {
        let letters = letters.get(skip..)?;
        let whole = letters.len() - usize::from(letters.len() % 4 == 1);
        LENIENT.decode(&letters[..whole]).ok()
    })
}

/// The beginning of a private key's DER: PKCS #8 (RFC 5958), PKCS #1 (RFC 8017) or SEC 1 (RFC 5915). Each is
/// a sequence that begins with its version; a certificate's is another sequence.
fn is_key(der: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = der else { return false };
    let more = usize::from(if length & 0x80 == 0 { 0 } else { length & 0x7f });
    if more > 4 {
        return false;
    }
    let Some([0x02, 0x01, version, then, ..]) = rest.get(more..) else { return false };
    matches!((version, then), (0 | 1, 0x30) | (0, 0x02) | (1, 0x04))
}
