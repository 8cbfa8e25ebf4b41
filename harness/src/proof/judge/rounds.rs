//! In which rounds dials are made: all together first; where the counters do not say who answered each of
//! them, every one again in a window of its own: then one unexpected outcome makes nothing doubtful but
//! itself. The loop alone: dialling and reading are of whoever asks for it.

use super::window::{Attempt, Logs, Window};
use super::{is_disturbed, is_settled};
use crate::proof::plan::Cell;
use crate::scenario::{Expect, Scenario};

/// How often a dial is made anew where others disturbed its window.
const TRIES: usize = 4;

/// Who can make dials in a window.
pub trait Dialling {
    /// Where a cell is dialled.
    type Place: Clone;

    /// Makes these dials, and reads what the servers counted before and after. Dials of the same cell in
    /// windows with different words have different ids.
    fn window(&self, dials: &[(Cell, Self::Place)], word: &str) -> impl Future<Output = Window>;

    /// What the applications' logs have said until now.
    fn logs(&self) -> Logs;
}

/// The windows that settle who answered these dials, all of one endpoint, as far as that can be. `cells` are
/// all of the stage.
pub async fn settled<D: Dialling>(
    dialling: &D,
    scenario: &Scenario,
    cells: &[Cell],
    dials: Vec<(Cell, D::Place)>,
) -> Vec<Window> {
    // What an application asks upstream for one request shows only where that is alone; and a connection that
    // ended is told from others by nothing but what was counted meanwhile.
    let is_alone = |expect: &Expect| expect.upstream.is_some() || expect.cut_off.is_some();
    let (alone, together): (Vec<_>, Vec<_>) = dials.into_iter().partition(|(cell, _)| is_alone(&cell.expect));
    let mut windows = vec![];
    let mut again: Vec<_> = alone.into_iter().map(|dial| (dial, vec![])).collect();
    if !together.is_empty() {
        let window = dialling.window(&together, "a").await;
        if is_settled(scenario, cells, &window, &dialling.logs()) {
            windows.push(window);
        } else {
            let seen = window.dials.into_iter().map(|dial| vec![Attempt::from(dial)]);
            again.extend(together.into_iter().zip(seen));
        }
    }
    for (dial, earlier) in again {
        windows.push(self::alone(dialling, scenario, cells, dial, earlier).await);
    }
    windows
}

/// One dial in a window of its own; again where others were there meanwhile.
async fn alone<D: Dialling>(
    dialling: &D,
    scenario: &Scenario,
    cells: &[Cell],
    dial: (Cell, D::Place),
    mut earlier: Vec<Attempt>,
) -> Window {
    let dials = [dial];
    for attempt in 1.. {
        let mut window = dialling.window(&dials, &format!("b{attempt}")).await;
        let settled = is_settled(scenario, cells, &window, &dialling.logs());
        if settled || attempt == TRIES || !is_disturbed(&window) {
            if let Some(dial) = window.dials.first_mut() {
                dial.earlier = earlier;
            }
            return window;
        }
        earlier.extend(window.dials.into_iter().map(Attempt::from));
    }
    Window::default()
}
