//! Text of others on its way to a terminal: what a terminal would act on is shown instead.

use std::borrow::Cow;

/// The same with each control character (C0 but for the end of a line and the tabulator, DEL, C1: ECMA-48)
/// and each one that turns the direction of what follows (Unicode Standard Annex #9) as its escape:
/// `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_acted_on) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for one in text.chars() {
        if is_acted_on(one) { shown.extend(one.escape_unicode()) } else { shown.push(one) }
    }
    Cow::Owned(shown)
}

/// For a place that has one line: the ends of lines are shown too.
pub fn in_a_line(text: &str) -> String {
    printable(text).replace('\n', "\\n").replace('\t', "\\t")
}

fn is_acted_on(one: char) -> bool {
    let turns = match one {
        '\u{61c}' | '\u{200e}' | '\u{200f}' => true,
        one => ('\u{202a}'..='\u{202e}').contains(&one) || ('\u{2066}'..='\u{2069}').contains(&one),
    };
    turns || (one.is_control() && one != '\n' && one != '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("RBAC: access denied · ü\n\tx", "RBAC: access denied · ü\n\tx")]
    #[case::colour("\u{1b}[31mred", "\\u{1b}[31mred")]
    #[case::title("\u{1b}]0;owned\u{7}", "\\u{1b}]0;owned\\u{7}")]
    #[case::c1("\u{9b}2J\u{85}", "\\u{9b}2J\\u{85}")]
    #[case::back("passed\rfailed\u{8}\u{7f}", "passed\\u{d}failed\\u{8}\\u{7f}")]
    #[case::turned("a\u{202e}deniaf\u{2069}", "a\\u{202e}deniaf\\u{2069}")]
    fn what_a_terminal_acts_on_is_shown(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(printable(text), shown);
    }

    #[test]
    fn in_a_line_there_is_one_line() {
        assert_eq!(in_a_line("a\nb\u{1b}\tc"), "a\\nb\\u{1b}\\tc");
    }

    proptest! {
        #[test]
        fn nothing_raw_gets_through(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(is_acted_on));
            prop_assert_eq!(printable(&shown), &*shown);
        }
    }
}
