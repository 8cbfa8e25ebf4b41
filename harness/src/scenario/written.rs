//! Targets that are written out: `{x*8192}` in one stands for that many `x`.

/// The most bytes that a target may come to: beyond what any server takes, and no burden to send.
pub(super) const LONGEST: usize = 1 << 20;

/// Before, what is repeated, how often, after.
fn parts(target: &str) -> Option<(&str, &str, u64, &str)> {
    let (before, rest) = target.split_once('{')?;
    let (token, after) = rest.split_once('}')?;
    let (text, times) = token.split_once('*')?;
    if times.is_empty() || !times.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // More than a number holds is more than can be sent.
    Some((before, text, times.parse().unwrap_or(u64::MAX), after))
}

/// How many bytes the target comes to; `None` where no number holds them.
pub(super) fn length(target: &str) -> Option<usize> {
    let Some((before, text, times, after)) = parts(target) else { return Some(target.len()) };
    let repeated = text.len().checked_mul(usize::try_from(times).ok()?)?;
    repeated.checked_add(before.len())?.checked_add(after.len())
}

/// A target as it goes out. One that would come to more than 1 MiB stays as it is: no scenario with one is
/// accepted.
pub fn written_out(target: &str) -> String {
    match (parts(target), length(target)) {
        (Some((before, text, times, after)), Some(..=LONGEST)) => {
            format!("{before}{}{after}", text.repeat(usize::try_from(times).unwrap_or_default()))
        }
        _ => target.into(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::in_the_middle("/a/{x*3}/b", "/a/xxx/b")]
    #[case::at_the_end("/a/{xy*2}", "/a/xyxy")]
    #[case::none("/a/{x*0}", "/a/")]
    #[case::plain("/a", "/a")]
    #[case::no_number("/{a}", "/{a}")]
    #[case::a_letter("/{a*b}", "/{a*b}")]
    #[case::not_opened("/a*3}", "/a*3}")]
    #[case::too_many("/{x*1000000000000000000}", "/{x*1000000000000000000}")]
    #[case::more_than_a_number_holds("/{x*100000000000000000000}", "/{x*100000000000000000000}")]
    fn a_target_is_written_out(#[case] target: &str, #[case] expected: &str) {
        assert_eq!(written_out(target), expected);
    }

    #[rstest]
    #[case("/a", Some(2))]
    #[case("/{x*1048575}", Some(LONGEST))]
    #[case("/{x*1048576}", Some(LONGEST + 1))]
    #[case("/{xy*18446744073709551615}", None)]
    fn its_length_is_known_before(#[case] target: &str, #[case] expected: Option<usize>) {
        assert_eq!(length(target), expected);
        assert_eq!(written_out("/{x*1048575}").len(), LONGEST);
    }
}
