//! A registry that the user names: where it is, how it is spoken to, and what an image is called there. Pure;
//! what is asked of it and put there is `client`'s.

mod client;

pub(super) use client::Client;
pub use client::RemoteError;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::full_name;

/// `HOST[:PORT][/PREFIX]`, with `http://` or `https://` before it where the other would be taken: a registry
/// is spoken to by plain HTTP on the loopback and at private addresses (RFC 1918, RFC 4193), else by TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
pub struct Remote {
    /// Its host, and its port where that is said.
    host: String,
    /// What stands before each repository: empty, or `shop/tests`.
    prefix: String,
    plain: bool,
}

impl TryFrom<String> for Remote {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (scheme, rest) =
            text.split_once("://").map_or((None, text.as_str()), |(s, rest)| (Some(s), rest));
        let (host, prefix) =
            rest.trim_end_matches('/').split_once('/').unwrap_or((rest.trim_end_matches('/'), ""));
        let bare = bare(host);
        let plain = match scheme {
            None => is_near(bare),
            Some("http") => true,
            Some("https") => false,
            Some(_) => return Err(wrong(&text)),
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
        let is_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/".contains(c);
        let port = host.strip_prefix(bare).unwrap_or_default().strip_prefix(':');
        let is_one = !bare.is_empty()
            && (bare.chars().all(is_host) || ip(bare).is_some())
            && port.is_none_or(|port| port.parse::<u16>().is_ok())
            && prefix.chars().all(is_path);
        if is_one { Ok(Self { host: host.into(), prefix: prefix.into(), plain }) } else { Err(wrong(&text)) }
    }
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{}://{}{slash}{}", self.scheme(), self.host, self.prefix)
    }
}

impl Remote {
    /// As [`Remote`] reads it; without a prefix, since nodes ask a mirror for the names that images have.
    ///
    /// # Errors
    /// In words: it is none.
    pub fn mirror(text: &str) -> Result<Self, String> {
        let remote: Self = text.parse()?;
        if remote.prefix.is_empty() {
            return Ok(remote);
        }
        Err(format!("a mirror is a host and a port, and `{text}` has the path `{}`", remote.prefix))
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.plain { "http" } else { "https" }
    }

    /// Its host, without a port.
    pub fn name(&self) -> &str {
        bare(&self.host)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        let said = self.host.strip_prefix(self.name()).and_then(|port| port.strip_prefix(':'));
        said.and_then(|port| port.parse().ok()).unwrap_or(if self.plain { 80 } else { 443 })
    }

    /// Whether it has a name of its own, and not only an address.
    pub fn has_name(&self) -> bool {
        ip(self.name()).is_none()
    }

    /// What an image's repository is called there: `docker.io/library/nginx` is `HOST/library/nginx`. Its own
    /// registry does not go along.
    pub fn repository(&self, image: &str) -> String {
        format!("{}/{}", self.host, self.path(&Name::of(image)))
    }

    fn path(&self, name: &Name) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        format!("{}{slash}{}", self.prefix, name.repository)
    }
}

/// An image's full name, taken apart.
struct Name {
    registry: String,
    repository: String,
    /// A tag, or a digest, which has a colon.
    at: String,
}

impl Name {
    fn of(image: &str) -> Self {
        let full = full_name(image);
        let (registry, rest) = full.split_once('/').unwrap_or(("", &full));
        let (tagged, digest) =
            rest.split_once('@').map_or((rest, None), |(tagged, digest)| (tagged, Some(digest)));
        let (repository, tag) = tagged.rsplit_once(':').unwrap_or((tagged, "latest"));
        Self { registry: registry.into(), repository: repository.into(), at: digest.unwrap_or(tag).into() }
    }
}

/// A host without its port; an IPv6 address keeps its brackets.
fn bare(host: &str) -> &str {
    let end = host.rfind(']').map_or(0, |end| end + 1);
    host[end..].find(':').map_or(host, |colon| &host[..end + colon])
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_near(host: &str) -> bool {
    match ip(host) {
        Some(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Some(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        None => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn wrong(text: &str) -> String {
    format!(
        "`{text}` is no registry: write `HOST[:PORT]`, such as `localhost:5000` or `https://registry.test`"
    )
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("localhost:5000", "http://localhost:5000")]
    #[case("127.0.0.1", "http://127.0.0.1")]
    #[case("10.1.2.3:5000/", "http://10.1.2.3:5000")]
    #[case("[::1]:5000", "http://[::1]:5000")]
    #[case("[fd00::1]", "http://[fd00::1]")]
    #[case("ghcr.io/shop/tests", "https://ghcr.io/shop/tests")]
    #[case("192.0.2.1:5000", "https://192.0.2.1:5000")]
    #[case("http://registry.test", "http://registry.test")]
    #[case("https://localhost:5000", "https://localhost:5000")]
    fn plain_http_is_for_what_is_near_or_where_it_is_said(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(text.parse::<Remote>().unwrap().to_string(), expected);
    }

    #[rstest]
    #[case("")]
    #[case("ftp://registry.test")]
    #[case("registry.test:port")]
    #[case("registry test")]
    #[case("registry.test/UPPER")]
    #[case("user@registry.test")]
    fn what_is_no_registry_is_told(#[case] text: &str) {
        let told = text.parse::<Remote>().unwrap_err();
        assert!(told.starts_with(&format!("`{text}` is no registry: write `HOST[:PORT]`")), "{told}");
    }

    #[test]
    fn a_mirror_has_no_path() {
        assert_eq!(Remote::mirror("localhost:5000").unwrap().to_string(), "http://localhost:5000");
        let told = Remote::mirror("localhost:5000/proxy").unwrap_err();
        assert_eq!(told, "a mirror is a host and a port, and `localhost:5000/proxy` has the path `proxy`");
    }

    #[rstest]
    #[case("nginx:1.22", "r.test/library/nginx", "1.22")]
    #[case("registry.k8s.io/coredns/coredns:v1", "r.test/coredns/coredns", "v1")]
    #[case("svidproof/probe:dev", "r.test/svidproof/probe", "dev")]
    #[case("localhost:5000/a", "r.test/a", "latest")]
    #[case("ghcr.io/a/b:1@sha256:01", "r.test/a/b", "sha256:01")]
    fn an_image_keeps_its_name_and_leaves_its_registry(
        #[case] image: &str,
        #[case] repository: &str,
        #[case] at: &str,
    ) {
        let remote: Remote = "r.test".parse().unwrap();
        assert_eq!((remote.repository(image).as_str(), Name::of(image).at.as_str()), (repository, at));
        let below: Remote = "r.test/below".parse().unwrap();
        assert_eq!(below.repository(image), repository.replace("r.test/", "r.test/below/"));
    }

    #[rstest]
    #[case("localhost:5000", "localhost", 5000, true)]
    #[case("http://registry.test", "registry.test", 80, true)]
    #[case("registry.test", "registry.test", 443, true)]
    #[case("[::1]:5000", "[::1]", 5000, false)]
    fn where_it_is(#[case] text: &str, #[case] name: &str, #[case] port: u16, #[case] has_name: bool) {
        let remote: Remote = text.parse().unwrap();
        assert_eq!((remote.name(), remote.port(), remote.has_name()), (name, port, has_name));
    }
}
