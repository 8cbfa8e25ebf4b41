//! Cells that are not dialled: what cannot be tried in this run, and what would be tried on something else
//! than what was written.

use futures::future::try_join_all;

use super::{StageError, Window};
use crate::proof::judge::Judged;
use crate::proof::plan::Cell;
use crate::proof::verdict::Verdict;

impl Window<'_> {
    /// Finds the endpoints whose pods are older than a `ConfigMap` or Secret of theirs: the release was
    /// changed, and what answers there was not.
    pub(super) async fn find_stale(&mut self) -> Result<(), StageError> {
        let looked = self.endpoints.iter().map(async |(name, target)| {
            let found = self.context.kube.stale(&target.resolved.pods).await;
            let found = found.map_err(|source| StageError::Resolve { endpoint: name.clone(), source })?;
            let hint = "an annotation with its checksum on the pod template makes Helm replace them";
            let said = format!("what stands is not what was written: {}; {hint}", found.join("; "));
            Ok::<_, StageError>((!found.is_empty()).then(|| (name.clone(), said)))
        });
        self.stale = try_join_all(looked).await?.into_iter().flatten().collect();
        Ok(())
    }

    /// Takes out the cells that are not to be dialled, judged already.
    pub(super) fn untried(&mut self) -> Vec<Judged> {
        let mut untried = vec![];
        for cell in std::mem::take(&mut self.cells) {
            match self.why_not(&cell) {
                None => self.cells.push(cell),
                Some((verdict, reason)) => untried.push(Judged {
                    cell,
                    observed: None,
                    verdict,
                    reason,
                    evidence: vec![],
                    control: None,
                }),
            }
        }
        untried
    }

    fn why_not(&self, cell: &Cell) -> Option<(Verdict, String)> {
        if let Some(Err(why)) = self.forged.get(&cell.client) {
            return Some((Verdict::Skipped, why.clone()));
        }
        let stale = self.system.scenario.route(&cell.endpoint).find_map(|name| self.stale.get(name))?;
        Some((Verdict::Errored, stale.clone()))
    }
}
