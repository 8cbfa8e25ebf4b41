//! SVIDs out of what SPIRE's commands print: DER in base64.

use serde::Deserialize;
use serde_json::Value;
use svidproof_probe::protocol::Carried;

use super::pem;
use crate::scenario::OneOrMany;

/// The SVID with this SPIFFE ID out of what `spire-agent api fetch x509 -output json` printed.
///
/// The document has DER in base64 (SPIFFE Workload API, `X509SVID`); before SPIRE 1.15 it came wrapped in a
/// list.
pub fn carried(printed: &str, id: &str) -> Result<Carried, String> {
    let svids = fetched(printed)?;
    let held: Vec<_> = svids.iter().map(|svid| svid.spiffe_id.clone()).collect();
    let svid = svids.into_iter().find(|svid| svid.spiffe_id == id);
    let svid = svid.ok_or(format!("the workload holds no SVID {id}, but {}", held.join(", ")))?;
    let certificates = |base64: &str| {
        pem::certificates(base64).map_err(|problem| format!("the SVID {id} is not understood: {problem}"))
    };
    Ok(Carried {
        chain: certificates(&svid.x509_svid)?,
        key: pem::block("PRIVATE KEY", &svid.x509_svid_key),
        bundle: certificates(&svid.bundle)?,
    })
}

/// The SPIFFE IDs of all that it printed.
pub fn held(printed: &str) -> Result<Vec<String>, String> {
    Ok(fetched(printed)?.into_iter().map(|svid| svid.spiffe_id).collect())
}

fn fetched(printed: &str) -> Result<Vec<FetchedSvid>, String> {
    let unread = |e: serde_json::Error| format!("spire-agent's answer is not understood: {e}");
    let document: Value = serde_json::from_str(printed).map_err(unread)?;
    let document = match document {
        Value::Array(mut list) if !list.is_empty() => list.swap_remove(0),
        other => other,
    };
    serde_json::from_value(document).map(|fetched: Fetched| fetched.svids).map_err(unread)
}

/// What `x509 mint -output json` printed: DER in base64, a certificate a text or all of them in one.
pub(super) fn minted(printed: &str) -> Result<Carried, String> {
    let unread = |e: serde_json::Error| format!("the minted SVID is not understood: {e}");
    let document: Value = serde_json::from_str(printed).map_err(unread)?;
    let document = match document {
        Value::Array(mut list) if !list.is_empty() => list.swap_remove(0),
        other => other,
    };
    let minted: Minted = serde_json::from_value(document).map_err(unread)?;
    let certificates = |texts: &OneOrMany| texts.iter().map(pem::certificates).collect::<Result<String, _>>();
    Ok(Carried {
        chain: certificates(&minted.x509_svid)?,
        key: pem::block("PRIVATE KEY", &minted.private_key),
        bundle: certificates(&minted.root_cas)?,
    })
}

#[derive(Deserialize)]
struct Minted {
    x509_svid: OneOrMany,
    private_key: String,
    root_cas: OneOrMany,
}

#[derive(Deserialize)]
struct Fetched {
    svids: Vec<FetchedSvid>,
}

#[derive(Deserialize)]
struct FetchedSvid {
    spiffe_id: String,
    x509_svid: String,
    x509_svid_key: String,
    bundle: String,
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    /// A certificate, as SPIRE's commands print it: DER in base64.
    fn der(name: &str) -> String {
        STANDARD.encode(rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.der())
    }

    fn fetched() -> Value {
        let svid = |id: &str| {
            let (leaf, ca) = (der("leaf"), der("ca"));
            json!({ "spiffe_id": id, "x509_svid": leaf, "x509_svid_key": "a2V5", "bundle": ca })
        };
        json!({ "svids": [svid("spiffe://example.org/other"), svid("spiffe://example.org/web")] })
    }

    fn is_whole(carried: &Carried) -> bool {
        let one = |text: &str| text.matches("BEGIN CERTIFICATE").count() == 1;
        one(&carried.chain) && one(&carried.bundle) && carried.key.contains("BEGIN PRIVATE KEY-----\na2V5\n")
    }

    #[test]
    fn an_svid_is_read_as_either_form_prints_it() {
        for printed in [fetched(), json!([fetched()])] {
            let svid = carried(&printed.to_string(), "spiffe://example.org/web").unwrap();
            assert!(is_whole(&svid), "{printed}");
        }
    }

    #[test]
    fn what_is_no_such_svid_says_why() {
        let mut broken = fetched();
        broken["svids"][1]["x509_svid"] = "AAAA".into();
        for (printed, expected) in [
            (json!({ "svids": [] }).to_string(), "the workload holds no SVID spiffe://example.org/web, but "),
            (json!([]).to_string(), "spire-agent's answer is not understood: "),
            (json!({}).to_string(), "spire-agent's answer is not understood: missing field `svids`"),
            ("no identity issued".into(), "spire-agent's answer is not understood: expected "),
            (broken.to_string(), "the SVID spiffe://example.org/web is not understood: "),
        ] {
            let told = carried(&printed, "spiffe://example.org/web").unwrap_err();
            assert!(told.starts_with(expected), "{printed}: {told}");
        }
        let told = carried(&fetched().to_string(), "spiffe://example.org/none").unwrap_err();
        assert!(told.ends_with("but spiffe://example.org/other, spiffe://example.org/web"), "{told}");
    }

    #[test]
    fn a_minted_svid_is_read_as_each_form_prints_it() {
        let form =
            |leaf: Value, cas: Value| json!({ "x509_svid": leaf, "private_key": "a2V5", "root_cas": cas });
        let texts = form(der("leaf").into(), der("ca").into());
        let lists = form(json!([der("leaf")]), json!([der("ca")]));
        for printed in [&texts, &lists, &json!([lists])] {
            assert!(is_whole(&minted(&printed.to_string()).unwrap()), "{printed}");
        }
        for (printed, expected) in [
            (
                json!({ "x509_svid": der("leaf") }).to_string(),
                "the minted SVID is not understood: missing field",
            ),
            (form("%".into(), der("ca").into()).to_string(), "Invalid "),
            (String::new(), "the minted SVID is not understood: EOF"),
        ] {
            let told = minted(&printed).unwrap_err();
            assert!(told.starts_with(expected), "{printed}: {told}");
        }
    }
}
