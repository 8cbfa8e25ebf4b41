//! Whatever a file holds: it is read, or each of its mistakes is told at its place.

use proptest::prelude::*;

use super::*;
use crate::sys::mutated::mutated;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn what_is_almost_right_is_read_or_told_at_its_place(text in mutated(RIGHT.into())) {
        let told = mistakes(&text);
        prop_assert!(told.is_empty() || told.starts_with("x.yaml:"), "{told}");
    }

    #[test]
    fn anything_is_read_or_told_at_its_place(text in any::<String>()) {
        prop_assert!(mistakes(&text).starts_with("x.yaml:"));
    }
}

#[rstest]
#[case::lists("[".repeat(100_000))]
#[case::maps("{a: ".repeat(100_000))]
#[case::blocks((0..3000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect())]
#[case::aliases(format!("a0: &a0 [x, x]\n{}", (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect::<String>()))]
#[case::one_long_line(format!("scenario: {}", "x".repeat(4 << 20)))]
fn what_is_deep_or_long_is_told_in_bounded_time(#[case] text: String) {
    let begun = std::time::Instant::now();
    let told = mistakes(&text);
    assert!(told.starts_with("x.yaml:") && told.len() < 10_000, "{told:.300}");
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
