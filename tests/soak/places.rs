//! Which kills there are: where a run is stopped, in which cluster, and by which signal.

use std::time::Duration;

use rustix::process::Signal;
use svidproof::halt::Halt;

use crate::kill::{Kill, Where};

/// In a cluster of the run's own, in the order in which a run comes there.
const OWN: [Halt; 17] = [
    Halt::Lease,
    Halt::Engine,
    Halt::Store,
    Halt::Applying,
    Halt::Cluster,
    Halt::Installing,
    Halt::Entries,
    Halt::Probe,
    Halt::Window,
    Halt::Upgrading,
    Halt::Judged,
    Halt::Reported,
    Halt::Teardown,
    Halt::Destroying,
    Halt::GoneCluster,
    Halt::GoneFolder,
    Halt::Emptied,
];
/// In one of its own, with SPIRE agents outside of it.
const OUTSIDE: [Halt; 2] = [Halt::Machine, Halt::GoneProcess];
/// In the cluster that is kept.
const KEPT: [Halt; 13] = [
    Halt::Claimed,
    Halt::Installing,
    Halt::Entries,
    Halt::Probe,
    Halt::Window,
    Halt::Upgrading,
    Halt::Judged,
    Halt::Teardown,
    Halt::GoneEntries,
    Halt::GoneRelease,
    Halt::GoneSecret,
    Halt::GoneNamespace,
    Halt::GoneClaim,
];
/// What each kind of thing that is left is left by. The cli tier has the rest of the places, with fakes.
const OWN_IN_TIER: [Halt; 4] = [Halt::Store, Halt::Applying, Halt::Window, Halt::GoneCluster];
const KEPT_IN_TIER: [Halt; 6] =
    [Halt::Claimed, Halt::Installing, Halt::Entries, Halt::Upgrading, Halt::GoneRelease, Halt::GoneNamespace];
/// How long a run takes, or longer: at random it is killed before that.
const OWN_LASTS: f64 = 45.0;
const KEPT_LASTS: f64 = 30.0;
/// What svidproof has started works this long, or longer.
const CHILD_LASTS: f64 = 6.0;

/// One SIGKILL each.
pub(crate) fn of_tier() -> [Vec<Kill>; 2] {
    let kills = |places: &[Halt], site| {
        places.iter().map(|place| Kill::at(*place, site, Duration::ZERO, Signal::KILL)).collect()
    };
    [kills(&OWN_IN_TIER, Where::Own), kills(&KEPT_IN_TIER, Where::Kept)]
}

/// `kills` times SIGKILL and as many times SIGTERM or SIGHUP, in turn: each place first, then at random.
pub(crate) fn of_soak(kills: usize, random: &mut fastrand::Rng) -> [Vec<Kill>; 2] {
    let with = |places: &[Halt], site| places.iter().map(|place| (*place, site)).collect::<Vec<_>>();
    let all = [with(&OWN, Where::Own), with(&KEPT, Where::Kept), with(&OUTSIDE, Where::Outside)].concat();
    let mut lists = [vec![], vec![]];
    for number in 0..kills {
        for signal in [Signal::KILL, [Signal::TERM, Signal::HUP][number % 2]] {
            let kill = if let Some((place, site)) = all.get(number) {
                let under_way = [Halt::Applying, Halt::Installing, Halt::Upgrading, Halt::Destroying];
                let after = if under_way.contains(place) { random.f64() * CHILD_LASTS } else { 0.0 };
                Kill::at(*place, *site, Duration::from_secs_f64(after), signal)
            } else {
                let (site, seconds) =
                    if random.bool() { (Where::Own, OWN_LASTS) } else { (Where::Kept, KEPT_LASTS) };
                Kill::at_random(site, Duration::from_secs_f64(random.f64() * seconds), signal)
            };
            lists[usize::from(kill.site == Where::Kept)].push(kill);
        }
    }
    lists
}
