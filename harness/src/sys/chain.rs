//! An error and all that is behind it, as one text: for a person, a report or another message. No error of
//! this crate has its source in its own text, so that none is told twice.

use std::error::Error;

/// What the error says, then `: ` and what each of its sources says, then their hints (lines that begin with
/// `hint: ` end a text). What was said already is not said again: an error of another crate may have its
/// source in its own text.
pub fn chain(error: &dyn Error) -> String {
    let (mut said, mut hints) = (String::new(), String::new());
    let mut next = Some(error);
    while let Some(link) = next {
        next = link.source();
        let text = link.to_string();
        let (what, hint) = text.split_at(text.find("\nhint: ").unwrap_or(text.len()));
        if said.is_empty() {
            said.push_str(what);
        } else if !said.contains(what.trim()) {
            said.push_str(": ");
            said.push_str(what.trim());
        }
        if !hints.contains(hint.trim_end()) {
            hints.push_str(hint);
        }
    }
    said + &hints
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Link {
        said: &'static str,
        #[source]
        behind: Option<Box<Link>>,
    }

    #[rstest]
    #[case::one(&["no room"], "no room")]
    #[case::a_chain(&["not installed", "not written", "no room"], "not installed: not written: no room")]
    #[case::a_source_in_its_own_text(&["not written: no room", "no room"], "not written: no room")]
    #[case::one_that_only_forwards(&["no room", "no room"], "no room")]
    #[case::one_that_says_the_whole_chain(&["a: b: c", "b: c", "c"], "a: b: c")]
    #[case::a_source_that_says_nothing(&["no answer", ""], "no answer")]
    #[case::a_hint_comes_last(&["a\nhint: one", "b"], "a: b\nhint: one")]
    #[case::hints_in_order(&["a\nhint: one", "b\nhint: two"], "a: b\nhint: one\nhint: two")]
    #[case::a_hint_once(&["a: b\nhint: two", "b\nhint: two"], "a: b\nhint: two")]
    #[case::a_hint_of_lines(&["a\nhint: there are\n  x\n  y", "b"], "a: b\nhint: there are\n  x\n  y")]
    #[case::last_lines_of_a_tool(&["a\nhint: log", "last lines:\n  x\n"], "a: last lines:\n  x\nhint: log")]
    fn each_link_is_told_once_and_hints_come_last(#[case] links: &[&'static str], #[case] expected: &str) {
        let whole = links.iter().rev().fold(None, |behind, said| Some(Box::new(Link { said, behind })));
        assert_eq!(chain(&*whole.unwrap()), expected);
    }
}
