//! What a person sees of a scenario's pages: `screens/<scenario>.yaml`, looked at in a real browser while the
//! stage stands. A scenario without such a file has none. Not for what a page's text holds without a browser:
//! that is a check of the scenario itself.

use std::path::Path;

use serde::Deserialize;
use svidproof::scenario::Scenario;
use svidproof::session::Session;

use crate::webdriver::Browser;

/// One page in one stage.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Screen {
    pub(crate) stage: String,
    /// `namespace/name` of the page's Service.
    service: String,
    /// Of its pods.
    port: u16,
    shows: Vec<String>,
    lacks: Vec<String>,
}

/// The screens of a scenario, from its file in `folder`.
pub(crate) fn load(folder: &Path, scenario: &Scenario) -> Vec<Screen> {
    let file = folder.join(format!("{}.yaml", scenario.name));
    if !file.exists() {
        return vec![];
    }
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let screens: Vec<Screen> =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    for screen in &screens {
        let known = scenario.stages.iter().any(|stage| stage.name == screen.stage);
        assert!(known, "{}: scenario {} has no stage {}", file.display(), scenario.name, screen.stage);
        assert!(!screen.shows.is_empty(), "{}: a screen that shows nothing is never wrong", file.display());
    }
    screens
}

impl Screen {
    pub(crate) fn name(&self, scenario: &Scenario) -> String {
        format!("{}::{}::on the screen of {}", scenario.name, self.stage, self.service)
    }

    /// Whether the browser shows what it should, once the page is loaded.
    pub(crate) async fn look(&self, session: &Session) -> Result<(), String> {
        let kube = &session.context.kube;
        let resolved = kube.resolve(&self.service).await.map_err(|e| svidproof::sys::chain(&e))?;
        let resolved = resolved.map_err(|e| format!("{}: {e:?}", self.service))?;
        let pod = resolved.pods.first().ok_or_else(|| format!("{} has no ready pod", self.service))?;
        let forward = kube.forward(pod, self.port).await.map_err(|e| svidproof::sys::chain(&e))?;
        let browser = Browser::start().await;
        browser.open(&format!("http://{}/", forward.address)).await;
        let seen = browser.text("body").await;
        browser.quit().await;
        let missing = self
            .shows
            .iter()
            .filter(|text| !seen.contains(*text))
            .map(|text| format!("{text:?} is not on it"));
        let surplus =
            self.lacks.iter().filter(|text| seen.contains(*text)).map(|text| format!("{text:?} is on it"));
        let wrong: Vec<_> = missing.chain(surplus).collect();
        if wrong.is_empty() { Ok(()) } else { Err(format!("{}; the screen:\n{seen}", wrong.join(", "))) }
    }
}
