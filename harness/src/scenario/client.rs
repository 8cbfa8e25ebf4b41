//! Who dials. Not for how its credential comes about: `forge` makes the forged ones, SPIRE all others.

use std::fmt::Formatter;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::forge::{self, JwtFlaw, Signer};

/// Who dials.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Client {
    /// `none` for nobody, or the path of a SPIFFE ID, attested for the probe in the cluster.
    Short(String),
    /// The long form.
    Full(FullClient),
    #[schemars(skip)]
    /// One that a scenario does not declare: it comes of a stage's `forged`.
    Forged {
        /// The recipe's name.
        credential: String,
        /// The path of the SPIFFE ID of the client that it is made like.
        like: String,
    },
}

impl Client {
    /// The path of the SPIFFE ID that was attested for it; `None` for nobody, for a forged credential and for
    /// one of another trust domain.
    pub fn identity(&self) -> Option<&str> {
        match self {
            Self::Short(id) | Self::Full(FullClient { id, trust_domain: None, .. }) => {
                (id != NOBODY).then_some(id)
            }
            Self::Full(_) | Self::Forged { .. } => None,
        }
    }

    /// The other trust domain that it is of, and the path of its SPIFFE ID there.
    pub fn foreign(&self) -> Option<(&str, &str)> {
        match self {
            Self::Full(FullClient { id, trust_domain: Some(domain), .. }) => Some((domain, id)),
            Self::Short(_) | Self::Full(_) | Self::Forged { .. } => None,
        }
    }

    /// The JWT-SVID that its requests bear.
    pub fn jwt(&self) -> Option<&Jwt> {
        match self {
            Self::Full(client) => client.jwt.as_ref(),
            Self::Short(_) | Self::Forged { .. } => None,
        }
    }

    /// The path of the SPIFFE ID that its JWT-SVID is of.
    pub fn subject(&self) -> Option<&str> {
        self.jwt()?.id.as_deref().or_else(|| self.identity())
    }

    /// The paths of all SPIFFE IDs that must be attested for it, by the probe or on its machine.
    pub fn attested(&self) -> impl Iterator<Item = &str> {
        self.identity().into_iter().chain(self.subject())
    }

    /// Those that the probe in the cluster must be given for it.
    pub fn probed(&self) -> impl Iterator<Item = &str> {
        self.attested().filter(|_| self.machine().is_none())
    }

    /// The machine outside of the cluster that it is a user of.
    pub fn machine(&self) -> Option<&str> {
        match self {
            Self::Full(client) => client.machine.as_deref(),
            Self::Short(_) | Self::Forged { .. } => None,
        }
    }

    /// The name of the forged credential that it presents.
    pub fn credential(&self) -> Option<&str> {
        match self {
            Self::Forged { credential, .. } => Some(credential),
            Self::Short(_) | Self::Full(_) => None,
        }
    }

    /// Whether no certificate is presented.
    pub fn is_nobody(&self) -> bool {
        match self {
            Self::Forged { credential, .. } => {
                forge::recipe(credential).is_some_and(|recipe| recipe.signer == Signer::None)
            }
            Self::Short(id) | Self::Full(FullClient { id, .. }) => id == NOBODY,
        }
    }

    /// Whether it dials from where svidproof runs.
    pub fn is_outside(&self) -> bool {
        matches!(self, Self::Full(FullClient { outside: true, .. } | FullClient { machine: Some(_), .. }))
    }
}

/// How a scenario writes a client without a certificate.
const NOBODY: &str = "none";

/// By hand, not `untagged`: that would take line, column and the wrong key out of an error in the full form.
impl<'de> Deserialize<'de> for Client {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClientVisitor;
        impl<'de> Visitor<'de> for ClientVisitor {
            type Value = Client;

            fn expecting(&self, f: &mut Formatter) -> std::fmt::Result {
                f.write_str("`none`, the path of a SPIFFE ID, or a map with `id`")
            }

            fn visit_str<E: serde::de::Error>(self, id: &str) -> Result<Client, E> {
                Ok(Client::Short(id.into()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Client, A::Error> {
                FullClient::deserialize(MapAccessDeserializer::new(map)).map(Client::Full)
            }
        }
        deserializer.deserialize_any(ClientVisitor)
    }
}

/// A client in its long form.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FullClient {
    /// As in the short form.
    pub id: String,
    /// Dial from where svidproof runs, through the endpoint's published port, with an SVID carried out of the
    /// cluster.
    #[serde(default)]
    pub outside: bool,
    /// `namespace/pod-label-app`: carry the SVID out of this workload's pod, by its own spire-agent; else out
    /// of the probe.
    #[serde(default)]
    pub from: Option<String>,
    /// One of `machines`: its SVID is what that machine's SPIRE agent hands to a process of `user`, and it
    /// dials from there. With `id: none` that agent must hand none to it.
    #[serde(default)]
    pub machine: Option<String>,
    /// The number of the Unix user, and group, that it is on its machine; absent: whoever runs svidproof.
    #[serde(default)]
    pub user: Option<u32>,
    /// Another trust domain, of the scenario's `federation`, that its SVID is of; that domain's SPIRE server
    /// signs it.
    #[serde(default)]
    pub trust_domain: Option<String>,
    /// The JWT-SVID that each of its requests bears, beside the certificate: `authorization: Bearer …`.
    #[serde(default)]
    pub jwt: Option<Jwt>,
}

/// A JWT-SVID, given to the probe by the Workload API, or made of one that was.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Jwt {
    /// Whom it is for: the path of a SPIFFE ID of the trust domain, or any other text as it is.
    pub audience: String,
    /// The path of the SPIFFE ID that it is of, where that is not the client's own.
    #[serde(default)]
    pub id: Option<String>,
    /// What is wrong with it; absent: nothing.
    #[serde(default)]
    pub forged: Option<JwtFlaw>,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn forged(credential: &str) -> Client {
        Client::Forged { credential: credential.into(), like: "/till".into() }
    }

    #[rstest]
    #[case::attested("/till", Some("/till"), false, false)]
    #[case::nobody("none", None, true, false)]
    #[case::outside("{id: /till, outside: true}", Some("/till"), false, true)]
    #[case::nobody_outside("{id: none, outside: true}", None, true, true)]
    #[case::of_another_domain("{id: /till, trust-domain: a.example}", None, false, false)]
    #[case::long_and_inside("{id: /till}", Some("/till"), false, false)]
    #[case::on_a_machine("{id: /till, machine: vm}", Some("/till"), false, true)]
    #[case::nobody_on_a_machine("{id: none, machine: vm, user: 7}", None, true, true)]
    fn a_client_is_read(
        #[case] text: &str,
        #[case] identity: Option<&str>,
        #[case] nobody: bool,
        #[case] outside: bool,
    ) {
        let client: Client = serde_saphyr::from_str(text).unwrap();
        assert_eq!((client.identity(), client.is_nobody(), client.is_outside()), (identity, nobody, outside));
        assert_eq!(client.credential(), None);
    }

    #[rstest]
    #[case::its_own("{id: /till, jwt: {audience: /shop}}", Some("/till"), &["/till", "/till"], None)]
    #[case::anothers("{id: /till, jwt: {audience: a, id: /x}}", Some("/x"), &["/till", "/x"], None)]
    #[case::without_a_certificate("{id: none, jwt: {audience: a, id: /x, forged: alg-none}}", Some("/x"), &["/x"],
        Some(JwtFlaw::AlgNone))]
    #[case::none("{id: /till}", None, &["/till"], None)]
    #[case::short("/till", None, &["/till"], None)]
    fn a_jwt_is_the_clients_own_or_anothers(
        #[case] text: &str,
        #[case] subject: Option<&str>,
        #[case] attested: &[&str],
        #[case] forged: Option<JwtFlaw>,
    ) {
        let client: Client = serde_saphyr::from_str(text).unwrap();
        assert_eq!(client.subject(), subject);
        assert_eq!(client.attested().collect::<Vec<_>>(), attested);
        assert_eq!(client.jwt().and_then(|jwt| jwt.forged), forged);
    }

    #[rstest]
    #[case::by_the_probe("{id: /till}", &["/till"])]
    #[case::outside("{id: /till, outside: true}", &["/till"])]
    #[case::on_a_machine("{id: /till, machine: vm}", &[])]
    fn the_probe_is_given_what_no_machine_attests(#[case] text: &str, #[case] probed: &[&str]) {
        let client: Client = serde_saphyr::from_str(text).unwrap();
        assert_eq!(client.probed().collect::<Vec<_>>(), probed);
        assert_eq!(client.attested().collect::<Vec<_>>(), ["/till"]);
    }

    #[rstest]
    #[case::a_list("[none]", "a map with `id`")]
    #[case::without_an_id("{outside: true}", "missing field `id`")]
    #[case::misspelt("{id: /till, outsid: true}", "unknown field `outsid`")]
    fn what_is_no_client_is_told(#[case] text: &str, #[case] expected: &str) {
        let error = serde_saphyr::from_str::<Client>(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[rstest]
    #[case::presents_one("rogue-ca", false)]
    #[case::presents_none("nobody", true)]
    #[case::missing("no-such-credential", false)]
    fn a_forged_client_is_nobody_where_its_recipe_signs_nothing(#[case] name: &str, #[case] nobody: bool) {
        let client = forged(name);
        assert_eq!((client.credential(), client.is_nobody()), (Some(name), nobody));
        assert_eq!((client.identity(), client.is_outside()), (None, false));
    }
}
