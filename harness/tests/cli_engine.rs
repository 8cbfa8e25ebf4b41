//! A container engine of the user's: what a run makes there is its own, stands in its lease first, and is taken
//! out of that engine only.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fs;

use common::{Block, Exit, Exits, TERRAFORM, World, is_root, not_tested, said};
use rustix::process::Signal;

const RUN: [&str; 3] = ["run", "--images", "upstream"];
const BUILD: [&str; 4] = ["images", "build", "--images", "packages"];

/// A docker that says who it is, knows contexts, and has what is asked for in its lists. What comes before is
/// done first.
fn docker(world: &World, id: &str, first: &str) {
    let script = format!(
        r#"{first}
case "$1 $2" in
"info --format") echo '{{"ID": "{id}", "ServerVersion": "1.2.3", "DockerRootDir": "/fake", "ContainersRunning": 0}}' ;;
"context show") echo build-host ;;
"network ls" | "ps --all") echo 0123456789ab ;;
esac"#
    );
    world.fake("docker", &script);
}

/// The run's ID, by its folder.
fn run_of(world: &World) -> String {
    let runs = world.runs();
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].file_name().unwrap().to_string_lossy().into_owned()
}

/// Two users on one docker never share a network, so neither takes the other's away.
#[test]
fn each_run_has_a_network_of_its_own_which_is_noted_before_it_is_made() {
    let names = [(); 2].map(|()| {
        let world = World::with_images();
        let noted = r#"[ "$1 $2" != "network create" ] || grep -q '"thing":"network","name":"svidproof-' \
            "$XDG_STATE_HOME"/svidproof/runs/*/lease.jsonl || exit 98"#;
        docker(&world, "engine-a", noted);
        world.fake("terraform", "exit 1");
        world.svidproof(&RUN).exits(Exit::NotJudged);
        let calls = world.calls_of("docker");
        let made = calls.lines().find(|call| call.starts_with("docker network create")).unwrap();
        let name = made.rsplit(' ').next().unwrap().to_owned();
        let run = name.strip_prefix("svidproof-").unwrap();
        assert!(made.contains(&format!("--label svidproof.run={run} ")), "{made}");
        assert!(calls.contains(&format!("docker network rm {name}")), "{calls}");
        world.assert_nothing_is_left();
        name
    });
    assert_ne!(names[0], names[1]);
}

#[test]
fn who_makes_no_cluster_makes_no_network() {
    let world = World::with_images();
    docker(&world, "engine-a", "");
    for command in
        [&["images", "build", "--images", "upstream"][..], &["engine", "env"], &["images", "prune"]]
    {
        world.svidproof(command).success();
    }
    assert!(!world.calls_of("docker").contains("network"), "{}", world.calls_of("docker"));
    world.assert_nothing_is_left();
}

/// The docker of the shell that `gc` is called in is another one than that which the run was made in.
#[test]
fn nothing_is_taken_out_of_another_engine() {
    let (world, apply) = World::stopped_at_apply();
    docker(&world, "engine-a", "");
    let running = world.start(&RUN, &[&apply]);
    let reached = apply.reached();
    running.signal(Signal::KILL);
    running.ends(None);
    reached.release();
    reached.gone();
    let run = run_of(&world);
    world.fake("terraform", TERRAFORM);

    docker(&world, "engine-b", "");
    let before = world.calls().len();
    let told = said(world.svidproof(&["gc"]).exits(Exit::NotJudged).get_output());
    for words in ["engine-a", "engine-b", "nothing is said to be gone", &format!("run {run} is not all gone")]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(
        told.contains("hint: where that docker is gone for good, `svidproof down --forget RUN`"),
        "{told}"
    );
    let asked: Vec<_> = world.calls().split_off(before);
    let looks = |call: &String| call.starts_with("docker info ");
    assert!(asked.iter().all(looks), "it only looked who is there: {asked:#?}");
    assert_eq!(run_of(&world), run, "the lease is kept");

    // It asks where the run was made, whatever this shell is told.
    docker(
        &world,
        "engine-a",
        r#"[ "$DOCKER_CONTEXT$DOCKER_HOST" = build-host ] || [ "$1" = context ] || exit 1"#,
    );
    let mut gc = world.command(assert_cmd::cargo::cargo_bin!("svidproof"));
    gc.arg("gc").env("DOCKER_HOST", "tcp://127.0.0.1:1");
    assert_cmd::Command::from_std(gc).assert().exits(Exit::Passed);
    assert!(world.called("terraform destroy"), "{:#?}", world.calls());
    assert!(world.called(&format!("docker network rm svidproof-{run}")), "{:#?}", world.calls());
    world.assert_nothing_is_left();
}

/// A world in which images are put together in the engine, which has none; what `run` and the rest do is to
/// be said.
fn filling(first: &str) -> Option<World> {
    if !is_root() {
        not_tested("a node image is made by debootstrap, which wants root");
        return None;
    }
    let world = World::with_images();
    world.fake("debootstrap", "for root in \"$@\"; do :; done\nmkdir -p \"$root/etc\"");
    docker(&world, "engine-a", &format!("[ \"$1 $2\" != 'image inspect' ] || exit 1\n{first}"));
    Some(world)
}

#[test]
fn the_container_that_images_are_put_together_in_goes_with_the_build() {
    let Some(world) = filling("") else { return };
    let hold = world.fifo("hold").display().to_string();
    let noted = r#"grep -q '"thing":"container","name":"svidproof-images-' "$XDG_STATE_HOME"/svidproof/runs/*/lease.jsonl"#;
    let work = format!(
        "[ \"$1 $2\" != 'image inspect' ] || exit 1\n\
         case $1 in\nrun) {noted} || exit 98; read go < '{hold}' ;;\nstop) echo on > '{hold}' ;;\nesac"
    );
    docker(&world, "engine-a", &work);
    world.svidproof(&BUILD).success();
    let calls = world.calls_of("docker");
    let run = calls.lines().find(|call| call.starts_with("docker run --name svidproof-images-")).unwrap();
    let name = run.split(' ').nth(3).unwrap();
    assert!(
        calls.contains("docker commit ") && calls.contains(&format!("docker rm --volumes {name}")),
        "{calls}"
    );
    world.assert_nothing_is_left();
}

#[test]
fn a_build_that_fails_leaves_no_container() {
    let Some(world) = filling("case $1 in\nrun) exec sleep 60 ;;\ncp) echo 'no space' >&2; exit 1 ;;\nesac")
    else {
        return;
    };
    let told = said(world.svidproof(&BUILD).exits(Exit::NotJudged).get_output());
    assert!(told.contains("no space"), "{told}");
    let calls = world.calls_of("docker");
    assert!(calls.contains("ps --all --quiet --filter name=^/?svidproof-images-"), "{calls}");
    assert!(calls.contains("docker rm --force --volumes 0123456789ab"), "{calls}");
    world.assert_nothing_is_left();
}

/// Its own only: the other user's build goes on.
#[test]
fn gc_takes_the_container_of_a_killed_build_down() {
    let names = [(); 2].map(|()| {
        let world = filling("")?;
        let fills = Block::new(&world, "fills");
        let first = format!(
            "[ \"$1 $2\" != 'image inspect' ] || exit 1\n[ \"$1\" = run ] || exit 0\n{}",
            fills.script()
        );
        docker(
            &world,
            "engine-a",
            &format!("case $1 in run | image | exec) ;; *) false ;; esac && {{\n{first}\n}}"),
        );
        let running = world.start(&BUILD, &[&fills]);
        let reached = fills.reached();
        running.signal(Signal::KILL);
        running.ends(None);
        reached.release();
        reached.gone();
        let name = format!("svidproof-images-{}", run_of(&world));
        assert!(world.called(&format!("docker run --name {name} ")), "{}", world.calls_of("docker"));
        world.svidproof(&["gc"]).success();
        let calls = world.calls_of("docker");
        let looked = format!("docker ps --all --quiet --filter name=^/?{name}$");
        assert!(
            calls.contains(&looked) && calls.contains("docker rm --force --volumes 0123456789ab"),
            "{calls}"
        );
        world.assert_nothing_is_left();
        Some(name)
    });
    assert!(names[0].is_none() || names[0] != names[1], "{names:?}");
}

/// Of a svidproof of before, whose runs shared one network and said no more of it.
#[test]
fn a_network_of_before_is_taken_down() {
    let world = World::new();
    docker(&world, "engine-a", "");
    let dir = world.root.join("state/svidproof/runs/0a1b2c3d");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("lease.jsonl"), "{\"making\":{\"thing\":\"network\"}}\n").unwrap();
    world.svidproof(&["gc"]).success();
    assert!(world.called("docker network rm svidproof"), "{:#?}", world.calls());
    world.assert_nothing_is_left();
}
