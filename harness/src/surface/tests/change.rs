//! Two surfaces side by side: each kind of change in words, and their order.

use super::*;
use crate::sys::terminal::Reader;

#[rstest]
#[case(
    "alert 46 certificate_unknown",
    "200 json 0123456789ab",
    Danger::Opened,
    "frontend-2 can now GET /x at backend"
)]
#[case("403 RBAC: access denied", "204 no body", Danger::Opened, "frontend-2 can now GET /x at backend")]
#[case(
    "404 text 000000000000",
    "200 text 000000000000",
    Danger::Opened,
    "frontend-2 can now GET /x at backend"
)]
#[case("connection refused", "200 no body", Danger::Opened, "frontend-2 can now GET /x at backend")]
#[case("server turned down", "200 no body", Danger::Opened, "frontend-2 can now GET /x at backend")]
#[case("503 by Envoy", "301 by Envoy", Danger::Opened, "frontend-2 can now GET /x at backend")]
#[case(
    "403 RBAC: access denied",
    "405 no body",
    Danger::Opened,
    "frontend-2 now gets through to backend with GET /x: 405 no body"
)]
#[case(
    "403 RBAC: access denied",
    "403 text 000000000000",
    Danger::Opened,
    "frontend-2 now gets through to backend with GET /x: 403 text 000000000000"
)]
#[case(
    "403 RBAC: access denied",
    "403 RBAC: access denied text 000000000000",
    Danger::Opened,
    "frontend-2 now gets through to backend with GET /x: 403 RBAC: access denied text 000000000000"
)]
#[case(
    "200 grpc-status 7",
    "200 grpc-status 5 no body",
    Danger::Opened,
    "frontend-2 now gets through to backend with GET /x: 200 grpc-status 5 no body"
)]
#[case(
    "200 grpc-status 5 no body",
    "200 text 000000000000",
    Danger::Opened,
    "frontend-2 can now GET /x at backend"
)]
#[case(
    "401 by Envoy",
    "200 grpc-status 7",
    Danger::Changed,
    "frontend-2 is refused otherwise at backend for GET /x: 200 grpc-status 7"
)]
#[case(
    "alert 116 certificate_required",
    "404 no body",
    Danger::Opened,
    "frontend-2 now gets through to backend with GET /x: 404 no body"
)]
#[case(
    "200 no body",
    "server turned down",
    Danger::Weakened,
    "backend no longer proves its identity to frontend-2 for GET /x"
)]
#[case(
    "alert 46 certificate_unknown",
    "server turned down",
    Danger::Weakened,
    "backend no longer proves its identity to frontend-2 for GET /x"
)]
#[case(
    "alert 46 certificate_unknown",
    "403 RBAC: access denied",
    Danger::Weakened,
    "frontend-2 is refused later at backend for GET /x: 403 RBAC: access denied"
)]
#[case(
    "alert 46 certificate_unknown",
    "503 by Envoy",
    Danger::Weakened,
    "frontend-2 is refused later at backend for GET /x: 503 by Envoy"
)]
#[case(
    "alert 46 certificate_unknown",
    "timed out",
    Danger::Weakened,
    "frontend-2 is no longer shown to be refused at backend for GET /x: timed out"
)]
#[case(
    "403 by Envoy",
    "not observed",
    Danger::Weakened,
    "frontend-2 is no longer shown to be refused at backend for GET /x: not observed"
)]
#[case(
    "timed out",
    "server turned down",
    Danger::Changed,
    "frontend-2 still gets nowhere at backend with GET /x: server turned down"
)]
#[case(
    "200 text a",
    "200 text b",
    Danger::Answered,
    "frontend-2 gets another answer to GET /x at backend: 200 text b"
)]
#[case(
    "200 text a",
    "302 text a",
    Danger::Answered,
    "frontend-2 gets another answer to GET /x at backend: 302 text a"
)]
#[case(
    "404 text a",
    "405 text a",
    Danger::Answered,
    "frontend-2 gets another answer to GET /x at backend: 405 text a"
)]
#[case(
    "alert 46 certificate_unknown",
    "alert 48 unknown_ca",
    Danger::Changed,
    "frontend-2 is refused otherwise at backend for GET /x: alert 48 unknown_ca"
)]
#[case(
    "403 RBAC: access denied",
    "400 by Envoy",
    Danger::Changed,
    "frontend-2 is refused otherwise at backend for GET /x: 400 by Envoy"
)]
#[case(
    "timed out",
    "connection refused",
    Danger::Changed,
    "frontend-2 still gets nowhere at backend with GET /x: connection refused"
)]
#[case(
    "200 no body",
    "alert 45 certificate_expired",
    Danger::Closed,
    "frontend-2 can no longer GET /x at backend: alert 45 certificate_expired"
)]
#[case(
    "200 no body",
    "404 no body",
    Danger::Closed,
    "frontend-2 can no longer GET /x at backend: 404 no body"
)]
#[case("200 no body", "timed out", Danger::Closed, "frontend-2 can no longer GET /x at backend: timed out")]
#[case(
    "405 no body",
    "403 RBAC: access denied",
    Danger::Closed,
    "frontend-2 no longer gets through to backend with GET /x: 403 RBAC: access denied"
)]
#[case(
    "timed out",
    "alert 46 certificate_unknown",
    Danger::Closed,
    "frontend-2 is now refused at backend for GET /x: alert 46 certificate_unknown"
)]
#[case(
    "403 RBAC: access denied",
    "alert 46 certificate_unknown",
    Danger::Closed,
    "frontend-2 is refused earlier at backend for GET /x: alert 46 certificate_unknown"
)]
fn a_change_in_words(#[case] old: &str, #[case] new: &str, #[case] danger: Danger, #[case] words: &str) {
    let of = |outcome| [written("one", &[("backend frontend-2 GET /x", outcome)])];
    let change = Change {
        danger,
        scenario: "symbank".into(),
        stage: "one".into(),
        words: format!("{words} (was: {old})"),
    };
    assert_eq!(diff(&of(old), &of(new)), [change]);
}

#[test]
fn the_most_dangerous_comes_first() {
    let san = "alert 46 certificate_unknown";
    let old = [
        written("gone", &[("backend nobody GET /", san)]),
        written(
            "only-frontend",
            &[
                ("backend frontend GET /balances/balance_1", "200 json 0123456789ab"),
                ("backend frontend GET /profiles/profile_1", "200 json 0123456789ab"),
                ("backend frontend GET /transactions/transaction_1", "200 json 0123456789ab"),
                ("backend frontend-2 GET /balances/balance_1", san),
                ("backend frontend-2 GET /profiles/profile_1", san),
                ("backend nobody GET /balances/balance_1", "alert 116 certificate_required"),
                ("page nobody GET /", "200 text 0123456789ab"),
            ],
        ),
        written("profiles-only", &[("backend frontend POST /profiles", "403 RBAC: access denied")]),
    ];
    let new = [
        written("both-frontends", &[("backend nobody GET /", san), ("backend stranger GET /", san)]),
        written(
            "only-frontend",
            &[
                ("backend frontend GET /balances/balance_1", "403 RBAC: access denied"),
                ("backend frontend GET /profiles/profile_1", "200 json ba9876543210"),
                ("backend frontend GET /transactions/transaction_1", "200 json 0123456789ab"),
                ("backend frontend-2 GET /balances/balance_1", "200 json 0123456789ab"),
                ("backend frontend-2 GET /profiles/profile_1", "200 json 0123456789ab"),
                ("backend nobody GET /balances/balance_1", "403 RBAC: access denied"),
                ("page stranger GET /", "200 text 0123456789ab"),
            ],
        ),
        written("profiles-only", &[("backend frontend POST /profiles", "405 no body")]),
    ];
    let changes = diff(&old, &new);
    assert!(worse(&changes));
    insta::assert_snapshot!(change_list(&changes, Reader::default()), @r##"
    opened up: 3
      symbank · only-frontend
        frontend-2 can now GET /balances/balance_1 at backend (was: alert 46 certificate_unknown)
        frontend-2 can now GET /profiles/profile_1 at backend (was: alert 46 certificate_unknown)
      symbank · profiles-only
        frontend now gets through to backend with POST /profiles: 405 no body (was: 403 RBAC: access denied)

    weakened: 1
      symbank · only-frontend
        nobody is refused later at backend for GET /balances/balance_1: 403 RBAC: access denied (was: alert 116 certificate_required)

    answered otherwise: 1
      symbank · only-frontend
        frontend gets another answer to GET /profiles/profile_1 at backend: 200 json ba9876543210 (was: 200 json 0123456789ab)

    closed: 1
      symbank · only-frontend
        frontend can no longer GET /balances/balance_1 at backend: 403 RBAC: access denied (was: 200 json 0123456789ab)

    new: 2
      symbank · both-frontends
        the stage is new, with 2 cells
      symbank · only-frontend
        stranger: GET / at page is new: 200 text 0123456789ab

    gone: 2
      symbank · gone
        the stage is gone, with 1 cell
      symbank · only-frontend
        nobody: GET / at page is not tried any more (was: 200 text 0123456789ab)
    "##);
    assert!(!worse(&diff(&new, &new)));
    assert_eq!(change_list(&[], Reader::default()), "nothing changed\n");
}
