//! The lab's stand-in for Traefik reads what Stagecraft writes for Traefik.

#![allow(missing_docs, dead_code, clippy::unwrap_used, clippy::panic)]

#[path = "lab/images/proxyd_data.rs"]
mod data;
#[path = "lab/images/proxyd_routes.rs"]
mod routes;

use std::collections::BTreeMap;

use data::{Data, parse};
use routes::{Asked, Routes, Rule};
use stagecraft::config::yaml::emit;
use stagecraft::desired::traefik::lift;

fn read(text: &str) -> Result<Routes, String> {
    routes::from_files(&[("api.yml".to_owned(), text.to_owned())].into())
}

#[test]
fn what_is_lifted_is_routed() {
    let labels = [
        ("traefik.http.routers.api.rule", "Host(`shop.example`) && PathPrefix(`/api`)"),
        ("traefik.http.routers.api.middlewares", "strip"),
        ("traefik.http.routers.api.entrypoints", "web"),
        ("traefik.http.middlewares.strip.stripprefix.prefixes", "/api,/v1"),
        (
            "traefik.http.middlewares.strip2.plugin.x.y",
            "{{ no template }}: \"quoted\" # not a comment",
        ),
        ("traefik.tcp.routers.db.rule", "HostSNI(`*`)"),
    ];
    let labels = labels.map(|(label, value)| (label.to_owned(), value.to_owned())).into();
    let lifted = lift("shop", "api", &labels, &[8080]).unwrap().unwrap();
    let servers: BTreeMap<String, Vec<String>> = [
        ("http/api-shop".to_owned(), vec!["10.0.0.5:8080".into(), "10.0.0.6:8080".into()]),
        ("tcp/api-shop".to_owned(), vec!["10.0.0.5:8080".into()]),
    ]
    .into();
    let document = lifted.render(&servers);
    for text in [emit(&document), document.to_string()] {
        let routes = read(&text).unwrap();
        let [router] = routes.http.routers.as_slice() else { panic!("{routes:?}") };
        assert_eq!((router.error.as_deref(), router.service.as_str()), (None, "api-shop"));
        let service = &routes.http.services["api-shop"];
        let turns: Vec<_> = (0..3).map(|_| service.next().unwrap()).collect();
        assert_eq!(turns, ["http://10.0.0.5:8080", "http://10.0.0.6:8080", "http://10.0.0.5:8080"]);
        assert_eq!(routes.tcp.services["api-shop"].servers, ["10.0.0.5:8080"]);
        let plugin = routes.paths["strip2"].at(&["plugin", "x", "y"]).and_then(Data::text);
        assert_eq!(plugin, Some("{{ no template }}: \"quoted\" # not a comment"));
    }
    let routes = read(&emit(&lifted.render(&BTreeMap::new()))).unwrap();
    assert_eq!(routes.http.services["api-shop"].next(), None);
    assert!(routes.http.services["api-shop"].weighted);
    assert!(routes.tcp.routers.is_empty());
}

#[test]
fn rules_choose() {
    let headers = [("x-a".to_owned(), "1".to_owned())];
    let asked = Asked { method: "GET", host: "Shop.example", path: "/api/x", headers: &headers };
    for (rule, matches) in [
        ("Host(`shop.example`)", true),
        ("Host(`shop.example`) && !PathPrefix(`/api`)", false),
        ("Host(`a`) || (Path(`/api/x`) && Method(`GET`))", true),
        ("Header(`X-A`, `1`)", true),
        ("Header(`X-A`, `2`)", false),
        ("!(Host(`a`) || Host(`b`))", true),
    ] {
        assert_eq!(Rule::parse(rule).map(|rule| rule.matches(&asked)), Ok(matches), "{rule}");
    }
    for rule in ["", "Host(`a`", "Host(`a`) Host(`b`)", "Nothing(`a`)", "Host(`a`) &&"] {
        assert!(Rule::parse(rule).is_err(), "{rule}");
    }
}

#[test]
fn one_broken_file_breaks_all() {
    for broken in [
        "http: {}",
        "http:\n  routers:\n    a:\n      prio: 1",
        "http: [",
        "a: 1\n b: 2",
        "http:\n  x: {{ env }}",
    ] {
        assert!(read(broken).is_err(), "{broken}");
    }
    assert!(read("{}").is_ok() && read("").is_ok());
    let routes =
        read("http:\n  routers:\n    a:\n      rule: Path(`/`)\n      service: none").unwrap();
    assert!(routes.http.routers[0].error.as_deref().unwrap().contains("does not exist"));
}

#[test]
fn yaml_as_people_write_it() {
    let data = parse(
        "
        # a comment
        a: 1 # another
        'b c': \"x # y\"
        list:
        - one
        - two: 2
          three: [a, 'b', {c: d}]
        -
          - deep
        text: |
          two
          lines
        url: http://a:1/#x
        none:
        ",
    )
    .unwrap();
    let expected = "{\"a\":1,\"b c\":\"x # y\",\"list\":[\"one\",{\"two\":2,\"three\":[\"a\",\"b\",\
                    {\"c\":\"d\"}]},[\"deep\"]],\"text\":\"two\\nlines\\n\",\"url\":\"http://a:1/#x\",\
                    \"none\":null}";
    assert_eq!(data.json(), expected);
}
