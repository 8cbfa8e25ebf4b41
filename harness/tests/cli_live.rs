//! `svidproof check-live`: what is told before anything is asked of the cluster, and what is not found there,
//! by a stub of an API server. What a real one keeps is the tier `live`.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use common::{Exit, Exits, Streams, Terminal, World, said, snapshot, stub_api, stub_api_with};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use serde_json::json;

const STANDS: &str = "scenario: web
endpoints: {web: {service: web/web, port: 443, identity: /ns/web/sa/web, published: {}, admin: 9901}}
clients: {friend: /ns/web/sa/friend, nobody: none}
stages:
  - stage: open
    checks:
      - {check: friend gets in, as: friend, to: web, send: GET /, expect: {status: 200}}
";

/// A world whose scenario installs nothing, and its kubeconfig.
fn standing(api: u16) -> (World, String) {
    let world = World::new();
    fs::write(world.project().join(common::FILE), STANDS).unwrap();
    let kubeconfig = world.kubeconfig(api);
    (world, kubeconfig)
}

fn check_live<'a>(kubeconfig: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["check-live", "--kubeconfig", kubeconfig, "--context", "stub"];
    args.into_iter().chain(more.iter().copied()).collect()
}

/// An SVID, its key and its CA as files; `--svid` for it.
fn svid(folder: &Path, client: &str, id: &str, until: i32) -> String {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(vec![]).unwrap();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let bundle = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![]).unwrap();
    leaf.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    leaf.not_before = date_time_ymd(2020, 1, 1);
    leaf.not_after = date_time_ymd(until, 1, 1);
    let chain = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem();
    let files = [("svid.pem", chain), ("svid.key", key.serialize_pem()), ("bundle.pem", bundle)];
    let paths = files.map(|(name, text)| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    });
    format!("{client}={}", paths.join(","))
}

#[test]
fn what_installs_must_say_where_its_spire_is() {
    let (world, kubeconfig) = standing(stub_api());
    let run = ["run", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "stub"];
    let output = world.svidproof(&run).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @r"
    ✓ teardown [time]
    svidproof: [world]/project/tests/scenarios/web.yaml: it does not say its `trust-domain` and where its `spire` stands
    hint: `svidproof check-live` finds both out; what installs must be told
    ");
    world.edit("spire: {namespace: spire, server: spire-server, socket-dir: /run/spire}\n", "");
    let output = world.svidproof(&run).exits(Exit::Input).get_output().clone();
    snapshot!(world, said(&output), @"svidproof: [world]/project/tests/scenarios/web.yaml:1:1: the key `spire` is missing here: only where nothing is installed it is found out");
    world.assert_nothing_is_left();
}

#[test]
fn an_svid_that_does_not_hold_is_told_before_the_cluster_is_asked() {
    // Nobody listens there.
    let (world, kubeconfig) = standing(1);
    let told = |svid: &str| {
        let args = check_live(&kubeconfig, &["--svid", svid]);
        said(world.svidproof(&args).exits(Exit::Input).get_output())
    };
    let friend = "spiffe://example.org/ns/web/sa/friend";
    let expired = told(&svid(&world.root, "friend", friend, 2021));
    assert!(expired.contains("svid.pem has expired: it was valid until 2021-01-01"), "{expired}");
    let another = told(&svid(&world.root, "friend", "spiffe://example.org/ns/web/sa/other", 2090));
    assert!(
        another.contains("client `friend` of scenario web is spiffe://example.org/ns/web/sa/friend"),
        "{another}"
    );
    let nobody = told(&svid(&world.root, "nobody", friend, 2090));
    assert!(nobody.contains("--svid nobody: no scenario has a client of that name"), "{nobody}");
    assert!(nobody.contains("there are friend"), "{nobody}");
    let form = told("friend=only-one");
    assert!(form.contains("it is CLIENT=CERT,KEY or CLIENT=CERT,KEY,BUNDLE"), "{form}");
    let stage = check_live(&kubeconfig, &["--stage", "shut"]);
    let stage = said(world.svidproof(&stage).exits(Exit::Input).get_output());
    assert!(stage.contains("has no stage `shut`\nhint: there are open"), "{stage}");
    world.assert_nothing_is_left();
}

#[test]
fn a_key_that_others_can_read_is_told() {
    let (world, kubeconfig) = standing(stub_api());
    let given = svid(&world.root, "friend", "spiffe://example.org/ns/web/sa/friend", 2090);
    fs::set_permissions(world.root.join("svid.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let args = check_live(&kubeconfig, &["--svid", &given]);
    let told = said(world.svidproof(&args).exits(Exit::NotJudged).get_output());
    let key = world.root.join("svid.key").display().to_string();
    assert!(told.contains(&format!("warning: others than its owner may read {key}, the key of")), "{told}");
    world.assert_nothing_is_left();
}

#[test]
fn a_spire_that_is_not_found_is_told_with_what_was_looked_at() {
    let pods = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [
        {"metadata": {"name": "web-0", "namespace": "web"}, "spec": {"containers": [{"name": "web", "image": "web"}]}},
    ]});
    let drivers =
        json!({"kind": "CSIDriverList", "apiVersion": "storage.k8s.io/v1", "metadata": {}, "items": []});
    let (world, kubeconfig) = standing(stub_api_with(vec![("/api/v1/pods", pods), ("/csidrivers", drivers)]));
    for more in [&[][..], &["--with-probe"]] {
        let args = check_live(&kubeconfig, more);
        let told = said(world.svidproof(&args).exits(Exit::Input).get_output());
        let expected =
            "no SPIRE server is found: of the 1 pods of the cluster none runs an image or a program";
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("left"), "{told}");
    }
    assert!(world.calls().is_empty(), "{:?}", world.calls());
    world.assert_nothing_is_left();
}

/// An endpoint that has no pod, and a client whose dial is errored for that.
fn without_pods() -> (World, Vec<String>) {
    let service = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "web", "namespace": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 443}]}});
    let slices = json!({"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1", "metadata": {}, "items": []});
    let pods = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": []});
    let has = vec![("/services/web", service), ("/endpointslices", slices), ("/pods", pods)];
    let (world, kubeconfig) = standing(stub_api_with(has));
    let given = svid(&world.root, "friend", "spiffe://example.org/ns/web/sa/friend", 2090);
    let args = check_live(&kubeconfig, &["--svid", &given]).into_iter().map(Into::into).collect();
    (world, args)
}

#[test]
fn what_is_told_of_the_checks_fits_a_terminal() {
    let (world, args) = without_pods();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let output = world.svidproof(&args).exits(Exit::NotJudged).get_output().clone();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    // Where the stub knows nothing it says so at length.
    let short: String = printed.split_inclusive('\n').filter(|line| line.len() < 100).collect();
    snapshot!(world, short, @r"
    ! web · open  1 errored [time]
      ! friend gets in  friend -> web  GET /  nothing
          errored: endpoint web: Service web/web has no ready pod
          hint: `kubectl get pods` in its namespace
          hop: none that could be read is broken

    0 passed · 0 recorded · 0 failed · 1 errored · 0 skipped [time]
    page: .svidproof/report.html
    ");
    assert_ne!(short, printed, "nothing is wider than a terminal");
    for columns in [80, 140] {
        let shown = Terminal::start(&world, columns, Streams::Output, &[], &args).ends(Exit::NotJudged);
        assert_eq!(shown.spilled(""), Vec::<&str>::new(), "{}", shown.text());
        assert!(shown.written.contains("\u{1b}[33m!"), "{:?}", shown.written);
        // All but times is the same.
        let words = |text: &str| text.split_whitespace().collect::<String>();
        let shown = shown.text();
        for line in printed.lines().filter(|line| !line.ends_with(" s")) {
            assert!(words(&shown).contains(&words(line)), "{line}\nis not in\n{shown}");
        }
    }
}
