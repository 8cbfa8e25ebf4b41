//! `run --provider existing` beside a foreign SPIRE, foreign releases, Secrets, namespaces and entries.
//!
//! As long as a run has the cluster, dead or alive, no other user's begins there. The last run goes to its end, by
//! Helm 3.

use std::path::PathBuf;

use conformance::said;
use conformance::standing::same;

use crate::theirs::{Theirs, strs};

/// After which of its own lines a run is killed: while it looks, while Helm installs, while it waits for pods,
/// while it dials.
const KILLS: [&str; 4] =
    ["cluster (existing)", "release spire-com-server", "front-proxy: SPIRE agent", "workloads and probe"];

#[test]
fn what_is_anothers_is_the_same_afterwards() {
    let world = Theirs::up(&["symbank"], &["spire-org-server-0"]);
    // Names that the run itself uses: a namespace, and a Secret beside its own.
    world.kubectl(&["create", "namespace", "backend"]);
    world.kubectl(&["create", "configmap", "theirs", "--namespace", "backend", "--from-literal=a=b"]);
    world.kubectl(&["create", "secret", "generic", "their-ca", "--namespace", "spire", "--from-literal=a=b"]);
    let before = world.looks();

    let refused = world.svidproof("mine", &strs(&world.existing("scenarios/symbank"))).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    for what in ["Secret spire-org-ca", "Helm release backend in namespace default"] {
        assert!(said(&refused).contains(what), "{}", said(&refused));
    }
    same(&before, &world.looks(), "a run that was refused");

    let secret = "create secret generic spire-com-ca --namespace spire --from-literal=tls.key=theirs";
    world.kubectl(&secret.split(' ').collect::<Vec<_>>());
    let with_secret = world.looks();
    let refused = world.svidproof("mine", &strs(&world.existing("scenarios/front-proxy"))).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("Secret spire-com-ca in namespace spire"), "{}", said(&refused));
    same(&with_secret, &world.looks(), "a Secret that a scenario names");
    world.kubectl(&["delete", "secret", "spire-com-ca", "--namespace", "spire"]);

    for words in KILLS {
        world.kill_after(&strs(&world.existing("scenarios/front-proxy")), words, || {
            if words == KILLS[1] {
                world.another_user_is_refused();
            }
        });
        if words == KILLS[1] {
            // The dead hold it until they are collected.
            world.another_user_is_refused();
        }
        world.collect();
        same(&before, &world.looks(), &format!("a run that was killed after `{words}`"));
    }

    // To its end, by the Helm of before: installed, upgraded by each stage, uninstalled.
    let helm = conformance::repository().join("target/helm3/helm");
    assert!(helm.exists(), "no {}: `./scripts/helm3/build` makes it", helm.display());
    let path = std::env::var("PATH").unwrap();
    let mut run = world.svidproof("mine", &strs(&world.existing("neighbours/small")));
    let out = world.dir.path().join("out");
    run.arg("--out").arg(&out).env("PATH", format!("{}:{path}", helm.parent().unwrap().display()));
    let ended = run.output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}{}", String::from_utf8_lossy(&ended.stdout), said(&ended));
    assert_eq!(world.runs("mine"), Vec::<PathBuf>::new());
    same(&before, &world.looks(), "a run by Helm 3 that went to its end");
}
