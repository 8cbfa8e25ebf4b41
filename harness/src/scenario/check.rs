//! What is dialled, and what must be seen: a check, and the matrix that stands for many. Not for judging.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use svidproof_probe::protocol::{Http, TlsVersions};

use super::{Counted, CutOff, Kind, Place, schema};
use crate::alert::AlertName;

/// A client, an endpoint, a request, what is expected and, for a refusal, the control.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    /// Unique in its stage.
    #[serde(rename = "check")]
    pub name: String,
    /// One client, or several: the check is then made for each.
    #[serde(rename = "as")]
    pub clients: OneOrMany,
    /// The endpoint.
    pub to: String,
    /// `METHOD TARGET`, one or several; with `http: none`, the bytes that are sent, as text.
    #[serde(default)]
    pub send: OneOrMany,
    /// In the place of `send`, a gRPC call: `package.Service/Method`, one or several.
    #[serde(default)]
    pub grpc: OneOrMany,
    /// In the place of `send`, the opening handshake of a WebSocket: its target, one or several.
    #[serde(default)]
    pub websocket: OneOrMany,
    /// The HTTP version, 1.1 where it is not said; `none` for an application that speaks no HTTP.
    #[serde(default)]
    #[schemars(schema_with = "schema::http")]
    pub http: Http,
    /// Which TLS versions the client offers, any where it is not said; `none` for plain text.
    #[serde(default)]
    #[schemars(schema_with = "schema::tls")]
    pub tls: TlsVersions,
    /// The server name that the client sends (SNI); `""` for none. The endpoint's where it is not said.
    #[serde(default)]
    pub sni: Option<String>,
    /// What goes out as `Host` or `:authority`. The endpoint's DNS name or Service where it is not said.
    #[serde(default)]
    pub authority: Option<String>,
    /// Request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The request's body; the message of a gRPC call.
    #[serde(default)]
    pub body: Option<String>,
    /// A file with it, relative to the project's root.
    #[serde(default)]
    pub body_file: Option<PathBuf>,
    /// Request trailers.
    #[serde(default)]
    pub trailers: BTreeMap<String, String>,
    /// What must be seen.
    pub expect: Expect,
    /// The name of a check of the same stage that must pass for this refusal to count.
    #[serde(default)]
    pub control: Option<String>,
    /// What a reader should know about this: it is as expected, and yet not as it should be.
    #[serde(default)]
    pub finding: Option<String>,
    /// The body as it goes out. Set by `load`.
    #[serde(skip)]
    pub sent: Vec<u8>,
    /// Where it stands in the file, or what stands for it. Set by `load`.
    #[serde(skip)]
    pub place: Place,
}

/// What must be seen. At most one of `status`, `grpc-status`, `reply`, `alert` and `cut-off` is there, and in
/// a check that a user writes exactly one, or `by: application` alone; the rest narrows it down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Expect {
    /// Of the HTTP answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Of a gRPC call, by its number (gRPC, "Status codes and their use in gRPC"): 0 is OK. `load` makes
    /// `status` and `headers` of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<u8>,
    /// With `http: none`: what comes back first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// A TLS alert by its RFC 8446 name or its number. In TLS 1.2, `certificate_required` is
    /// `handshake_failure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<AlertName>,
    /// The server ends the connection without an answer and without an alert, and its counter says that this
    /// is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<CutOff>,
    /// What the server counts with the alert, or of the request, where what the client sees does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Kind>,
    /// The body, parsed as JSON, equals this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// The whole body; `""` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Texts that the body has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contains: Vec<String>,
    /// Texts that the body has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// How often each text stands in the body.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub count: BTreeMap<String, usize>,
    /// Header names in lower case, and their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Who must have answered. A refusal is an Envoy's unless this says `application`; that alone is an
    /// answer of the application with whatever status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// What the endpoint's `upstream` must have counted for this one request, if it is not the request
    /// itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Counted>,
}

impl Expect {
    /// Whether anything is: a cell of a surface only has to be judged.
    pub fn is_stated(&self) -> bool {
        self.is_before_a_request() || self.status.is_some() || self.reply.is_some() || self.is_any_answer()
    }

    /// Whether any answer will do that is the application's own.
    pub fn is_any_answer(&self) -> bool {
        let is_else = self.is_before_a_request() || self.status.is_some() || self.reply.is_some();
        self.by == Some(By::Application) && !is_else
    }

    /// Whether the client must be turned away before any request of its is looked at: by a TLS alert, or by
    /// the end of its connection.
    pub fn is_before_a_request(&self) -> bool {
        self.alert.is_some() || self.cut_off.is_some()
    }

    /// Whether the client must be turned away before the application: by a TLS alert or the end of its
    /// connection, an HTTP status of 400 or more, a gRPC status other than OK, or whatever a filter answers
    /// that counts it as denied. What the application itself answers is no refusal.
    pub fn is_refusal(&self) -> bool {
        let denied = self.status.is_some_and(|status| status >= 400)
            || self.is_grpc_refusal()
            || self.counts.is_some_and(Kind::is_denial);
        self.is_before_a_request() || denied && self.by != Some(By::Application)
    }

    /// Whether a gRPC call must be denied: by `grpc-status`, its HTTP status being 200 (gRPC over HTTP/2,
    /// "Responses").
    pub fn is_grpc_refusal(&self) -> bool {
        let status = self.headers.get("grpc-status");
        self.by != Some(By::Application) && status.is_some_and(|status| status != "0")
    }
}

/// Who gave an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// An Envoy on the way, by itself: a policy, a direct response, a redirect, an error.
    Envoy,
    /// The application behind the last of them.
    Application,
}

/// A text, or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum OneOrMany {
    /// One text.
    One(String),
    /// A list of them.
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(vec![])
    }
}

impl OneOrMany {
    /// Each of them made another.
    #[must_use]
    pub fn map(&self, of: impl FnMut(&str) -> String) -> Self {
        Self::Many(self.iter().map(of).collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many.as_slice(),
        }
        .iter()
        .map(String::as_str)
    }
}

/// Every client with every request at every endpoint. What comes of it is for the snapshot to say; that it
/// could be judged is checked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Matrix {
    /// Unique in its stage.
    #[serde(rename = "surface")]
    pub name: String,
    /// Who dials.
    #[serde(rename = "as")]
    pub clients: OneOrMany,
    /// The endpoints.
    pub to: OneOrMany,
    /// HTTP methods.
    #[serde(default)]
    pub methods: OneOrMany,
    /// Request targets, as in `send`.
    #[serde(default)]
    pub paths: OneOrMany,
    /// In the place of `methods` and `paths`, gRPC calls, as in a check.
    #[serde(default)]
    pub grpc: OneOrMany,
    /// HTTP versions; 1.1 alone where it is not said.
    #[serde(default = "default_http")]
    #[schemars(schema_with = "schema::https")]
    pub http: Vec<Http>,
    /// As in a check.
    #[serde(default)]
    #[schemars(schema_with = "schema::tls")]
    pub tls: TlsVersions,
    /// As in a check.
    #[serde(default)]
    pub sni: Option<String>,
    /// As in a check.
    #[serde(default)]
    pub authority: Option<String>,
    /// As in a check.
    #[serde(default)]
    pub body: Option<String>,
    /// Sets of request headers, one set a request.
    #[serde(default = "default_headers")]
    pub headers: Vec<BTreeMap<String, String>>,
}

fn default_http() -> Vec<Http> {
    vec![Http::default()]
}

fn default_headers() -> Vec<BTreeMap<String, String>> {
    vec![BTreeMap::new()]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::answered("{status: 200}", true, false)]
    #[case::moved("{status: 399}", true, false)]
    #[case::denied("{status: 400}", true, true)]
    #[case::an_alert("{alert: unknown_ca}", true, true)]
    #[case::an_alert_by_number("{alert: 48}", true, true)]
    #[case::the_applications_own("{status: 404, by: application}", true, false)]
    #[case::any_of_the_applications("{by: application}", true, false)]
    #[case::any_of_an_envoys("{by: envoy}", false, false)]
    #[case::a_grpc_denial("{status: 200, headers: {grpc-status: '7'}}", true, true)]
    #[case::a_grpc_answer("{status: 200, headers: {grpc-status: '0'}}", true, false)]
    #[case::sent_elsewhere("{status: 302, counts: authz-denied}", true, true)]
    #[case::let_in("{status: 200, counts: authz-open}", true, false)]
    #[case::cut_off("{cut-off: no-chain}", true, true)]
    #[case::missing("{}", false, false)]
    fn what_is_expected_is_stated_and_may_be_a_refusal(
        #[case] text: &str,
        #[case] stated: bool,
        #[case] refusal: bool,
    ) {
        let expect: Expect = serde_saphyr::from_str(text).unwrap();
        assert_eq!((expect.is_stated(), expect.is_refusal()), (stated, refusal));
    }

    #[rstest]
    #[case::one("a", &["a"])]
    #[case::many("[a, b]", &["a", "b"])]
    #[case::none("[]", &[])]
    fn one_is_a_list_of_one(#[case] text: &str, #[case] expected: &[&str]) {
        let names: OneOrMany = serde_saphyr::from_str(text).unwrap();
        assert_eq!(names.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_map_is_neither_one_nor_many() {
        let error = serde_saphyr::from_str::<OneOrMany>("{a: b}").unwrap_err().to_string();
        assert!(error.contains("expected a text or a list of texts"), "{error}");
    }
}
