//! One mistake each, and the words that name it.

use super::wrong;

#[test]
fn single_mistakes() {
    for (text, expected) in MISTAKES {
        let found = wrong(text);
        assert!(found.contains(expected), "{text}\n--- wanted: {expected}\n--- found:\n{found}");
        assert_eq!(found.lines().count(), 1, "{text}\n{found}");
    }
}

const MISTAKES: &[(&str, &str)] = &[
    ("", "there is no `project`"),
    ("[]", "the file must be a mapping, not a list"),
    ("project: kiosk", "`project` must be a mapping, not a string"),
    ("project: { name: 7 }", "put the value in quotes"),
    ("project: { name: Kiosk }", "`project.name` is not a lower-case name"),
    ("project: { name: a }\nprojekt: {}", "did you mean `project`?"),
    ("project: { name: a }\ncompose: []", "`compose` is empty"),
    ("project: { name: a, registry: https://x }", "no scheme, no slash at the end"),
    ("project: { name: a }\n---\nproject: { name: b }", "more than one document"),
    ("project: { name: a }\nenvironments: { A: {} }", "`A` is not a lower-case name"),
    ("project: { name: a }\nhosts: { app: [\"-oProxyCommand=x\"] }", "is not a name"),
    (
        "project: { name: a }\nhosts: { app: [{ name: x, address: -oX }] }",
        "is not a host name or an IP address",
    ),
    ("project: { name: a }\nhosts: { app: [{ address: x }] }", "`hosts.app` has no `name`"),
    ("project: { name: a }\nhosts: { app: [x, x] }", "lists the host `x` twice"),
    (
        "project: { name: a }\nhosts: { app: [{ name: x, volumes: [{ name: v, size: 1 }, { name: v, size: 2 }] }] }",
        "another volume of `x` is called `v`, too",
    ),
    (
        "project: { name: a }\nhosts: { app: [{ name: x, volumes: [{ name: v, size: 1, mount: /a }, { name: w, \
         size: 1, mount: /a }] }] }",
        "another volume of `x` is at `/a`, too",
    ),
    (
        "project: { name: a }\nhosts: { app: [{ name: x, volumes: [{ name: v, size: 1, mount: /a/b }, { name: w, \
         size: 1, mount: /a }, { name: y, size: 1, mount: /ab }] }] }",
        "`/a/b` is below the place of another volume",
    ),
    (
        "project: { name: a }\nhosts: { app: [{ name: x, volumes: [{ name: v, size: 1, mount: /a/../b }] }] }",
        "is not an absolute path",
    ),
    ("project: { name: a }\nhosts: { app: [{ name: x, port: 0 }] }", "use 1 to 65535"),
    (
        "project: { name: a }\nhosts: { app: [x] }\nservices: { api: { role: app, rollout: { health_timeout: 60 } } }",
        "must be a duration such as `30s`, not an integer",
    ),
    (
        "project: { name: a }\nhosts: { app: [x] }\nservices: { api: { role: app, rollout: { health_timeout: 60 s } } }",
        "is not a duration: `60 s`",
    ),
    ("project: { name: a }\nnetwork: { provider: tailscal }", "did you mean `tailscale`?"),
    ("project: { name: a }\nnetwork: { provider: headscale }", "`headscale` needs its options"),
    ("project: { name: a }\nstate: { store: s3 }", "`s3` needs a bucket"),
    ("project: { name: a }\nservices: { api: { role: app } }", "list some under `hosts`"),
    (
        "project: { name: a }\nhosts: { a: [x], b: [y] }\nservices: { api: {} }\nenvironments: { qa: {} }",
        "`api` has no role",
    ),
    (
        "project: { name: a }\nhosts: { a: [x], b: [y] }\nservices: { api: { role: b } }\nenvironments: { qa: { hosts: { a: [z] } } }",
        "`qa` has no host with the role `b`",
    ),
    (
        "project: { name: a }\nhosts: { a: [{ name: x, address: h }, { name: y, address: h }] }\nenvironments: { qa: {} }",
        "`x` and `y` are the same machine: h",
    ),
    (
        "project: { name: a }\nenvironments: { qa: { hosts: { a: [x] }, env_file: .env } }",
        "must be an absolute path",
    ),
    (
        "project: { name: a }\nenvironments: { qa: { hosts: { a: [x] }, env_file: /a/../b } }",
        "must be an absolute path",
    ),
    (
        "project: { name: a }\nenvironments: { qa: { log_level: a, variables: { LOG_LEVEL: b } } }",
        "`LOG_LEVEL` is set twice",
    ),
    ("project: { name: a }\nenvironments: { qa: { LogLevel: a } }", "unknown key `LogLevel`"),
    (
        "project: { name: a }\nenvironments: { qa: { domain: [a] } }",
        "must be a string: a domain name, not a list",
    ),
    (
        "project: { name: a }\nenvironments: { qa: { variabels: { FOO: x } } }",
        "did you mean `variables`?",
    ),
    ("project: { name: a }\nenvironments: { qa: { hostss: [a] } }", "did you mean `hosts`?"),
    (
        "project: { name: a }\nenvironments: { qa: { api: { mode: contaner } } }",
        "did you mean `container`?",
    ),
    (
        "project: { name: a }\nenvironments: { qa: { variables: { A-B: c } } }",
        "`A-B` is not a variable's name",
    ),
    (
        "project: { name: a }\nhosts: { a: [x], b: [y] }\nenvironments: { qa: { db: { mode: container } } }",
        "`db` has no role",
    ),
    (
        "project: { name: a }\nhosts: { a: [x], b: [y] }\nenvironments: { qa: { hosts: { a: [z] }, db: { role: b } } }",
        "`qa` has no host with the role `b`",
    ),
    ("project: { name: a", "not valid YAML"),
];
