//! Texts that are almost right, for readers that must take whatever comes: an answer or an error, no panic.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What means something in YAML or JSON, or is no text that anybody expects.
const PIECES: [&str; 26] = [
    "{",
    "}",
    "[",
    "]",
    ": ",
    ", ",
    "\n",
    "\n  ",
    "- ",
    "null",
    "~",
    "true",
    "-1",
    "99999999999999999999",
    "1e999",
    "\"",
    "'",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "|",
    "---\n",
    "\u{0}",
    "\u{1b}[2J",
    "ü\u{202e}",
];

#[derive(Debug, Clone)]
enum Change {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Again(Index, Index, usize),
}

/// The text with up to six changes in it.
pub(crate) fn mutated(text: String) -> impl Strategy<Value = String> {
    let change = prop_oneof![
        (any::<Index>(), select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), any::<Index>(), 1..40_usize)
            .prop_map(|(from, to, length)| Change::Again(from, to, length)),
    ];
    proptest::collection::vec(change, 1..6).prop_map(move |changes| {
        changes.iter().fold(text.chars().collect::<Vec<_>>(), apply).into_iter().collect()
    })
}

fn apply(mut text: Vec<char>, change: &Change) -> Vec<char> {
    let within = |at: Index, text: &[char]| at.index(text.len() + 1);
    let end = |at: usize, length: usize, text: &[char]| (at + length).min(text.len());
    match *change {
        Change::Insert(at, piece) => {
            let at = within(at, &text);
            text.splice(at..at, piece.chars());
        }
        Change::Remove(at, length) => {
            let at = within(at, &text);
            text.drain(at..end(at, length, &text));
        }
        Change::Again(from, to, length) => {
            let from = within(from, &text);
            let part = text[from..end(from, length, &text)].to_vec();
            let to = within(to, &text);
            text.splice(to..to, part);
        }
    }
    text
}
