//! What users of machines outside of the cluster hold: what their agent hands them, or, where it was banned
//! meanwhile, what it had handed them before, once that has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use svidproof_probe::protocol::Carried;
use x509_parser::pem::Pem;

use crate::scenario::{Client, Scenario};
use crate::session::{RunContext, machines};
use crate::sys::chain;
use crate::sys::wait::{self, Look};

/// Beside what is left of the SVID: clocks of two machines are not quite the same.
const MARGIN: i64 = 1;
/// The longest that a stage of a valid scenario waits for an SVID to end, and a little more.
const LONGEST: Duration = Duration::from_secs(310);

/// What one user of a machine holds.
pub(super) struct Held {
    pub(super) carried: Carried,
    /// When its SVID ends, in seconds since 1970; none for one that has none.
    until: Option<i64>,
    /// It is dialled with after its end, on purpose.
    is_over: bool,
}

impl Held {
    /// Why it is not what it was when the stage began, in words.
    pub(super) fn ended(&self, client: &str) -> Option<String> {
        let over = self.until.is_some_and(|until| until <= Timestamp::now().as_second());
        (over && !self.is_over).then(|| {
            format!(
                "the SVID of client `{client}` has ended since the stage began\n\
                 hint: give its entry a longer `ttl: {{x509: …}}`"
            )
        })
    }
}

/// What the client's process is handed on its machine.
pub(super) async fn held(run: &RunContext, scenario: &Scenario, client: &Client) -> Result<Held, String> {
    let handed = async {
        let machine = client.machine().ok_or("it is no user of a machine")?;
        let carried = match machines::svid(run, scenario, client).await? {
            Some(carried) => carried,
            // It has none, and knows the server all the same.
            None => {
                Carried { chain: String::new(), key: String::new(), bundle: machines::bundle(run, machine)? }
            }
        };
        let until = (!carried.chain.is_empty()).then(|| end_of(&carried.chain)).transpose()?;
        Ok::<_, String>(Held { carried, until, is_over: false })
    };
    handed.await.map_err(|why| {
        let machine = client.machine().unwrap_or_default();
        format!("its SVID on machine {machine}: {why}")
    })
}

/// What the users of the machines that the stage bans hold, by client: first it is handed out, then their
/// agent is banned, then what they hold ends.
pub(super) async fn banned(
    run: &RunContext,
    scenario: &Scenario,
    clients: &BTreeSet<&String>,
    banned: &[String],
) -> BTreeMap<String, Result<Held, String>> {
    let mut all = BTreeMap::new();
    for machine in banned {
        let users = clients.iter().filter(|name| scenario.clients[**name].machine() == Some(machine));
        for name in users {
            all.insert((*name).clone(), held(run, scenario, &scenario.clients[*name]).await);
        }
    }
    for machine in banned {
        let failed = machines::ban(run, scenario, machine).await.err().map(|error| chain(&error));
        let of = all.iter_mut().filter(|(name, _)| scenario.clients[*name].machine() == Some(machine));
        for (_, held) in of {
            if let Some(why) = &failed {
                *held = Err(format!("its machine {machine} was to be banned: {why}"));
            }
        }
    }
    let last = all.values().flatten().filter_map(|held| held.until).max();
    let over = match last {
        Some(last) => over(last).await.err(),
        None => None,
    };
    for held in all.values_mut() {
        match (held.as_mut(), &over) {
            (Ok(held), None) => held.is_over = true,
            (Ok(_), Some(why)) => *held = Err(why.clone()),
            (Err(_), _) => {}
        }
    }
    all
}

/// Waits until SVIDs that end at this time are over.
async fn over(until: i64) -> Result<(), String> {
    let look = async || match until + MARGIN - Timestamp::now().as_second() {
        ..=0 => Look::Ready(()),
        left => Look::<_, Infallible>::NotYet(format!("{left} s are left")),
    };
    let what = "the SVIDs of machines that are banned to end";
    wait::poll(what, LONGEST, Duration::from_millis(200), look).await.map_err(|error| chain(&error))
}

/// When the first certificate of this PEM ends, in seconds since 1970.
fn end_of(chain: &str) -> Result<i64, String> {
    let unread = |problem: String| format!("it is not understood: {problem}");
    let leaf = Pem::iter_from_buffer(chain.as_bytes()).next().ok_or_else(|| unread("it is empty".into()))?;
    let leaf = leaf.map_err(|error| unread(error.to_string()))?;
    let leaf = leaf.parse_x509().map_err(|error| unread(error.to_string()))?;
    Ok(leaf.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(until: Option<i64>, is_over: bool) -> Held {
        let carried = Carried { chain: String::new(), key: String::new(), bundle: String::new() };
        Held { carried, until, is_over }
    }

    #[test]
    fn an_svid_that_ends_in_the_middle_of_a_stage_says_so() {
        let now = Timestamp::now().as_second();
        assert!(held(Some(now - 1), false).ended("vm").unwrap().contains("client `vm` has ended"));
        assert_eq!(held(Some(now + 60), false).ended("vm"), None);
        assert_eq!(held(None, false).ended("vm"), None, "who has none has none that ends");
        assert_eq!(held(Some(now - 1), true).ended("vm"), None, "it was waited for");
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let made = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(end_of(&made.pem()), Ok(1_893_456_000));
        assert!(end_of("").unwrap_err().contains("it is empty"));
    }
}
