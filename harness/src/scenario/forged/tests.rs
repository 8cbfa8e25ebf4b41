//! The tables hold every credential, and the documentation holds the tables.

use std::collections::BTreeSet;
use std::path::Path;

use rstest::rstest;

use super::*;
use crate::alert;
use crate::forge::{self, SOUND};

fn alerted(name: &str) -> Stated {
    Stated { alert: Some(AlertName::Name(name.into())), ..Stated::default() }
}

fn forging(table: Option<&str>, but: &[(&str, &str)]) -> Forging {
    let but = but.iter().map(|(name, alert)| ((*name).to_owned(), alerted(alert))).collect();
    let table = table.map(Into::into);
    Forging { to: String::new(), like: String::new(), send: String::new(), table, but }
}

#[test]
fn each_table_says_what_comes_of_every_credential() {
    let made: BTreeSet<_> = forge::catalogue().unwrap().keys().filter(|name| *name != SOUND).collect();
    for (name, table) in tables().unwrap() {
        assert_eq!(table.keys().collect::<BTreeSet<_>>(), made, "{name}");
    }
}

#[rstest]
#[case::the_scenarios(Some("spiffe-validator"), None, &[], Some("certificate_unknown"))]
#[case::the_stages(Some("spiffe-validator"), Some("plain-validator"), &[], Some("certificate_expired"))]
#[case::the_stages_alone(None, Some("plain-validator"), &[], Some("certificate_expired"))]
#[case::otherwise_here(Some("plain-validator"), None, &[("expired", "unknown_ca")], Some("unknown_ca"))]
#[case::missing(None, None, &[], None)]
#[case::unknown(None, Some("no-validator"), &[], None)]
fn the_nearest_word_counts(
    #[case] scenario: Option<&str>,
    #[case] stage: Option<&str>,
    #[case] but: &[(&str, &str)],
    #[case] expected: Option<&str>,
) {
    let forged = scenario.map(|table| Forged { table: table.into(), but: Table::new() });
    let forging = forging(stage, but);
    let alert = stated(forged.as_ref(), &forging).get("expired").and_then(|stated| stated.alert.clone());
    assert_eq!(alert, expected.map(|name| AlertName::Name(name.into())));
}

#[test]
fn what_a_scenario_says_otherwise_goes_with_its_table_alone() {
    let but = Table::from([("expired".to_owned(), alerted("access_denied"))]);
    let forged = Forged { table: "spiffe-validator".into(), but };
    let alert = |table| stated(Some(&forged), &forging(table, &[]))["expired"].alert.clone();
    assert_eq!(alert(None), Some(AlertName::Name("access_denied".into())));
    assert_eq!(alert(Some("plain-validator")), Some(AlertName::Name("certificate_expired".into())));
}

/// What an Envoy answers, for a reader: `46 certificate_unknown`.
fn answer(stated: &Stated) -> String {
    let Some(alert) = &stated.alert else {
        let finding = if stated.finding.is_some() { ", a finding" } else { "" };
        return format!("{}{finding}", stated.status.unwrap());
    };
    let number = alert::number(alert).unwrap();
    let name = alert::by_number(number).unwrap().name;
    // As `judge` has it: TLS 1.2 has no alert of its own for a certificate that is missing.
    let older = alert::by_number(alert::HANDSHAKE_FAILURE).unwrap();
    match number {
        alert::CERTIFICATE_REQUIRED => {
            format!("{number} {name}; in TLS 1.2 {} {}", older.number, older.name)
        }
        _ => format!("{number} {name}"),
    }
}

const BEGINS: &str = "<!-- UPDATE_DOCS=1 cargo test -p svidproof the_alert_table writes this table -->\n";
const ENDS: &str = "<!-- the end of the table -->\n";

#[test]
fn the_alert_table_in_the_documentation_is_that_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reading-a-report.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGINS).expect("where the table begins");
    let (checked_in, after) = rest.split_once(ENDS).expect("where the table ends");
    let [spiffe, plain] = ["spiffe-validator", "plain-validator"].map(|name| &tables().unwrap()[name]);
    let mut table =
        "| credential | what is wrong with it | laid down in | SPIFFE validator | plain validator |\n\
                     |---|---|---|---|---|\n"
            .to_owned();
    for (name, recipe) in forge::catalogue().unwrap().iter().filter(|(name, _)| *name != SOUND) {
        let [spiffe, plain] = [spiffe, plain].map(|table| answer(&table[name]));
        table += &format!("| `{name}` | {} | {} | {spiffe} | {plain} |\n", recipe.why, recipe.clause);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGINS}{table}{ENDS}{after}")).unwrap();
        return;
    }
    assert!(
        checked_in == table,
        "docs/reading-a-report.md is not up to date\nhint: UPDATE_DOCS=1 cargo test -p svidproof \
         the_alert_table"
    );
}
