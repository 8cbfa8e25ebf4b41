//! Findings for code scanning: SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format"). A result
//! is a cell that failed, errored or is flaky, or one that passed and yet surprises; it stands at its check's
//! line.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::problems::{Kind, problems_of};
use super::{Report, Row};

/// GitHub takes no more of one run (GitHub's documentation, "SARIF support for code scanning"). The worst are
/// kept.
const MOST: usize = 25_000;
/// Which parts of a result make its fingerprint, and how: another number for another way.
const FINGERPRINT: &str = "svidproofCell/v1";

/// The file's text, indented, with a newline at the end.
pub fn text(report: &Report) -> String {
    let mut found: Vec<_> =
        report.checks.iter().flat_map(|row| problems_of(row).map(move |one| (row, one))).collect();
    // Stable: within one kind, the order stays.
    found.sort_by_key(|(_, (kind, _))| *kind);
    let left_out = found.len().saturating_sub(MOST);
    let results: Vec<_> =
        found.into_iter().take(MOST).map(|(row, (kind, why))| result(row, kind, why)).collect();
    let cut = (left_out > 0).then(|| format!("{left_out} results are left out"));
    let errors =
        report.errors.iter().chain(&cut).map(|error| json!({"level": "error", "message": {"text": error}}));
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "svidproof",
                "semanticVersion": report.svidproof,
                "rules": Kind::ALL.map(rule),
            }},
            "automationDetails": {"id": format!("svidproof/{}", report.run)},
            "invocations": [{
                "executionSuccessful": report.errors.is_empty(),
                "toolExecutionNotifications": errors.collect::<Vec<_>>(),
            }],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    // A JSON value can be written.
    serde_json::to_string_pretty(&log).unwrap_or_default() + "\n"
}

fn rule(kind: Kind) -> Value {
    let (name, short) = match kind {
        Kind::Failed => ("CheckFailed", "An answer or a refusal came, and it is not the expected one."),
        Kind::Errored => ("CheckErrored", "It could not be judged who may talk to whom."),
        Kind::Flaky => ("CheckFlaky", "It could not be judged in one of two tries."),
        Kind::Finding => ("Finding", "It is as expected, and not as it should be."),
    };
    json!({
        "id": kind.word(),
        "name": name,
        "shortDescription": {"text": short},
        "defaultConfiguration": {"level": level(kind)},
        "properties": {"tags": ["security"]},
    })
}

fn level(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed | Kind::Errored => "error",
        Kind::Flaky => "warning",
        Kind::Finding => "note",
    }
}

fn result(row: &Row, kind: Kind, why: &str) -> Value {
    let Row { scenario, stage, check, client, to, request, source, .. } = row;
    let text = format!("{check} ({scenario} · {stage}): {why}\n{client} -> {to}: {request}");
    let mut place = json!({"artifactLocation": {"uri": uri(&source.file.to_string_lossy())}});
    if source.line > 0 {
        place["region"] = json!({"startLine": source.line, "startColumn": source.column});
    }
    json!({
        "ruleId": kind.word(),
        "ruleIndex": Kind::ALL.iter().position(|one| *one == kind),
        "level": level(kind),
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {
            FINGERPRINT: fingerprint([kind.word(), scenario, stage, check, client, to, request]),
        },
    })
}

/// The same cell has the same one in each run, wherever it is moved to in its file.
fn fingerprint(parts: [&str; 7]) -> String {
    let digest = parts.iter().fold(Sha256::new(), |sum, part| sum.chain_update(part).chain_update([0]));
    hex::encode(&digest.finalize()[..16])
}

/// A path as a relative reference: what is no unreserved character nor a slash is percent-encoded (RFC 3986,
/// section 2.3).
fn uri(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
