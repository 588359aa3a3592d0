use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::options::{Field, Kind, ROOT};
use super::{Routes, Section, lift};

fn labels(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| line.split_once('=').unwrap())
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .collect()
}

fn routes(text: &str) -> Routes {
    lift("shop", "api", &labels(text), &[9000, 8080]).unwrap().unwrap()
}

fn problems(text: &str) -> Vec<String> {
    lift("shop", "api", &labels(text), &[8080]).unwrap_err()
}

/// Every backend with two servers.
fn two(routes: &Routes) -> BTreeMap<String, Vec<String>> {
    let addresses = vec!["10.0.0.5:8080".to_owned(), "10.0.0.6:8080".to_owned()];
    routes.backends.iter().map(|backend| (backend.id(), addresses.clone())).collect()
}

fn rendered(text: &str) -> Value {
    let routes = routes(text);
    routes.render(&two(&routes))
}

const SERVERS: &str = "http://10.0.0.5:8080";

#[test]
fn a_rule_is_enough() {
    let routes = routes("traefik.http.routers.api.rule=Host(`shop.example`)");
    assert_eq!(
        routes.document,
        json!({ "http": {
            "routers": { "api": { "rule": "Host(`shop.example`)", "service": "api-shop" } },
            "services": { "api-shop": { "loadBalancer": {} } },
        } })
    );
    let [backend] = routes.backends.as_slice() else { panic!("{:?}", routes.backends) };
    assert_eq!((backend.section, backend.port), (Section::Http, Some(8080)));
    assert_eq!(backend.id(), "http/api-shop");
    let servers = &routes.render(&two(&routes))["http"]["services"]["api-shop"]["loadBalancer"];
    assert_eq!(servers["servers"], json!([{ "url": SERVERS }, { "url": "http://10.0.0.6:8080" }]));
}

#[test]
fn the_path_of_a_label_is_the_path_of_the_configuration() {
    let routes = routes(
        "
        traefik.enable=true
        traefik.docker.network=shop_front
        TRAEFIK.HTTP.Routers.Api.Rule=Host(`shop.example`) && PathPrefix(`/api`)
        traefik.http.routers.api.ENTRYPOINTS=web, websecure
        traefik.http.routers.api.priority=20
        traefik.http.routers.api.middlewares=auth@docker,limit,other@file
        traefik.http.routers.api.tls=true
        traefik.http.routers.api.tls.certresolver=letsencrypt
        traefik.http.routers.api.tls.options=strict@docker
        traefik.http.routers.api.tls.domains[1].main=b.example
        traefik.http.routers.api.tls.domains[0].main=a.example
        traefik.http.routers.api.tls.domains[0].sans=x.a.example,y.a.example
        traefik.http.services.backend.loadbalancer.server.port=8443
        traefik.http.services.backend.loadbalancer.server.scheme=https
        traefik.http.services.backend.loadbalancer.server.weight=3
        traefik.http.services.backend.loadbalancer.passhostheader=false
        traefik.http.services.backend.loadbalancer.sticky.cookie=true
        traefik.http.services.backend.loadbalancer.sticky.cookie.httponly=true
        traefik.http.services.backend.loadbalancer.healthcheck.path=/health
        traefik.http.services.backend.loadbalancer.healthcheck.interval=5s
        traefik.http.services.backend.loadbalancer.healthcheck.headers.X-Probe=yes
        traefik.http.services.backend.loadbalancer.responseforwarding.flushinterval=10ms
        traefik.http.middlewares.limit.ratelimit.average=100
        traefik.http.middlewares.limit.ratelimit.sourcecriterion.ipstrategy.excludedips=10.0.0.1
        ",
    );
    assert_eq!(routes.network.as_deref(), Some("shop_front"));
    assert_eq!(
        routes.document,
        json!({ "http": {
            "routers": { "Api": {
                "rule": "Host(`shop.example`) && PathPrefix(`/api`)",
                "entryPoints": ["web", "websecure"],
                "priority": 20,
                "middlewares": ["auth@file", "limit", "other@file"],
                "service": "backend",
                "tls": {
                    "certResolver": "letsencrypt",
                    "options": "strict@file",
                    "domains": [
                        { "main": "a.example", "sans": ["x.a.example", "y.a.example"] },
                        { "main": "b.example" },
                    ],
                },
            } },
            "services": { "backend": { "loadBalancer": {
                "passHostHeader": false,
                "sticky": { "cookie": { "httpOnly": true } },
                "healthCheck": {
                    "path": "/health", "interval": "5s", "headers": { "X-Probe": "yes" },
                },
                "responseForwarding": { "flushInterval": "10ms" },
            } } },
            "middlewares": { "limit": { "rateLimit": {
                "average": 100,
                "sourceCriterion": { "ipStrategy": { "excludedIPs": ["10.0.0.1"] } },
            } } },
        } })
    );
    assert_eq!(
        (routes.backends[0].port, routes.backends[0].scheme.as_str()),
        (Some(8443), "https")
    );
    let servers = &routes.render(&two(&routes))["http"]["services"]["backend"]["loadBalancer"];
    assert_eq!(servers["servers"][0], json!({ "url": "https://10.0.0.5:8080", "weight": 3 }));
}

#[test]
fn tcp_and_udp_are_lifted_too() {
    let text = "
        traefik.tcp.routers.db.rule=HostSNI(`*`)
        traefik.tcp.routers.db.entrypoints=postgres
        traefik.tcp.routers.db.tls.passthrough=true
        traefik.tcp.routers.db.middlewares=inside
        traefik.tcp.middlewares.inside.ipallowlist.sourcerange=10.0.0.0/8
        traefik.tcp.services.db.loadbalancer.server.port=5432
        traefik.tcp.services.db.loadbalancer.server.tls=true
        traefik.tcp.services.db.loadbalancer.proxyprotocol.version=1
        traefik.udp.routers.dns.entrypoints=dns
        traefik.udp.services.dns.loadbalancer.server.port=53
        ";
    let ports: Vec<_> = routes(text).backends.iter().map(|b| (b.id(), b.port)).collect();
    assert_eq!(ports, [("tcp/db".into(), Some(5432)), ("udp/dns".into(), Some(53))]);
    assert_eq!(
        rendered(text),
        json!({
            "tcp": {
                "routers": { "db": {
                    "rule": "HostSNI(`*`)", "entryPoints": ["postgres"], "middlewares": ["inside"],
                    "tls": { "passthrough": true }, "service": "db",
                } },
                "middlewares": { "inside": { "ipAllowList": { "sourceRange": ["10.0.0.0/8"] } } },
                "services": { "db": { "loadBalancer": {
                    "proxyProtocol": { "version": 1 },
                    "servers": [
                        { "address": "10.0.0.5:8080", "tls": true },
                        { "address": "10.0.0.6:8080", "tls": true },
                    ],
                } } },
            },
            "udp": {
                "routers": { "dns": { "entryPoints": ["dns"], "service": "dns" } },
                "services": { "dns": { "loadBalancer": { "servers": [
                    { "address": "10.0.0.5:8080" }, { "address": "10.0.0.6:8080" },
                ] } } },
            },
        })
    );
}

#[test]
fn no_servers_can_be_said() {
    let text = "
        traefik.http.routers.api.rule=Path(`/`)
        traefik.tcp.routers.db.rule=HostSNI(`*`)
        traefik.tcp.routers.db.service=db@docker
        traefik.tcp.services.db.loadbalancer.server.port=5432
        traefik.udp.routers.dns.entrypoints=dns
        ";
    assert_eq!(
        routes(text).render(&BTreeMap::new()),
        json!({ "http": {
            "routers": { "api": { "rule": "Path(`/`)", "service": "api-shop" } },
            "services": { "api-shop": { "weighted": { "services": [] } } },
        } })
    );
}

#[test]
fn an_http_and_a_tcp_service_may_share_a_name() {
    let routes = routes(
        "
        traefik.http.routers.a.rule=Path(`/`)
        traefik.tcp.routers.a.rule=HostSNI(`*`)
        ",
    );
    let servers = [("tcp/api-shop".to_owned(), vec!["10.0.0.5:1".to_owned()])].into();
    let rendered = routes.render(&servers);
    assert_eq!(
        rendered["tcp"]["services"]["api-shop"]["loadBalancer"]["servers"],
        json!([{ "address": "10.0.0.5:1" }])
    );
    assert_eq!(rendered["http"]["services"]["api-shop"], json!({ "weighted": { "services": [] } }));
}

#[test]
fn a_service_of_the_proxys_own_needs_no_servers() {
    let routes = routes(
        "
        traefik.http.routers.dashboard.rule=Host(`proxy.example`)
        traefik.http.routers.dashboard.service=api@internal
        ",
    );
    assert!(routes.backends.is_empty());
    assert_eq!(routes.document["http"]["routers"]["dashboard"]["service"], "api@internal");
    assert!(routes.document["http"].get("services").is_none());
}

#[test]
fn the_implied_service_can_be_named() {
    for name in ["api-shop", "api-shop@docker"] {
        let text =
            format!("traefik.http.routers.a.rule=Path(`/`)\ntraefik.http.routers.a.service={name}");
        assert_eq!(routes(&text).backends[0].id(), "http/api-shop");
    }
}

#[test]
fn middlewares_may_stand_alone() {
    let routes = routes("traefik.http.middlewares.gzip.compress=true");
    assert_eq!(
        routes.document,
        json!({ "http": { "middlewares": { "gzip": { "compress": {} } } } })
    );
    assert!(routes.backends.is_empty());
}

#[test]
fn what_is_off_is_nothing() {
    let off = "traefik.enable=False\ntraefik.http.routers.api.rule=Path(`/`)";
    for text in [off, "", "shop.role=app", "traefik.docker.network=x", "traefik.constraint=public"]
    {
        assert_eq!(lift("shop", "api", &labels(text), &[]), Ok(None), "{text}");
    }
    let tls = "traefik.http.routers.a.rule=Path(`/`)\ntraefik.http.routers.a.tls=false";
    assert!(routes(tls).document["http"]["routers"]["a"].get("tls").is_none());
}

#[test]
fn what_traefik_would_take_for_a_template_is_kept_from_it() {
    let text = "
        traefik.http.routers.a.rule=PathRegexp(`^/[0-9]{{1}}`)
        traefik.http.middlewares.p.plugin.demo.body={{.Name}}
        ";
    let document = routes(text).document;
    assert_eq!(document["http"]["routers"]["a"]["rule"], "PathRegexp(`^/[0-9]{{`{{`}}1}}`)");
    let plugin = &document["http"]["middlewares"]["p"]["plugin"];
    assert_eq!(plugin, &json!({ "demo": { "body": "{{`{{`}}.Name}}" } }));
}

#[test]
fn a_plugin_understands_itself() {
    let text = "
        traefik.http.routers.a.rule=Path(`/`)
        traefik.http.middlewares.p.plugin.demo.headers.Foo=bar
        traefik.http.middlewares.p.plugin.demo.list[0].a=1
        traefik.http.middlewares.p.plugin.demo.list[1].a=2
        ";
    let document = routes(text).document;
    assert_eq!(
        document["http"]["middlewares"]["p"]["plugin"]["demo"],
        json!({ "headers": { "Foo": "bar" }, "list": [{ "a": "1" }, { "a": "2" }] })
    );
}

#[test]
fn problems_name_their_labels() {
    insta::assert_snapshot!(
        problems(
            "
            traefik.enable=maybe
            traefik.frontend.rule=Host:shop.example
            traefik.http.routers.a.prio=1
            traefik.http.routers.a.rule=Path(`/`)
            traefik.http.routers.a.priority=high
            traefik.http.routers.a.tls.domains.main=x
            traefik.http.routers.b.entrypoints=web
            traefik.http.routers..rule=x
            traefik.http.services.s.loadbalancer.server.port=http
            traefik.http.services.s.loadbalancer.server.url=http://10.0.0.1
            traefik.http.services.s.loadbalancer.healthcheck.interval=5 seconds
            traefik.http.services.t.weighted.services[0].name=s
            traefik.http.middlewares.m.buffering=true
            traefik.http.middlewares.m.Buffering=true
            traefik.http.middlewares.n.compres=true
            "
        )
        .join("\n"),
        @r#"
    `traefik.enable` wants `true` or `false`, not "maybe"
    `traefik.frontend.rule` is a label of Traefik 1; since version 2 it begins with `traefik.http.routers.` or `traefik.http.services.`
    `traefik.http.middlewares.m.buffering` is there twice, in other cases
    `traefik.http.routers..rule` is no label that Traefik can read
    `traefik.http.middlewares.m.Buffering` takes no value: it has options of its own
    `traefik.http.middlewares.n.compres` is no option that Traefik's labels have; did you mean `compress`?
    `traefik.http.routers.a.prio` is no option that Traefik's labels have; did you mean `priority`?
    `traefik.http.routers.a.priority` wants a whole number, not "high"
    `traefik.http.routers.a.tls.domains` is a list: write `[0]` behind its name
    `traefik.http.services.s.loadbalancer.healthcheck.interval` wants a duration such as `10s`, not "5 seconds"
    `traefik.http.services.t.weighted` is no option that Traefik's labels have
    `traefik.http.routers.a.service` is missing, and which of `s`, `t` it is can't be told
    `traefik.http.routers.b.service` is missing, and which of `s`, `t` it is can't be told
    `traefik.http.services.s.loadbalancer.server.url` names a server that is not this service's: its containers are the servers
    `traefik.http.services.s.loadbalancer.server.port` wants a port, not "http"
    `traefik.http.services.t` says nothing of a `loadBalancer`, the one kind of service that labels can describe
    `traefik.http.routers.b.rule` is missing: Stagecraft leaves Traefik's default rule out
    "#
    );
    insta::assert_snapshot!(problems("traefik.enable=true").join("\n"), @"`traefik.enable` is on, but no label routes to `api`: Stagecraft leaves Traefik's default rule out; write `traefik.http.routers.api.rule`");
}

// ---- against the schema -------------------------------------------------------------------------

/// Options that Traefik has and the published schema doesn't know yet.
const NEWER: [&str; 15] = [
    ".encodedcharacters.",
    ".errors.errorrequestheaders",
    ".errors.statusrewrites.",
    ".forwardauth.authsigninurl",
    ".ipstrategy.ipv6subnet",
    ".loadbalancer.passivehealthcheck.",
    ".loadbalancer.strategy",
    ".observability.",
    ".ratelimit.redis.",
    ".retry.disableretryonnetworkerror",
    ".retry.maxrequestbodybytes",
    ".retry.retrynonidempotentmethod",
    ".retry.status",
    ".retry.timeout",
    "traefik.tcp.services.x.loadbalancer.healthcheck.",
];

fn schema() -> Option<jsonschema::Validator> {
    let path = "../shared/specs/traefik-v3-file-provider.json";
    let text = std::fs::read_to_string(path).ok()?;
    let schema: Value = serde_json::from_str(&text).unwrap();
    Some(jsonschema::validator_for(&schema).unwrap())
}

#[track_caller]
fn valid(schema: &jsonschema::Validator, document: &Value) {
    let errors: Vec<String> =
        schema.iter_errors(document).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{document:#}\n{}", errors.join("\n"));
}

/// One label for every option there is, each with a value of its type.
fn every_option(path: &str, fields: &[Field], found: &mut Vec<(String, String)>) {
    for (name, kind) in fields {
        let path = format!("{path}.{}", name.to_lowercase());
        option(&path, kind, found);
    }
}

fn option(path: &str, kind: &Kind, found: &mut Vec<(String, String)>) {
    let value = match kind {
        Kind::Text | Kind::Name => "x",
        Kind::Bool => "true",
        Kind::Int => "1",
        Kind::Duration => "10s",
        Kind::Texts | Kind::Names => "a,b",
        Kind::Options(fields, _) => return every_option(path, fields, found),
        Kind::Each(kind) => return option(&format!("{path}.x"), kind, found),
        Kind::List(kind) => return option(&format!("{path}[0]"), kind, found),
        Kind::Free => return found.push((format!("{path}.some"), "thing".into())),
    };
    found.push((path.to_owned(), value.into()));
}

#[test]
fn every_option_is_as_the_schema_has_it() {
    let Some(schema) = schema() else { return };
    let mut found = Vec::new();
    every_option("traefik", ROOT, &mut found);
    let mut newer = Vec::new();
    for (label, value) in &found {
        if label.ends_with("server.url") {
            continue;
        }
        let mut labels = labels("traefik.http.routers.x.rule=Path(`/`)");
        if label.starts_with("traefik.tcp.routers") {
            labels.insert("traefik.tcp.routers.x.rule".into(), "HostSNI(`*`)".into());
        }
        if label.contains("server.port") {
            labels.insert(label.clone(), "80".into());
        } else {
            labels.insert(label.clone(), value.clone());
        }
        let required = "traefik.http.middlewares.x.retry.";
        if label.starts_with(required) {
            labels.insert(format!("{required}attempts"), "1".into());
        }
        let routes = lift("shop", "api", &labels, &[80]).unwrap_or_else(|e| panic!("{e:?}"));
        let routes = routes.unwrap();
        for servers in [two(&routes), BTreeMap::new()] {
            if !schema.is_valid(&routes.render(&servers)) {
                newer.push(label.as_str());
            }
        }
    }
    assert!(found.len() > 250, "{}", found.len());
    let is_newer = |label: &str| NEWER.iter().any(|newer| label.contains(newer));
    newer.retain(|label| !is_newer(label));
    assert!(newer.is_empty(), "{newer:#?}");
}

#[test]
fn whole_configurations_are_valid() {
    let Some(schema) = schema() else { return };
    let sets = [
        "traefik.http.routers.api.rule=Host(`shop.example`)",
        "traefik.http.middlewares.gzip.compress=true",
        "traefik.tcp.routers.db.rule=HostSNI(`*`)\ntraefik.tcp.routers.db.tls=true",
        "traefik.udp.routers.dns.entrypoints=dns",
        "
        traefik.http.routers.web.rule=Host(`shop.example`)
        traefik.http.routers.web.middlewares=https
        traefik.http.middlewares.https.redirectscheme.scheme=https
        traefik.http.middlewares.https.redirectscheme.port=443
        traefik.http.routers.api.rule=Host(`shop.example`)
        traefik.http.routers.api.tls.certresolver=le
        traefik.http.routers.api.service=api
        traefik.http.services.api.loadbalancer.server.port=8080
        traefik.http.services.admin.loadbalancer.server.port=9090
        traefik.http.routers.web.service=admin
        traefik.tls.options.strict.minversion=VersionTLS13
        traefik.tls.stores.default.defaultgeneratedcert.resolver=le
        ",
    ];
    for text in sets {
        let routes = routes(text);
        valid(&schema, &routes.render(&two(&routes)));
        valid(&schema, &routes.render(&BTreeMap::new()));
    }
}

proptest::proptest! {
    #[test]
    fn any_label_is_lifted_or_refused(
        labels in proptest::collection::btree_map(
            "(traefik|Traefik)(\\.(http|tcp|udp|tls|routers|services|middlewares|a|rule|tls|\
             loadbalancer|server|port|domains\\[0\\]|x\\[|\\[0\\]|é|)){0,6}",
            "(true|1|10s|a,b|é|)",
            0..8,
        )
    ) {
        if let Ok(Some(routes)) = lift("shop", "api", &labels, &[]) {
            routes.render(&two(&routes));
            routes.render(&BTreeMap::new());
        }
    }
}
