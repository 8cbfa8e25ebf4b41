//! A fault that changes nothing, and the way back, by a Helm that keeps what it is given.

use serde_json::json;

use super::*;
use crate::session::tests::World;

fn fault(values: serde_json::Value) -> Broken {
    Broken {
        name: "hole".into(),
        stage: "open".into(),
        values: [("web".to_owned(), values)].into(),
        red: vec![],
        place: crate::scenario::Place::default(),
    }
}

#[tokio::test]
async fn a_fault_differs_by_what_is_rendered() {
    // The chart reads one value alone.
    let world = World::with_release(
        r#"manifest() { case "$2" in *replicas*) echo 'kind: A' ;; *) echo 'kind: B' ;; esac; }"#,
    );
    let run = world.session().await;
    let (scenario, stage) = (&world.scenario, &world.scenario.stages[0]);
    for (values, expected) in [
        (json!({"replicas": 2}), true),
        (json!({"an unused value": 2}), false),
        (json!({}), false),
        (json!(null), false),
    ] {
        assert_eq!(
            differs(&run, scenario, stage, &fault(values.clone())).await.unwrap(),
            expected,
            "{values}"
        );
    }
}

/// Planted, as `verify` does before it dials.
async fn planted<'a>(world: &'a World, run: &'a RunContext) -> Planted<'a> {
    let (scenario, stage) = (&world.scenario, &world.scenario.stages[0]);
    stage::bring(run, scenario, stage, &BTreeMap::new()).await.unwrap();
    assert!(stage::bring(run, scenario, stage, &fault(json!({"rbac": []})).values).await.unwrap());
    assert!(world.stands("a", "web").contains("rbac"));
    Planted { run, scenario, stage: Some(stage) }
}

#[tokio::test]
async fn the_stages_own_state_is_put_back() {
    let world = World::with_release("");
    let run = world.session().await;
    let mut planted = planted(&world, &run).await;
    planted.put_back().await.unwrap();
    assert!(!world.stands("a", "web").contains("rbac"), "{}", world.stands("a", "web"));
    world.calls();
    planted.put_back().await.unwrap();
    assert_eq!(world.calls(), Vec::<String>::new(), "once is enough");
}

/// Helm was ended in the middle, and holds the release a little longer.
#[tokio::test]
async fn a_release_that_is_still_held_is_waited_for() {
    let world = World::with_release(
        r#"[ "$1" = upgrade ] && [ -e "$here/held" ] && { rm "$here/held"; cat > /dev/null
        echo 'Error: UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress' >&2; exit 1; }"#,
    );
    let run = world.session().await;
    let mut planted = planted(&world, &run).await;
    world.touch("held");
    planted.put_back().await.unwrap();
    assert!(!world.stands("a", "web").contains("rbac"));
}

#[tokio::test]
async fn what_cannot_be_put_back_is_said() {
    let world = World::with_release(
        r#"[ "$1" = upgrade ] && [ -e "$here/gone" ] && { cat > /dev/null; echo 'it is a fake' >&2; exit 1; }"#,
    );
    let run = world.session().await;
    let mut planted = planted(&world, &run).await;
    world.touch("gone");
    let error = chain(&planted.put_back().await.unwrap_err());
    assert!(
        error.starts_with("scenario web: a fault is still planted: stage `open` could not be put back: "),
        "{error}"
    );
    assert!(error.contains("it is a fake") && error.contains("`svidproof test --stage open`"), "{error}");
    assert!(planted.stage.is_some(), "it is not forgotten");
}
