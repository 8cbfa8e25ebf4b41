//! A bring-up that fails on a real cluster, with a canary in each place where people leave secrets: what is
//! gathered of it has the evidence, and none of them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use conformance::{copy, said};
use serde_json::Value;

struct World {
    dir: tempfile::TempDir,
    /// What must not be found, by the place where it was put.
    canaries: BTreeMap<String, String>,
}

impl World {
    /// The repository, with the canaries in it.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("bundle/repository"), dir.path());
        let places = [
            "log",
            "secret",
            "map-key",
            "map-text",
            "userinfo",
            "sds",
            "lua",
            "header",
            "variable",
            "variable-key",
            "join-token",
            "values",
        ];
        let mut canaries: BTreeMap<_, _> = places
            .iter()
            .map(|place| ((*place).to_owned(), format!("canary-{place}-{:08x}", std::process::id())))
            .collect();
        let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let jwt = format!(
            "{}.{}.{}",
            part(r#"{"alg":"ES256"}"#),
            part(r#"{"sub":"canary"}"#),
            part("canary-signature")
        );
        canaries.insert("jwt".into(), jwt);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["a.test".into()]).unwrap().self_signed(&key).unwrap();
        let pem = key.serialize_pem();
        let mut texts = canaries.clone();
        texts.insert("pem".into(), pem.replace('\n', "\\n"));
        texts.insert("pem-in-json".into(), pem.replace('\n', "\\n"));
        texts.insert("certificate-in-json".into(), certificate.pem().replace('\n', "\\n"));
        texts.insert("encoded".into(), STANDARD.encode(format!("a: 1\npassword: {}\n", canaries["map-key"])));
        // Of the key, each line.
        for (number, line) in pem.lines().filter(|line| !line.starts_with('-')).enumerate() {
            canaries.insert(format!("key, line {number}"), line.into());
        }
        let world = Self { dir, canaries };
        for file in [
            "charts/leaky/templates/leaky.yaml",
            "charts/crash/templates/crash.yaml",
            "tests/scenarios/leaky.yaml",
        ] {
            let mut text = std::fs::read_to_string(world.path(file)).unwrap();
            for (place, canary) in &texts {
                text = text.replace(&format!("@{place}@"), canary);
            }
            std::fs::write(world.path(file), text).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn svidproof(&self, args: &[&str]) -> Output {
        conformance::svidproof_in(self.dir.path(), args).output().unwrap()
    }

    /// The folder of the one run.
    fn run(&self) -> PathBuf {
        conformance::run_in(self.dir.path())
    }

    /// What the run itself has to hide: how its cluster is reached, and the key that its SPIRE signs with.
    fn hides(&mut self) {
        let kubeconfig = std::fs::read_to_string(self.run().join("kubeconfig")).unwrap();
        let key = kubeconfig.lines().find_map(|line| line.trim().strip_prefix("client-key-data: ")).unwrap();
        self.canaries.insert("kubeconfig".into(), key.trim().into());
        let mut folders = vec![self.run()];
        let mut keys = 0;
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(text) = std::fs::read_to_string(&path)
                    && text.contains("PRIVATE KEY-----")
                {
                    keys += 1;
                    let lines = text.lines().filter(|line| !line.starts_with('-') && line.len() > 20);
                    for line in lines {
                        self.canaries.insert(format!("{} {line:.8}", path.display()), line.into());
                    }
                }
            }
        }
        assert!(keys > 0, "the run keeps a key of SPIRE's upstream CA");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.svidproof(&["down"]);
    }
}

/// Path below the one folder -> text.
fn unpacked(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(zstd::Decoder::new(File::open(path).unwrap()).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let place = entry.path().unwrap().display().to_string();
        let (_, place) = place.split_once('/').unwrap();
        let (place, mut text) = (place.to_owned(), vec![]);
        entry.read_to_end(&mut text).unwrap();
        (place, String::from_utf8_lossy(&text).into_owned())
    });
    entries.collect()
}

/// Plain, and as it stands within base64 wherever it begins there: what does not depend on its neighbours.
fn forms(canary: &str) -> Vec<String> {
    let mut forms = vec![canary.to_owned()];
    for before in 0..3 {
        let encoded = STANDARD.encode(format!("{}{canary}", " ".repeat(before)));
        let text = encoded.trim_end_matches('=');
        let (from, to) = (if before == 0 { 0 } else { 4 }, text.len() - 2);
        forms.push(text[from..to].to_owned());
        forms.push(text[from..to].replace('+', "-").replace('/', "_"));
    }
    forms
}

#[track_caller]
fn assert_hides(all: &BTreeMap<String, String>, canaries: &BTreeMap<String, String>) {
    for (place, text) in all {
        for (name, canary) in canaries {
            for form in forms(canary) {
                assert!(!text.contains(&form), "{name} is in {place} as {form}");
            }
        }
    }
}

#[test]
fn what_is_gathered_tells_what_happened_and_no_secret() {
    let mut world = World::new();
    let output = world.svidproof(&["up", "--keep-on-failure"]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let told = said(&output);
    assert!(told.contains("crash") && told.contains("without secrets"), "{told}");
    world.hides();
    let left = unpacked(&world.path(".svidproof/bundle.tar.zst"));
    let asked = world.svidproof(&["bundle", "--out", "asked.tar.zst"]);
    assert!(asked.status.success(), "{}", said(&asked));
    for all in [&left, &unpacked(&world.path("asked.tar.zst"))] {
        assert_hides(all, &world.canaries);
        let manifest: Value = serde_json::from_str(&all["manifest.json"]).unwrap();
        let steps = manifest["steps"].as_array().unwrap();
        let others: Vec<_> = steps.iter().filter(|step| step["outcome"] != "gathered").collect();
        // No checks were made; and a container that is about to be started again may have no log.
        let expected =
            |step: &&&Value| step["name"] != "report" && !step["name"].as_str().unwrap().contains("/crash-");
        assert_eq!(others.iter().filter(expected).count(), 0, "{others:#?}");
        // Each place was read: the mark stands where the canary stood, and the evidence beside it.
        // Of a container that was started again there are two logs, and the newer may be empty.
        let is_told = |begins: &str, ends: &str, parts: &[&str]| {
            let mut found =
                all.iter().filter(|(place, _)| place.starts_with(begins) && place.ends_with(ends));
            found.any(|(_, text)| parts.iter().all(|part| text.contains(part)))
        };
        for (begins, ends, parts) in [
            ("logs/leaky/crash-", ".log", &["unknown directive", "[redacted: "][..]),
            (
                "envoy/leaky/leaky-",
                "config_dump.json",
                &["Bearer [redacted: a token]", "x-api-key", "stat_prefix"],
            ),
            ("envoy/leaky/leaky-", "certs.json", &["serial_number"]),
            ("envoy/leaky/leaky-", "stats.txt", &["server.uptime"]),
            ("envoy/leaky/leaky-", "clusters.txt", &[]),
            ("spire/spire/", "entries.json", &["laptop", "join_token/[redacted: a join token]"]),
            ("spire/spire/", "agents.json", &["k8s_psat"]),
            ("spire/spire/", "bundle.pem", &["BEGIN CERTIFICATE"]),
            ("spire/spire/", "health.txt", &["healthy"]),
            ("helm/leaky/leaky/", "manifest.json", &["a Secret's", "API_TOKEN", "stat_prefix"]),
            ("helm/leaky/crash/", "history.txt", &["crash-1.0.0"]),
            ("objects/all/", "secrets.json", &["\"pin\"", "spire-leaky-ca"]),
            (
                "objects/all/",
                "configmaps.json",
                &["postgres://user:[redacted: a password]@db", "a secret in base64"],
            ),
            ("objects/all/", "pods.json", &["SIGNING_KEY", "[redacted: by its name]", "restartCount"]),
            ("objects/all/", "events.txt", &["Warning Pod leaky/crash-"]),
            ("", "terraform-state-list.txt", &["terraform_data"]),
            ("", "journal.json", &["cluster"]),
            ("", "versions.json", &["kubernetes", "envoy"]),
            ("run/terraform", ".log", &[]),
        ] {
            assert!(is_told(begins, ends, parts), "{parts:?} are in no {begins}…{ends} of {:#?}", all.keys());
        }
    }
    assert!(left["error.txt"].contains("crash"), "{}", left["error.txt"]);
    let down = world.svidproof(&["down"]);
    assert!(down.status.success(), "{}", said(&down));
}
