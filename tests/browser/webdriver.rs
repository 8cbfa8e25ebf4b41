//! A headless Chromium, driven over W3C WebDriver. The driver's process group ends with the [`Browser`], also
//! where a test panics.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use svidproof::sys::tool::{self, Tool};
use svidproof::sys::wait::{self, Look};
use tokio::task::JoinHandle;

/// The key of an element's reference in WebDriver's JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// No noise on the network, nothing of the user's own browser.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1440,1000",
];

pub(crate) struct Browser {
    http: reqwest::Client,
    session: String,
    driver: JoinHandle<()>,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let found = |program| {
            tool::find(program)
                .unwrap_or_else(|| panic!("{program} is not on PATH\nhint: scripts/setup --test"))
        };
        let (chromium, chromedriver) = (found("chromium"), found("chromedriver"));
        // reqwest asks for a TLS provider though nothing here speaks TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let profile = tempfile::tempdir().unwrap();
        let log = profile.path().join("chromedriver.log");
        let data = format!("--user-data-dir={}", profile.path().join("chromium").display());
        // What Chromium leaves behind where it is ended hard goes with the folder.
        let running = Tool::new(chromedriver).arg("--port=0").env("TMPDIR", profile.path()).log(&log).run();
        let driver = tokio::spawn(async move { drop(running.await) });
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap();
        let mut browser = Self { http, session: String::new(), driver, _profile: profile };
        let port = wait::poll(
            "chromedriver's port",
            Duration::from_secs(20),
            Duration::from_millis(20),
            async || port(&log),
        )
        .await
        .unwrap();
        let args: Vec<&str> = FLAGS.into_iter().chain([data.as_str()]).collect();
        let options = json!({ "binary": chromium, "args": args });
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        browser.session = format!("http://127.0.0.1:{port}");
        let session = browser.post("/session", json!({ "capabilities": { "alwaysMatch": wanted } })).await;
        browser.session =
            format!("http://127.0.0.1:{port}/session/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// A click of the mouse: it fails where something else is in the way.
    pub(crate) async fn click(&self, css: &str) {
        let element = self.element(css).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Keys into the element, or into a select the option with this text.
    pub(crate) async fn keys(&self, css: &str, text: &str) {
        let element = self.element(css).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Keys to whatever has the focus.
    pub(crate) async fn press(&self, key: &str) {
        let strokes = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.post(
            "/actions",
            json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes }] }),
        )
        .await;
    }

    /// What an expression is in the page.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        self.post("/execute/sync", json!({ "script": format!("return {expression}"), "args": [] })).await
    }

    pub(crate) async fn text(&self, css: &str) -> String {
        self.value(&format!("document.querySelector({}).innerText", json!(css)))
            .await
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// How many elements are there and seen.
    pub(crate) async fn count(&self, css: &str) -> u64 {
        let shown = format!(
            "[...document.querySelectorAll({})].filter((one) => one.checkVisibility()).length",
            json!(css)
        );
        self.value(&shown).await.as_u64().unwrap()
    }

    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": parameters })).await
    }

    pub(crate) async fn emulate(&self, media: &str, scheme: &str) {
        let scheme = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "media": media, "features": scheme })).await;
    }

    /// PNG, of what is in the window.
    pub(crate) async fn screenshot(&self) -> Vec<u8> {
        let answer = self.devtools("Page.captureScreenshot", json!({ "format": "png" })).await;
        STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
    }

    /// What the browser's console says since the last time.
    pub(crate) async fn console(&self) -> Vec<String> {
        let lines = self.post("/se/log", json!({ "type": "browser" })).await;
        lines.as_array().unwrap().iter().map(ToString::to_string).collect()
    }

    /// Ends the browser in order.
    pub(crate) async fn quit(self) {
        self.http.delete(&self.session).send().await.unwrap().error_for_status().unwrap();
    }

    async fn element(&self, css: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": css })).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.http.post(format!("{}{path}", self.session)).json(&body).send().await.unwrap();
        let status = answer.status();
        let mut answer: Value = answer.json().await.unwrap();
        assert!(status.is_success(), "{path} {body}: {status} {}", answer["value"]["message"]);
        answer["value"].take()
    }
}

fn port(log: &Path) -> Look<u16, String> {
    let printed = std::fs::read_to_string(log).unwrap_or_default();
    let port = printed
        .split_once("started successfully on port ")
        .and_then(|(_, rest)| rest.split_once('.'))
        .and_then(|(port, _)| port.parse().ok());
    port.map_or_else(|| Look::NotYet(format!("it printed {printed:?}")), Look::Ready)
}
