//! Regular expressions of policies (`envoy.type.matcher.v3.RegexMatcher`: RE2, held against the whole text).
//! What RE2 knows and this does not is no expression here, and stays unread.

use regex::Regex;
use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

/// Whether the expression matches the whole text; `None` where it cannot be read.
pub(super) fn matches(expression: &str, text: &str) -> Option<bool> {
    let whole = Regex::new(&format!("^(?:{expression})$")).ok()?;
    // A line's end before the text's own is none of RE2's `$`.
    Some(!text.contains('\n') && whole.is_match(text))
}

/// A short text that it matches, made of letters and digits where it leaves that open; `None` where none was
/// found.
pub(super) fn sample(expression: &str) -> Option<String> {
    let hir = regex_syntax::parse(expression).ok()?;
    let text = one_of(&hir, false)?;
    matches(expression, &text)?.then_some(text)
}

/// Whoever writes a dot alone mostly means one (`a.org`); in a repetition it stands for anything.
fn one_of(hir: &Hir, repeated: bool) -> Option<String> {
    match hir.kind() {
        // What an assertion asks for, the whole sample is held against.
        HirKind::Empty | HirKind::Look(_) => Some(String::new()),
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        HirKind::Class(Class::Unicode(class)) => {
            let holds =
                |wanted: char| class.iter().any(|range| (range.start()..=range.end()).contains(&wanted));
            let first = || class.iter().map(ClassUnicodeRange::start).find(char::is_ascii_graphic);
            let dot = Some('.').filter(|dot| !repeated && holds(*dot));
            dot.into_iter().chain(['x', 'X', '1']).find(|one| holds(*one)).or_else(first).map(String::from)
        }
        HirKind::Class(Class::Bytes(_)) => None,
        // Once where that may be: `.*` after a slash is a segment that is not empty.
        HirKind::Repetition(part) => {
            let times = part.min.max(u32::from(part.max != Some(0)));
            Some(one_of(&part.sub, true)?.repeat(usize::try_from(times.min(64)).ok()?))
        }
        HirKind::Capture(capture) => one_of(&capture.sub, repeated),
        HirKind::Concat(parts) => parts.iter().map(|part| one_of(part, repeated)).collect(),
        HirKind::Alternation(ways) => ways.iter().find_map(|way| one_of(way, repeated)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::whole("/api", "/api", Some(true))]
    #[case::no_part("/api", "/api/v1", Some(false))]
    #[case::alternatives_as_a_whole("/a|/b", "/b/c", Some(false))]
    #[case::anchored("^/api$", "/api", Some(true))]
    #[case::a_line("/api", "/api\n", Some(false))]
    #[case::what_only_re2_reads(r"\Q/api\E", "/api", None)]
    fn an_expression_is_held_against_the_whole_text(
        #[case] expression: &str,
        #[case] text: &str,
        #[case] expected: Option<bool>,
    ) {
        assert_eq!(matches(expression, text), expected);
    }

    #[rstest]
    #[case::literal("/api", Some("/api"))]
    #[case::anything("spiffe://a.org/ns/web/.*", Some("spiffe://a.org/ns/web/x"))]
    #[case::digits("/api/v[0-9]+/.*", Some("/api/v1/x"))]
    #[case::often("/[a-z]{3}", Some("/xxx"))]
    #[case::alternatives("/(orders|carts)/?", Some("/orders/"))]
    #[case::other_characters("/[$%]", Some("/$"))]
    #[case::a_dot_that_is_meant("a.org", Some("a.org"))]
    #[case::anchored("^/api$", Some("/api"))]
    #[case::without_a_match("a$b", None)]
    #[case::unread("(", None)]
    fn a_sample_is_one_that_matches(#[case] expression: &str, #[case] expected: Option<&str>) {
        assert_eq!(sample(expression).as_deref(), expected);
    }
}
