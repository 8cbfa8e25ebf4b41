//! What goes, in which forms, and what stays.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rcgen::KeyPair;
use rstest::rstest;
use serde_json::json;

use super::*;

fn clean(text: &str) -> String {
    String::from_utf8_lossy(&Redactor::default().bytes(text.as_bytes()).0).into_owned()
}

#[test]
fn no_rule_is_dropped_for_a_mistake_in_it() {
    assert_eq!(text::rules(), 27);
}

/// `CANARY` stands for what must go; the words around it stay.
#[rstest]
#[case::jwt("got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJDQU5BUlkifQ.CANARY-_ from it", &["got", "from it"])]
#[case::jwt_without_a_signature("eyJhbGciOiJub25lIn0.CANARY", &[])]
#[case::bearer("authorization: Bearer CANARY.1\nhost: a", &["host: a"])]
#[case::digest("Authorization: Digest user=a, response=CANARY\nhost: a", &["Authorization: Digest", "host: a"])]
#[case::more_than_a_token("password: \"Bearer 0123456789 CANARY\"\nb: 2", &["b: 2"])]
#[case::bearer_in_lua(r#"h:add("authorization", "Bearer CANARY-1")"#, &["h:add("])]
#[case::userinfo("postgres://user:CANARY@db:5432/x", &["postgres://user:", "@db:5432/x"])]
#[case::join_token("spiffe://example.org/spire/agent/join_token/CANARY-12 attested", &["example.org/spire/agent/join_token/", "attested"])]
#[case::join_token_flag("spire-agent run -joinToken CANARY-1 -x", &["spire-agent run", "-x"])]
#[case::github("push with ghp_CANARYCANARYCANARYCANARY", &["push with"])]
#[case::jwk(r#"{"kty":"oct","k":"CANARYCANARYCANARY"}"#, &["oct"])]
#[case::jwk_in_json(r#""{\"kty\":\"oct\",\"k\":\"CANARYCANARYCANARY\"}""#, &["oct"])]
#[case::cookie("Set-Cookie: session=CANARY; path=/\nserver: envoy", &["server: envoy"])]
#[case::variable("DB_PASSWORD=CANARY PORT=1", &["DB_PASSWORD=", "PORT=1"])]
#[case::json(r#"{"clientSecret": "CANARY with \"words\" CANARY", "a": 1}"#, &["clientSecret", "\"a\": 1"])]
#[case::json_in_json(r#""{\"password\": \"CANARY CANARY\", \"a\": 1}""#, &["password", "a"])]
#[case::single_quotes("api_key: 'CANARY CANARY'\nb: 2", &["b: 2"])]
#[case::yaml("password: CANARY\nb: 2", &["b: 2"])]
#[case::yaml_of_words("a: 1\n  password: CANARY and CANARY\nb: 2", &["a: 1", "b: 2"])]
#[case::yaml_in_json(r#""a: 1\npassword: CANARY and, CANARY\nb: 2""#, &["a: 1", "b: 2"])]
#[case::header_in_yaml("- {header: {key: x-api-key, value: \"CANARY, CANARY\"}}\nb: 2", &["x-api-key", "b: 2"])]
#[case::header_in_yaml_bare("- {header: {key: x-api-key, value: CANARY CANARY}}\nb: 2", &["x-api-key", "}}", "b: 2"])]
#[case::variable_in_yaml("- name: TLS_KEY\n  value: CANARY\n- name: B", &["TLS_KEY", "name: B"])]
#[case::variable_in_json_in_json(r#""[{\"name\":\"API_TOKEN\",\"value\":\"CANARY, \\u00e9 CANARY\"},1]""#, &["API_TOKEN", "},1]"])]
#[case::inline_in_yaml("- {name: a, generic_secret: {secret: {inline_string: \"CANARY CANARY\"}}}\nb: 2", &["name: a", "b: 2"])]
#[case::yaml_with_quotes_in_json(r#""a: 1\n- {name: TLS_KEY, value: \"CANARY, CANARY\"}\nb: 2""#, &["a: 1", "TLS_KEY", "b: 2"])]
#[case::inline_in_lines("password:\n  inline_string: CANARY\nb: 2", &["b: 2"])]
#[case::inline_in_json_in_json(r#""{\"session_ticket_keys\":{\"keys\":[{\"inline_bytes\":\"CANARY\"}]},\"b\":2}""#, &["b"])]
#[case::inline_code_is_none("password: CANARY\nsource: {inline_string: \"b: 2\"}", &["b: 2"])]
#[case::yaml_block("password: |\n  CANARY\nb: 2", &["b: 2"])]
#[case::flag("sh -c 'login --db-password CANARY --to db'", &["login", "--to db"])]
#[case::flag_in_a_list(r#"["--token", "CANARY", "b"]"#, &["\"b\""])]
#[case::flag_with_its_value("--auth-token=CANARY", &["--auth-token="])]
#[case::kubeconfig("users:\n- name: a\n  user:\n    client-key-data: CANARY\n    token: CANARY\n", &["name: a"])]
#[case::key_without_an_end("-----BEGIN EC PRIVATE KEY-----\nCANARY\n", &[])]
#[case::key_without_a_beginning("CANARY\nCANARY\n-----END PRIVATE KEY-----\nthe next line", &["the next line"])]
fn what_has_the_form_or_the_name_of_a_secret_goes(#[case] text: &str, #[case] stays: &[&str]) {
    let clean = clean(text);
    assert!(!clean.contains("CANARY") && clean.contains("[redacted: "), "{clean}");
    for part in stays {
        assert!(clean.contains(part), "{part:?} is gone: {clean}");
    }
    // What is hidden within base64 goes with it, wherever in it that stands, and in either alphabet.
    for before in ["", "a", "ab"] {
        for encoded in
            [STANDARD.encode(format!("{before}{text}")), URL_SAFE_NO_PAD.encode(format!("{before}{text}"))]
        {
            let hidden = self::clean(&format!("data: {encoded} and /{encoded}"));
            assert!(!hidden.contains(&encoded[4..encoded.len() - 4]), "{hidden}");
        }
    }
}

#[rstest]
#[case::logs(
    "time=2026-11-26T19:48:41Z level=info msg=\"SVID updated\" entry=6a1c spiffe_id=\"spiffe://example.org/ns/default/sa/default/backend\" authorization_as=agent"
)]
#[case::names(
    "secretName: web-tls\nserviceAccountName: default\ntoken_uri: https://a/b\nautomountServiceAccountToken: true\ntokenExpirationSeconds: 3600"
)]
#[case::rbac(r#"{"resources": ["secrets", "configmaps"], "verbs": ["get"]}"#)]
#[case::counters("listener.0.0.0.0_9001.ssl.fail_verify_san: 4\nhttp.in.rbac.denied: 2\ntokens: 5")]
#[case::images(
    "docker.io/library/nginx@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)]
#[case::prose("a basic authentication with the token of the day was refused")]
#[case::sds(r#"{"tls_certificate_sds_secret_configs": [{"name": "spiffe://example.org/a"}], "validation_context_sds_secret_config": {"name": "ROOTCA"}}"#)]
fn what_is_no_secret_stays(#[case] text: &str) {
    assert_eq!(clean(text), text);
    assert_eq!(clean(&STANDARD.encode(text)), STANDARD.encode(text));
}

#[test]
fn keys_go_in_every_form_and_certificates_stay() {
    let key = KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["a.test".into()]).unwrap().self_signed(&key).unwrap();
    let (pem, der) = (key.serialize_pem(), key.serialize_der());
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let telling = &body[20..60];
    let wrapped: Vec<_> = STANDARD
        .encode(&pem)
        .as_bytes()
        .chunks(76)
        .map(|c| String::from_utf8_lossy(c).into_owned())
        .collect();
    let forms = [
        format!("before\n{pem}after"),
        json!({"log": format!("before {pem} after")}).to_string(),
        format!("key: {}\n", STANDARD.encode(&pem)),
        format!("tls.key: |\n  {}\n", wrapped.join("\n  ")),
        json!({"tls": wrapped.join("\n")}).to_string(),
        format!("\"x\": \"{}\"", STANDARD.encode(&der)),
        format!("\"x\": \"{}\"", URL_SAFE_NO_PAD.encode(&der)),
        STANDARD.encode(STANDARD.encode(&pem)),
        pem.lines().skip(1).collect::<Vec<_>>().join("\n"),
        pem.lines().take(2).collect::<Vec<_>>().join("\n"),
    ];
    for form in forms {
        let clean = clean(&form);
        assert!(clean.contains("[redacted: "), "{form}\n->\n{clean}");
        for piece in [telling.to_owned(), STANDARD.encode(telling), wrapped[1][10..50].into()] {
            assert!(!clean.contains(&piece), "{form}\n->\n{clean}");
        }
        assert!(
            !form.starts_with("before") || (clean.starts_with("before") && clean.ends_with("after")),
            "{clean}"
        );
    }
    let public = [
        certificate.pem(),
        STANDARD.encode(certificate.pem()),
        STANDARD.encode(certificate.der()),
        key.public_key_pem(),
    ];
    for form in public {
        assert_eq!(clean(&form), form);
    }
}

#[test]
fn what_is_known_goes_wherever_it_stands() {
    let secret = "correct \"horse\"\nbattery";
    let redactor = Redactor::knowing([format!("{secret}\n").into_bytes(), b"short".to_vec(), vec![7; 12]]);
    let text = format!(
        "a {secret} b {} c {} d short {}",
        STANDARD.encode(secret),
        STANDARD.encode(format!("x{secret}y")),
        json!(secret)
    );
    let (clean, marks) = redactor.bytes(text.as_bytes());
    let clean = String::from_utf8(clean.into_owned()).unwrap();
    let (known, encoded) = ("[redacted: a known secret]", "[redacted: a secret in base64]");
    assert_eq!(clean, format!("a {known} b {known}= c {encoded} d short \"{known}\""));
    assert_eq!(marks, 4);
    assert_eq!(redactor.bytes(&[7; 14]).1, 1, "bytes that are no text");
}

#[test]
fn bytes_that_are_no_text_are_no_hiding_place() {
    for (before, after) in [("password: '", "'"), ("{\"token\": \"", "\"}"), ("Cookie: ", "\n")] {
        let text = [before.as_bytes(), b"\xff\xfe CANARY", after.as_bytes()].concat();
        let clean = Redactor::default().bytes(&text).0.into_owned();
        assert!(!String::from_utf8_lossy(&clean).contains("CANARY"), "{}", clean.escape_ascii());
    }
}

#[test]
fn certificates_are_not_kept_for_secrets() {
    let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    let redactor = Redactor::knowing([certificate.into()]);
    assert_eq!(redactor.bytes(certificate.as_bytes()), (Cow::Borrowed(certificate.as_bytes()), 0));
}

#[test]
fn an_object_is_left_without_its_secrets() {
    let mut value = json!({"items": [
        {"kind": "Secret", "metadata": {"name": "s", "managedFields": [1], "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{\"data\":{\"a\":\"CANARY\"}}"}},
            "data": {"a": "Q0FOQVJZ"}, "stringData": {"b": "CANARY"}},
        {"kind": "Pod", "spec": {"containers": [{
            "args": ["--password", "CANARY", "--key-file", "/a", "--token", "CANARY"],
            "env": [
                {"name": "API_TOKEN", "value": "CANARY"}, {"name": "TLS_KEY", "value": "CANARY"},
                {"name": "PORT", "value": "80"},
                {"name": "DB_SECRET", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
            ]}]}},
        {"kind": "ConfigMap", "data": {"password": "CANARY", "app.yaml": "a: 1\npassword: CANARY\nb: 2\n"}},
        {"private_key": {"inline_bytes": "CANARY"}, "password": {"inline_string": "CANARY"}, "a": {"filename": "/k"}},
        {"secret": {"generic_secret": {"secret": {"inline_string": "CANARY"}}}},
        {"session_ticket_keys": {"keys": [{"inline_bytes": "CANARY"}]}},
        {"headers": [{"header": {"key": "x-api-key", "value": "CANARY"}}, {"header": {"key": ":path", "value": "/a"}}]},
        {"users": {"inline_string": "user:{SHA}CANARY"}, "env": [["REGISTRY_TOKEN", "CANARY"], ["DOCKER_HOST", "unix:///a"]]},
    ]});
    let marks = object(&mut value);
    let text = value.to_string();
    assert!(
        !text.contains("CANARY") && !text.contains("Q0FOQVJZ") && !text.contains("managedFields"),
        "{text}"
    );
    assert_eq!(marks, 15, "{text}");
    for stays in [
        "\"80\"",
        "\"db\"",
        "\"key\":\"password\"",
        "--key-file\",\"/a\"",
        "a: 1\\n",
        "b: 2",
        "\"/k\"",
        "unix:///a",
    ] {
        assert!(text.contains(stays), "{stays} is gone: {text}");
    }
}

proptest! {
    /// Wherever it stands among whatever bytes, plain or within base64.
    #[test]
    fn a_known_secret_never_gets_through(
        before in proptest::collection::vec(any::<u8>(), 0..60),
        after in proptest::collection::vec(any::<u8>(), 0..60),
        secret in "[ -~]{3}[a-zA-Z0-9]{8}[ -~]{3}",
    ) {
        let redactor = Redactor::knowing([secret.clone().into_bytes()]);
        let trimmed = secret.trim_ascii().as_bytes();
        let all = [&before, secret.as_bytes(), &after].concat();
        let holds = |bytes: &[u8]| bytes.windows(trimmed.len()).any(|window| window == trimmed);
        prop_assert!(!holds(&redactor.bytes(&all).0));
        let encoded = STANDARD.encode(&all);
        let clean = redactor.bytes(encoded.as_bytes()).0.into_owned();
        let decoded = STANDARD.decode(&clean).unwrap_or_default();
        prop_assert!(!holds(&decoded));
    }

    #[test]
    fn anything_is_taken(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Redactor::default().bytes(&bytes);
    }
}
