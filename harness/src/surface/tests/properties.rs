//! What holds for any surfaces.

use super::*;
use crate::sys::terminal::Reader;

const OUTCOMES: [&str; 14] = [
    "200 json 0123456789ab",
    "200 json ba9876543210",
    "200 no body",
    "302 text 0123456789ab",
    "404 text 0123456789ab",
    "503 by Envoy",
    "400 by Envoy",
    "403 RBAC: access denied",
    "alert 116 certificate_required",
    "alert 46 certificate_unknown",
    "timed out",
    "connection refused",
    "server turned down",
    "not observed",
];

/// Few names, so that cells of two surfaces often meet.
fn any_surfaces() -> impl Strategy<Value = Vec<Surface>> {
    let name = |names: &'static [&'static str]| prop::sample::select(names);
    let cell = (
        (name(&["symbank", "front-proxy"]), name(&["one", "two"])),
        (name(&["backend", "page"]), name(&["nobody", "frontend", "frontend-2"])),
        name(&["GET /", "GET / (TLS 1.2)", "POST /x"]),
        prop::sample::select(OUTCOMES.as_slice()),
    );
    let lines = |cells: Vec<((_, _), (_, _), _, _)>| {
        let lines = cells.into_iter();
        gather(lines.map(|((scenario, stage), (endpoint, client), request, outcome)| {
            line(scenario, stage, endpoint, client, request, outcome)
        }))
    };
    prop::collection::vec(cell, 0..24).prop_map(lines)
}

/// What YAML would take for something else.
const AWKWARD: &[&str] = &[
    "",
    " ",
    "~",
    "null",
    "true",
    "200",
    "1e3",
    "0x1f",
    "- a",
    "a: b",
    "a #b",
    "? a",
    "{}",
    "[]",
    "'",
    "\"",
    "a\nb",
    "---",
    "\t",
    "é…",
    "*a",
    "&a",
    "!a",
    "%a",
    "@a",
    "`a`",
    "=",
    "<<",
    "2026-10-02",
    ":",
];

/// Whatever may stand in a file.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![1 => prop::sample::select(AWKWARD).prop_map(str::to_owned), 1 => any::<String>(), 1 => "[ \
     -~]{0,150}"]
}

fn any_written_surface() -> impl Strategy<Value = Surface> {
    let requests = prop::collection::btree_map(any_text(), any_text().prop_map(Got), 0..4);
    let cells = prop::collection::btree_map(
        any_text(),
        prop::collection::btree_map(any_text(), requests, 0..3),
        0..3,
    );
    (any_text(), any_text(), cells).prop_map(|(scenario, stage, cells)| Surface { scenario, stage, cells })
}

fn all_cells(surfaces: &[Surface]) -> Vec<[String; 5]> {
    let mut all = vec![];
    for surface in surfaces {
        for (endpoint, clients) in &surface.cells {
            for (client, requests) in clients {
                for request in requests.keys() {
                    all.push(
                        [&surface.scenario, &surface.stage, endpoint, client, request].map(Clone::clone),
                    );
                }
            }
        }
    }
    all
}

fn outcome_at<'a>(
    surfaces: &'a mut [Surface],
    [scenario, stage, endpoint, client, request]: &[String; 5],
) -> &'a mut Got {
    let surface =
        surfaces.iter_mut().find(|surface| surface.scenario == *scenario && surface.stage == *stage).unwrap();
    surface.cells.get_mut(endpoint).unwrap().get_mut(client).unwrap().get_mut(request).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn yaml_keeps_any_surface(surface in any_written_surface()) {
        let yaml = surface.to_yaml();
        prop_assert_eq!(Surface::from_yaml(&yaml).map_err(|e| TestCaseError::fail(format!("{e}\n{yaml}")))?, surface);
    }

    #[test]
    fn a_surface_is_a_line_a_cell(surfaces in any_surfaces()) {
        for surface in surfaces {
            let outcomes: usize = surface.cells.values().flat_map(BTreeMap::values).map(BTreeMap::len).sum();
            let clients: usize = surface.cells.values().map(BTreeMap::len).sum();
            prop_assert_eq!(surface.to_yaml().lines().count(), 3 + surface.cells.len() + clients + outcomes);
        }
    }

    #[test]
    fn nothing_differs_from_itself(surfaces in any_surfaces()) {
        prop_assert_eq!(diff(&surfaces, &surfaces), []);
    }

    #[test]
    fn two_differ_where_the_diff_is_not_empty(old in any_surfaces(), new in any_surfaces()) {
        prop_assert_eq!(diff(&old, &new).is_empty(), old == new);
    }

    #[test]
    fn each_cell_counts(surfaces in any_surfaces(), at in any::<prop::sample::Index>(), other in prop::sample::select(OUTCOMES.as_slice())) {
        let cells = all_cells(&surfaces);
        prop_assume!(!cells.is_empty());
        let cell = at.get(&cells);
        let mut new = surfaces.clone();
        let outcome = outcome_at(&mut new, cell);
        let was = std::mem::replace(outcome, Got(other.into()));
        prop_assume!(was.as_str() != other);
        let changes = diff(&surfaces, &new);
        prop_assert_eq!(changes.len(), 1);
        let [scenario, stage, endpoint, client, request] = cell;
        prop_assert_eq!(changes[0].place(), format!("{scenario} · {stage}"));
        for part in [endpoint, client, request, was.as_str()] {
            prop_assert!(changes[0].words.contains(part), "{}", changes[0].words);
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(old in any_surfaces(), new in any_surfaces(), seed in any::<prop::sample::Index>()) {
        let turned = |surfaces: &[Surface]| {
            let mut turned = surfaces.to_vec();
            turned.rotate_left(seed.index(surfaces.len().max(1)));
            turned.reverse();
            turned
        };
        prop_assert_eq!(diff(&turned(&old), &turned(&new)), diff(&old, &new));
    }

    #[test]
    fn cells_are_gathered_in_any_order(cells in prop::collection::vec((0..3_usize, prop::sample::select(OUTCOMES.as_slice())), 0..12).prop_shuffle()) {
        let lines = |cells: &[(usize, &str)]| gather(cells.iter().map(|(client, outcome)| line("a", "b", "c", &client.to_string(), "GET /", outcome)));
        let mut sorted = cells.clone();
        sorted.sort_unstable();
        prop_assert_eq!(lines(&cells), lines(&sorted));
    }

    #[test]
    fn what_opens_comes_first(old in any_surfaces(), new in any_surfaces()) {
        let changes = diff(&old, &new);
        prop_assert!(changes.is_sorted_by_key(|change| change.danger));
        // Told without `Reach`: by the status alone.
        let answered = |outcome: &Got| ["2", "3"].iter().any(|digit| outcome.as_str().starts_with(digit));
        let (mut old, mut new) = (old, new);
        let (before, after) = (all_cells(&old), all_cells(&new));
        let opens = before.iter().any(|cell| after.contains(cell) && !answered(outcome_at(&mut old, cell)) && answered(outcome_at(&mut new, cell)));
        if opens {
            prop_assert!(worse(&changes));
            prop_assert_eq!(changes[0].danger, Danger::Opened);
        }
        let list = change_list(&changes, Reader::default());
        let told = ["opened up: ", "weakened: ", "answered otherwise: ", "gone: "];
        prop_assert_eq!(worse(&changes), list.lines().any(|line| told.iter().any(|word| line.starts_with(word))));
    }
}
