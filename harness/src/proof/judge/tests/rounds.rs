//! Which dials are made together and which again alone, by a server that is asked to misbehave in the first
//! windows.

use std::cell::{Cell as Slot, RefCell};

use futures::executor::block_on;

use super::*;

/// Whatever is dialled is refused for want of a certificate; the first windows do not fit.
struct World {
    /// How many windows count one refusal too many.
    wrong: Slot<usize>,
    /// Whether that is since somebody else was there.
    crowded: bool,
    /// The words of the windows that were asked for, and how many dials each had.
    asked: RefCell<Vec<(String, usize)>>,
}

impl Dialling for World {
    type Place = &'static str;

    async fn window(&self, dials: &[(Cell, &'static str)], word: &str) -> Window {
        self.asked.borrow_mut().push((word.into(), dials.len()));
        let wrong = self.wrong.get() > 0;
        self.wrong.set(self.wrong.get().saturating_sub(1));
        let made = u64::try_from(dials.len()).unwrap();
        let mut witness = witness(Marks::default(), &[("p", Counted::default())]);
        let connections = made + u64::from(wrong && self.crowded);
        let refused = counted(|all| all.no_cert = made + u64::from(wrong));
        let happened = Happened { counted: refused, connections, ..Happened::default() };
        witness.pods.insert("p".into(), Ok(happened));
        let dialled = dials.iter().map(|(cell, place)| Dialled {
            id: format!("{}.{word}", cell.id),
            cell: cell.id.clone(),
            pod: Some((*place).into()),
            observation: no_cert().seen,
            earlier: vec![],
        });
        Window { dials: dialled.collect(), witnesses: BTreeMap::from([("backend".into(), witness)]) }
    }

    fn logs(&self) -> Logs {
        Logs::from([("backend".into(), Ok(BTreeSet::new()))])
    }
}

/// The windows that were asked for, and by cell the attempts that were made, the last one last.
type Made = (Vec<(String, usize)>, Vec<Vec<String>>);

fn made(wrong: usize, crowded: bool, second: Expect) -> Made {
    let server = World { wrong: Slot::new(wrong), crowded, asked: RefCell::default() };
    let mut cells = ["a", "b"].map(|name| cell(name, "nobody", "backend", Expect::default()));
    cells[1].expect = second;
    let dials = cells.iter().map(|cell| (cell.clone(), "p")).collect();
    let windows = block_on(settled(&server, &world(), &cells, dials));
    let ids = windows.iter().flat_map(|window| &window.dials);
    let ids = ids.map(|dial| dial.ids().cloned().collect()).collect();
    (server.asked.into_inner(), ids)
}

fn words(words: &[(&str, usize)]) -> Vec<(String, usize)> {
    words.iter().map(|(word, dials)| ((*word).to_owned(), *dials)).collect()
}

#[test]
fn what_settles_together_is_not_made_again() {
    let (asked, ids) = made(0, false, Expect::default());
    assert_eq!(asked, words(&[("a", 2)]));
    assert_eq!(ids, [["a.a"], ["b.a"]]);
}

#[test]
fn what_does_not_settle_together_is_made_again_alone_and_what_it_saw_is_kept() {
    let (asked, ids) = made(1, false, Expect::default());
    assert_eq!(asked, words(&[("a", 2), ("b1", 1), ("b1", 1)]));
    assert_eq!(ids, [["a.a", "a.b1"], ["b.a", "b.b1"]]);
}

#[test]
fn alone_it_is_made_again_only_where_others_were_there_and_not_for_ever() {
    assert_eq!(made(3, false, Expect::default()).0, words(&[("a", 2), ("b1", 1), ("b1", 1)]));
    let (asked, ids) = made(3, true, Expect::default());
    assert_eq!(asked, words(&[("a", 2), ("b1", 1), ("b2", 1), ("b3", 1), ("b1", 1)]));
    assert_eq!(ids[0], ["a.a", "a.b1", "a.b2", "a.b3"]);
    assert_eq!(ids[1], ["b.a", "b.b1"]);
    let (asked, _) = made(100, true, Expect::default());
    assert_eq!(asked.len(), 1 + 4 + 4);
}

/// Of two connections that ended in one window, one of them somebody else's, no counter tells which is which.
#[rstest]
#[case::of_an_upstream(Expect { upstream: Some(Counted::default()), ..Expect::default() })]
#[case::cut_off(Expect { cut_off: Some(CutOff::NoChain), ..Expect::default() })]
fn what_only_a_window_of_its_own_tells_is_alone_from_the_start(#[case] expect: Expect) {
    let (asked, ids) = made(0, false, expect);
    assert_eq!(asked, words(&[("a", 1), ("b1", 1)]));
    assert_eq!(ids, [["a.a"], ["b.b1"]]);
}

/// Envoy counts a handshake that it turned down after its client has the alert.
#[rstest]
#[case::all_are_counted(2, 2, 0, false)]
#[case::of_another_kind(2, 1, 1, false)]
#[case::one_is_not_counted_yet(2, 1, 0, true)]
#[case::more_than_were_seen(2, 3, 0, false)]
fn what_is_counted_short_of_what_clients_saw(
    #[case] dials: usize,
    #[case] san: u64,
    #[case] chain: u64,
    #[case] short: bool,
) {
    let cell = cell("a", "stranger", "backend", alert_named("certificate_unknown"));
    let dialled = |number: usize| Dialled {
        id: format!("a.{number}"),
        cell: "a".into(),
        pod: None,
        observation: refused(46, Kind::San).seen,
        earlier: vec![],
    };
    let at = |endpoint: &str| {
        let counted = counted(|all| (all.san, all.chain) = (san, chain));
        let witness = witness(Marks::default(), &[("p", counted)]);
        let witnesses = BTreeMap::from([(endpoint.to_owned(), witness)]);
        Window { dials: (0..dials).map(dialled).collect(), witnesses }
    };
    assert_eq!(at("backend").is_short(std::slice::from_ref(&cell)), short);
    assert!(!at("proxy").is_short(&[cell]), "nobody was dialled there");
}
