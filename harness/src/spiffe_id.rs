//! SPIFFE IDs as text: put together and taken apart here alone. Not for whether one is well-formed: that is
//! the scenario's `validate`.

/// The SPIFFE ID of a path (`/ns/shop/sa/till`, or empty for the trust domain itself) in a trust domain
/// (SPIFFE ID standard, section 2).
pub fn spiffe_id(trust_domain: &str, path: &str) -> String {
    format!("spiffe://{trust_domain}{path}")
}

/// Trust domain and path of a SPIFFE ID; `None` for a text that is none, or has no path.
pub fn split(id: &str) -> Option<(&str, &str)> {
    let rest = id.strip_prefix("spiffe://")?;
    let slash = rest.find('/')?;
    Some(rest.split_at(slash))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::ok("spiffe://example.org/ns/a", Some(("example.org", "/ns/a")))]
    #[case::without_a_path("spiffe://example.org", None)]
    #[case::another_scheme("https://example.org/ns/a", None)]
    #[case::missing("", None)]
    fn an_id_is_taken_apart(#[case] id: &str, #[case] parts: Option<(&str, &str)>) {
        assert_eq!(split(id), parts);
    }

    #[test]
    fn what_is_put_together_comes_apart_again() {
        assert_eq!(split(&spiffe_id("example.org", "/ns/a")), Some(("example.org", "/ns/a")));
        assert_eq!(spiffe_id("example.org", ""), "spiffe://example.org");
    }
}
