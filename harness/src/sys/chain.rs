//! An error and all that is behind it, as one text: for a report or another message. No error of this crate has
//! its source in its own text, so that none is told twice.

use std::error::Error;

/// The error, then each source after a colon; all hints at the end. What was told already is not told again
/// (errors of other crates do have their source in their text).
pub fn chain(error: &dyn Error) -> String {
    let (mut told, mut hints) = (String::new(), String::new());
    let mut next = Some(error);
    while let Some(link) = next {
        let text = link.to_string();
        let (said, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
        if told.is_empty() {
            told = said.to_owned();
        } else if !told.contains(said) {
            told = format!("{told}: {said}");
        }
        if !hint.is_empty() && !hints.contains(hint) {
            hints = format!("{hints}\nhint: {hint}");
        }
        next = link.source();
    }
    told + &hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Link {
        said: &'static str,
        #[source]
        behind: Option<Box<Link>>,
    }

    fn told(links: &[&'static str]) -> String {
        let whole = links.iter().rev().fold(None, |behind, said| Some(Box::new(Link { said, behind })));
        chain(&*whole.unwrap())
    }

    #[test]
    fn each_link_is_told_once_and_hints_come_last() {
        for (links, expected) in [
            (&["a"] as &[_], "a"),
            (&["a", "b", "c"], "a: b: c"),
            (&["no one: two", "two", "six"], "no one: two: six"),
            (&["a\nhint: do x", "b; its last lines:\n  y", "c"], "a: b; its last lines:\n  y: c\nhint: do x"),
            (&["a\nhint: do x", "b\nhint: do y\nor z"], "a: b\nhint: do x\nhint: do y\nor z"),
            (&["a\nhint: do x", "b\nhint: do x"], "a: b\nhint: do x"),
        ] {
            assert_eq!(told(links), expected, "{links:?}");
        }
    }
}
