//! Names that say of what stands under them that it is a secret.

/// Parts of the names of what nobody else may know.
pub(super) const TELLING: [&str; 14] = [
    "credential",
    "token",
    "secret",
    "passwd",
    "password",
    "passphrase",
    "api-key",
    "apikey",
    "private-key",
    "privatekey",
    "access-key",
    "accesskey",
    "client-key",
    "cookie",
];
/// What such a name ends with where it stands for where the secret is, or how it is used.
const HARMLESS: [&str; 18] = [
    "name",
    "names",
    "ref",
    "path",
    "file",
    "filename",
    "dir",
    "seconds",
    "type",
    "count",
    "mode",
    "version",
    "size",
    "url",
    "uri",
    "namespace",
    "config",
    "configs",
];

/// Whether what stands under that name is a secret.
pub fn is_telling(name: &str) -> bool {
    let name = name.to_lowercase().replace('_', "-");
    let tells = name.ends_with("authorization") || TELLING.iter().any(|part| name.contains(part));
    tells && !HARMLESS.iter().any(|end| name.ends_with(end))
}

/// The same for the name of an environment variable or of a header: whatever holds a key as well.
pub(super) fn is_telling_variable(name: &str) -> bool {
    is_telling(name) || name.to_lowercase().contains("key")
}
