//! Which release the values of a stage or of a fault are for. What is in them is the chart's to say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Found;
use super::install::plain_in;
use crate::scenario::mistake::instead;
use crate::scenario::place::{Node, Place};
use crate::scenario::{Origin, Release, Scenario};

/// Each key must lead to one release, by its name, or by `namespace/name` where two have that name.
pub(super) fn values(scenario: &Scenario, values: &BTreeMap<String, Value>, place: &Node, found: &mut Found) {
    for (key, value) in values {
        let Some(one) = release(scenario, key, place.key(key), found) else { continue };
        let name = one.full_name();
        found.check(*key == name || !values.contains_key(&name), place.key(key), || {
            format!("the release `{key}` stands here twice, also as `{name}`: write one of them")
        });
        if one.origin() == Origin::Plain {
            plain_in(scenario, one, value, place.at(key).place(), found);
        }
    }
}

/// The one release that is called so.
pub(super) fn release<'a>(
    scenario: &'a Scenario,
    key: &str,
    place: Place,
    found: &mut Found,
) -> Option<&'a Release> {
    let all = || scenario.install.iter().flatten();
    let meant: Vec<_> = all().filter(|release| release.is_called(key)).collect();
    match meant.as_slice() {
        [] => {
            let known: Vec<_> = all().map(|release| called(scenario, release, key)).collect();
            let right = instead(key, known.iter().map(String::as_str));
            found.add(place, format!("release `{key}` is not defined{right}"));
            None
        }
        [one] => Some(one),
        several => {
            let several: Vec<_> = several.iter().map(|release| release.full_name()).collect();
            let several = several.join("`, `");
            found.add(place, format!("more than one release is called `{key}`: expected one of `{several}`"));
            None
        }
    }
}

/// What a user would write for the release in the place of `wrong`.
fn called(scenario: &Scenario, release: &Release, wrong: &str) -> String {
    let same = scenario.install.iter().flatten().filter(|other| other.name == release.name).count();
    if same > 1 || wrong.contains('/') { release.full_name() } else { release.name.clone() }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const INSTALL: &str = "\
scenario: web
trust-domain: example.org
spire: {namespace: spire, server: s, socket-dir: /run}
install:
  - - {release: web, chart: c, namespace: blue}
    - {release: web, chart: c, namespace: green}
    - {release: api, chart: c, namespace: green}
registration: []
endpoints: {}
clients: {}
stages: []
";

    #[rstest]
    #[case::one_of_its_name("{api: {}}", "")]
    #[case::in_full("{green/api: {}, blue/web: {}, green/web: {}}", "")]
    #[case::ambiguous(
        "{web: {}}",
        "1:2: more than one release is called `web`: expected one of `blue/web`, `green/web`"
    )]
    #[case::both(
        "{api: {}, green/api: {}}",
        "1:2: the release `api` stands here twice, also as `green/api`: write one of them"
    )]
    #[case::a_slip("{apu: {}}", "1:2: release `apu` is not defined: did you mean `api`?")]
    #[case::another_namespace(
        "{blue/api: {}}",
        "1:2: release `blue/api` is not defined: expected one of `blue/web`, `green/web`, `green/api`"
    )]
    #[case::what_is_ambiguous_is_named_in_full(
        "{x: {}}",
        "1:2: release `x` is not defined: expected one of `blue/web`, `green/web`, `api`"
    )]
    fn a_key_leads_to_one_release(#[case] text: &str, #[case] expected: &str) {
        let scenario: Scenario = serde_saphyr::from_str(INSTALL).unwrap();
        let mut found = Found::default();
        let (keys, place) = (serde_saphyr::from_str(text).unwrap(), serde_saphyr::from_str(text).unwrap());
        values(&scenario, &keys, &place, &mut found);
        let told: Vec<_> =
            found.0.iter().map(|(at, what)| format!("{}:{}: {what}", at.line, at.column)).collect();
        assert_eq!(told.join("\n"), expected);
    }
}
