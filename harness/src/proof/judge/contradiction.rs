//! Whether what came as expected came of somebody else, or for another reason, than the scenario says.

use super::origin::Origin;
use super::{Judge, Place};
use crate::proof::plan::Cell;
use crate::scenario::{By, Expect, Kind};

impl<'a> Judge<'a> {
    /// Whether somebody else answered than the scenario says, or for another reason: a policy denied what was
    /// to be let through, or nobody decided on it.
    pub(super) fn contradicts(&self, cell: &'a Cell, place: Place<'a>, by: Option<By>) -> Option<String> {
        let origins = self.origins(place).unwrap_or_default();
        let is_let_in = by == Some(By::Application) && self.is_let_in(cell, place);
        match cell.expect.counts {
            Some(Kind::AuthzOpen) if !is_let_in => {
                let lacking = "no Envoy let the request in for want of its authorizer's answer";
                return Some(format!("as expected, but {lacking} (ext_authz.failure_mode_allowed)"));
            }
            Some(kind) if kind.is_denial() && !origins.iter().any(|one| is_denial(*one, Some(kind))) => {
                let seen = origins.iter().find_map(|one| match one {
                    Origin::Denied(kind, _) => Some(format!("it was counted as `{}`", kind.word())),
                    _ => None,
                });
                let seen = seen.unwrap_or("no filter counted a denial".into());
                return Some(format!("as expected, but not as `counts: {}` says: {seen}", kind.word()));
            }
            Some(Kind::AuthzOpen) => {}
            _ if is_let_in => {
                return Some(format!(
                    "{}the authorizer gave no answer, and Envoy let the request in all the same \
                     (ext_authz.failure_mode_allowed)\n\
                     hint: where that is right, `counts: authz-open` says so",
                    if cell.expect.is_stated() { "as expected, but " } else { "" }
                ));
            }
            _ => {}
        }
        let Some(wanted) = wanted(&cell.expect) else {
            let denied = !origins.is_empty() && origins.iter().all(|one| is_denial(*one, None));
            return (cell.expect.is_stated() && denied)
                .then(|| "as expected, but a policy denied the request".into());
        };
        let why = match (wanted, by?) {
            (By::Envoy, By::Application) => {
                "as expected, but it is the application's own answer: the request was let through to it"
            }
            (By::Application, By::Envoy) => {
                "as expected, but Envoy answered itself: the request did not reach the application"
            }
            (By::Envoy, By::Envoy) | (By::Application, By::Application) => return None,
        };
        Some(why.into())
    }

    /// Whether the request was refused for want of the authorizer's answer, and nobody says that this is
    /// meant: what the authorizer would have said is not known.
    pub(super) fn unanswered(&self, cell: &'a Cell, place: Place<'a>) -> Option<String> {
        let origins = self.origins(place).unwrap_or_default();
        let is_error = |one: &Origin| is_denial(*one, Some(Kind::AuthzError));
        let is_said = cell.expect.counts.is_some();
        // Without counters nobody knows who denied it.
        (!is_said && origins.iter().any(is_error) && !self.is_blind(cell, place)).then(|| {
            "its authorizer gave no answer, so nobody decided on the request (ext_authz.error)\n\
             hint: where that is right, `counts: authz-error` says so"
                .into()
        })
    }

    /// Where on the way a filter may have answered after the application did.
    pub(super) fn replaced(&self, cell: &'a Cell, place: Place<'a>) -> Option<String> {
        let witnesses = &self.windows[place.window].witnesses;
        let mut route = self.attribution.route(cell).into_iter();
        let name = route.find(|name| witnesses.get(*name).is_some_and(|one| one.marks.replaces))?;
        let why = "a filter may put an answer of its own in the application's place, and nothing tells it";
        Some(format!("who answered is in doubt at {name}: {why}"))
    }

    /// Whether an Envoy on the way let the request in without its authorizer's word.
    fn is_let_in(&self, cell: &'a Cell, place: Place<'a>) -> bool {
        let window = &self.windows[place.window];
        self.attribution.route(cell).into_iter().any(|name| {
            let pod = place.dial.pod.as_deref().filter(|_| name == cell.endpoint);
            let happened = window.witnesses.get(name).map(|witness| witness.happened(pod));
            happened.is_some_and(|happened| happened.is_ok_and(|one| one.counted.authz_open > 0))
        })
    }
}

/// Who must have answered, where it matters: a refusal is Envoy's, unless it is said otherwise.
pub(super) fn wanted(expect: &Expect) -> Option<By> {
    let let_in = (expect.counts == Some(Kind::AuthzOpen)).then_some(By::Application);
    expect.by.or(let_in).or(expect.is_refusal().then_some(By::Envoy))
}

/// Whether a filter denied the request, and counted it so where it matters as what.
pub(super) fn is_denial(origin: Origin, as_kind: Option<Kind>) -> bool {
    matches!(origin, Origin::Denied(kind, _) if as_kind.is_none_or(|wanted| kind == wanted))
}
