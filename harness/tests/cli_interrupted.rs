//! A run that is interrupted takes down what it has made; a run that is killed leaves that to `svidproof gc`.

mod common;

use std::fs;

use common::{Block, Exit, Exits, TERRAFORM, World, said};
use rstest::rstest;
use rustix::process::Signal;

const RUN: [&str; 3] = ["run", "--images", "upstream"];

#[rstest]
#[case(Signal::INT)]
#[case(Signal::TERM)]
#[case::the_terminal_was_closed(Signal::HUP)]
fn an_interrupt_ends_what_runs_and_takes_down_what_there_is(
    #[case] signal: Signal,
    #[values("run", "up")] command: &str,
) {
    let (world, block) = World::stopped_at_apply();
    let running = world.start(&[command, "--images", "upstream"], &[&block]);
    let apply = block.reached();
    running.signal(signal);
    apply.gone();
    let said = running.ends(Some(Exit::Interrupted));
    assert!(said.ends_with("svidproof: interrupted\n"), "{said}");
    assert!(world.called("terraform destroy "), "{:#?}", world.calls());
    world.assert_nothing_is_left();
}

/// With the machine's own Terraform: it is on its way to its end, and holds its lock, when its state is to be
/// destroyed.
#[test]
fn a_cluster_that_was_half_made_is_deleted() {
    let (world, block) = World::stopped_at_create();
    let running = world.start(&RUN, &[&block]);
    let create = block.reached();
    running.signal(Signal::INT);
    create.gone();
    running.ends(Some(Exit::Interrupted));
    assert!(world.called("kind delete cluster --name svidproof-"), "{:#?}", world.calls());
    world.assert_nothing_is_left();
}

/// Terraform outlives svidproof and goes on; `gc` waits for its lock, then destroys what it has made.
#[test]
fn gc_takes_down_what_a_killed_run_left() {
    let (world, block) = World::stopped_at_create();
    let running = world.start(&RUN, &[&block]);
    let create = block.reached();
    running.signal(Signal::KILL);
    running.ends(None);
    assert_eq!(world.runs().len(), 1);

    let gc = world.start(&["gc"], &[]);
    create.release();
    create.gone();
    let said = gc.ends(Some(Exit::Passed));
    assert!(said.ends_with("1 left-over run(s) taken down\n"), "{said}");
    assert!(world.called("kind delete cluster --name svidproof-"), "{:#?}", world.calls());
    world.assert_nothing_is_left();
}

#[test]
fn gc_leaves_a_kept_run_alone() {
    let world = World::new();
    world.kept_run();
    world.svidproof(&["gc"]).success();
    assert_eq!(world.runs().len(), 1);
}

#[test]
fn gc_and_down_leave_a_run_under_way_alone() {
    let (world, block) = World::stopped_at_apply();
    let running = world.start(&RUN, &[&block]);
    let apply = block.reached();
    world.svidproof(&["gc"]).success();
    let output = world.svidproof(&["down"]).success().get_output().clone();
    assert!(said(&output).contains("is under way in another svidproof: left alone"), "{}", said(&output));
    assert!(!world.called("terraform destroy "), "{:#?}", world.calls());
    running.signal(Signal::INT);
    apply.gone();
    running.ends(Some(Exit::Interrupted));
    world.assert_nothing_is_left();
}

/// Such as by `svidproof watch` in another window: "nothing is kept" would be wrong.
#[test]
fn down_says_that_somebody_works_on_what_is_kept() {
    let (world, block) = World::stopped_at_apply();
    let running = world.start(&RUN, &[&block]);
    let apply = block.reached();
    let journal = world.runs()[0].join("lease.jsonl");
    fs::write(&journal, fs::read_to_string(&journal).unwrap() + "\"kept\"\n").unwrap();
    let told = said(world.svidproof(&["down"]).exits(Exit::Input).get_output());
    assert!(told.contains("is under way in another svidproof\nhint: end that one first"), "{told}");
    assert!(!told.contains("nothing is kept"), "{told}");
    running.signal(Signal::INT);
    apply.gone();
    running.ends(Some(Exit::Interrupted));
}

/// Nothing says yet that it makes something.
#[test]
fn gc_waits_for_a_terraform_that_has_not_written_its_state() {
    let world = World::with_images();
    let block = Block::new(&world, "apply");
    let script = format!("[ \"$1\" = apply ] || exit 0\n{}\necho '{{}}' > terraform.tfstate", block.script());
    world.fake("terraform", &script);
    let running = world.start(&RUN, &[&block]);
    let apply = block.reached();
    running.signal(Signal::KILL);
    running.ends(None);
    let gc = world.start(&["gc"], &[]);
    apply.release();
    apply.gone();
    let told = gc.ends(Some(Exit::Passed));
    assert!(told.ends_with("1 left-over run(s) taken down\n"), "{told}");
    assert!(world.called("terraform destroy "), "{:#?}", world.calls());
    world.assert_nothing_is_left();
}

/// A journal that cannot be opened is told, and is not taken for one that somebody holds.
#[test]
fn gc_tells_of_a_journal_that_it_cannot_open() {
    let world = World::new();
    let dir = world.root.join("state/svidproof/runs/0a1b2c3d");
    fs::create_dir_all(dir.join("lease.jsonl")).unwrap();
    let told = said(world.svidproof(&["gc"]).exits(Exit::NotJudged).get_output());
    assert!(told.contains("could not open") && told.contains("Is a directory"), "{told}");
    assert!(!told.contains("under way"), "{told}");
}

#[test]
fn a_second_interrupt_leaves_the_rest_to_gc() {
    let world = World::with_images();
    let (apply, destroy) = (Block::new(&world, "apply"), Block::new(&world, "destroy"));
    let blocking = format!(
        "if [ \"$1\" = apply ]; then\n{}\nelif [ \"$1\" = destroy ]; then\n{}\nfi",
        apply.script(),
        destroy.script()
    );
    world.fake("terraform", &format!("{TERRAFORM}\n{blocking}"));
    let interrupted = "interrupted while taking down\nhint: `svidproof gc` takes the rest down\n";

    let running = world.start(&RUN, &[&apply, &destroy]);
    let applies = apply.reached();
    running.signal(Signal::INT);
    applies.gone();
    let destroys = destroy.reached();
    running.signal(Signal::INT);
    destroys.gone();
    let said = running.ends(Some(Exit::Interrupted));
    assert!(said.ends_with(&format!("svidproof: interrupted\n{interrupted}")), "{said}");

    destroy.again();
    let gc = world.start(&["gc"], &[&destroy]);
    let destroys = destroy.reached();
    gc.signal(Signal::INT);
    destroys.gone();
    let said = gc.ends(Some(Exit::Interrupted));
    assert!(said.ends_with(&format!("svidproof: {interrupted}")), "{said}");
    assert_eq!(world.runs().len(), 1);

    world.fake("terraform", TERRAFORM);
    world.svidproof(&["gc"]).success();
    world.assert_nothing_is_left();
}
