//! What svidproof shows at a terminal while it works and at its end: it fits, in colour or without. How a table
//! of checks fits is in `cli_live.rs`; its rows are its own wing's.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Block, Exit, SCENARIO, Streams, Terminal, World, stub_api};
use rstest::rstest;

/// Longer than a line has room for, with what is said of it.
const LONG: &str = "a-scenario-whose-name-is-nearly-as-long-as-a-name-may-be";

/// A run that stops in Helm, at a terminal.
fn run(world: &World, columns: u16, env: &[(&str, &str)]) -> (Terminal, Block) {
    std::fs::write(
        world.project().join(common::FILE),
        SCENARIO.replace("scenario: web", &format!("scenario: {LONG}")),
    )
    .unwrap();
    let install = Block::new(world, "install");
    let helm = "[ \"$1\" = version ] && exec echo v3.17.3\n[ \"$1\" = install ] || exit 0\ncat > /dev/null\n";
    let ends = "echo 'Error: it is a fake' >&2\nexit 1";
    world.fake("helm", &format!("{helm}{}\n{ends}", install.script()));
    let kubeconfig = world.kubeconfig(stub_api());
    let args = ["run", "--provider", "existing", "--kubeconfig", &kubeconfig, "--context", "stub"];
    (Terminal::start(world, columns, Streams::Both, env, &args), install)
}

#[rstest]
#[case(80)]
#[case(140)]
fn what_is_under_way_and_what_came_of_it_fit(#[case] columns: u16) {
    let world = World::new();
    let (mut terminal, install) = run(&world, columns, &[]);
    let stopped = install.reached();
    terminal.shows(&format!("{LONG}: SPIRE"));
    let working = terminal.shows(&format!("{LONG}: release"));
    assert_eq!(working.spilled(""), Vec::<&str>::new(), "{}", working.text());
    stopped.release();
    let ended = terminal.ends(Exit::NotJudged);
    let shown = ended.text();
    assert_eq!(ended.spilled("svidproof: "), Vec::<&str>::new(), "{shown}");
    assert!(shown.contains("✓ cluster (existing)"), "{shown}");
    let whole = format!("✗ {LONG}: SPIRE server, bundle and entries");
    assert_eq!(shown.contains(&whole), columns == 140, "{shown}");
    // What explains the end is not cut.
    let words = |text: &str| text.split_whitespace().collect::<String>();
    let told = format!("svidproof: scenario {LONG}: release web (chart {}", world.project().display());
    assert!(words(&shown).contains(&words(&told)), "{shown}");
    assert!(shown.contains("Error: it is a fake"), "{shown}");
    assert!(ended.written.contains("\u{1b}[31m✗"), "{:?}", ended.written);
}

#[test]
fn without_colour_there_is_none() {
    let world = World::new();
    let (terminal, install) = run(&world, 80, &[("NO_COLOR", "1")]);
    install.reached().release();
    let written = terminal.ends(Exit::NotJudged).written;
    let colours = written.split("\u{1b}[").skip(1).filter_map(|rest| rest.split_once('m'));
    let colours: Vec<_> = colours.map(|(code, _)| code).filter(|code| code.parse::<u8>().is_ok()).collect();
    assert!(colours.is_empty(), "{colours:?}");
}
