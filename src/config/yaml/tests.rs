use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::*;
use crate::config::diagnostic::{Diagnostic, Source};

fn read(text: &str) -> Result<Vec<Node>, Vec<Diagnostic>> {
    parse(&Arc::new(Source { name: "a.yml".to_owned(), text: text.to_owned() }))
}

fn one(text: &str) -> Json {
    read(text).unwrap().remove(0).to_json()
}

fn errors(text: &str) -> Vec<String> {
    read(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn scalars_are_read_as_go_yaml_reads_them() {
    let cases = [
        ("yes", json!("yes")),
        ("True", json!(true)),
        ("~", json!(null)),
        ("", json!(null)),
        ("0x1F", json!(31)),
        ("0777", json!(511)),
        ("0o17", json!(15)),
        ("08", json!(8.0)),
        ("1_000", json!(1000)),
        ("0b11", json!(3)),
        ("-0b1", json!(-1)),
        ("0x", json!("0x")),
        ("1e3", json!(1000.0)),
        (".5", json!(0.5)),
        ("1.", json!(1.0)),
        ("+12", json!(12)),
        ("--12", json!("--12")),
        ("12345678901234567890", json!(12345678901234567890u64)),
        ("1:30", json!("1:30")),
        ("1.2.3", json!("1.2.3")),
        ("'12'", json!("12")),
        ("!!str 12", json!("12")),
        ("!!float 12", json!(12.0)),
        ("\"<<\"", json!("<<")),
        ("2020-13-01", json!("2020-13-01")),
    ];
    for (text, expected) in cases {
        assert_eq!(one(&format!("a: {text}")), json!({ "a": expected }), "{text}");
    }
    let node = read("a: 2020-01-31").unwrap().remove(0);
    assert_eq!(node.as_map().unwrap().get("a").unwrap().kind_name(), "a date");
    assert!(errors("a: !!int x")[0].contains("!!int"));
}

#[test]
fn floats_print_as_go_prints_them() {
    for (value, text) in [
        (1.5, "1.5"),
        (123456789.0, "1.23456789e+08"),
        (1e21, "1e+21"),
        (100000.0, "100000"),
        (1e6, "1e+06"),
        (1e-7, "1e-07"),
        (1000.0, "1000"),
        (0.0, "0"),
        (f64::INFINITY, "+Inf"),
    ] {
        assert_eq!(format_float(value), text);
    }
}

#[test]
fn anchors_aliases_and_merges_resolve() {
    let text = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz:\n  <<: [*x, *y]\n  a: 9\nw: *x\n";
    let expected = json!({
        "x": {"a": 1, "b": 2}, "y": {"b": 3, "c": 4},
        "z": {"a": 9, "b": 2, "c": 4}, "w": {"a": 1, "b": 2},
    });
    assert_eq!(one(text), expected);
    assert!(errors("a:\n  <<: 3\n")[0].contains("`<<` takes a mapping"));
    assert!(errors("a: &a [*a]\n")[0].contains("inside its own anchor"));
}

#[test]
fn positions_are_bytes_of_the_text() {
    let text = "é: 1\nünï: häh\n";
    let node = read(text).unwrap().remove(0);
    let entry = node.as_map().unwrap().entry("ünï").unwrap();
    assert_eq!(entry.key.text(), "ünï");
    assert_eq!(entry.value.span.text(), "häh");
}

#[test]
fn duplicate_and_odd_keys_are_all_reported() {
    assert_eq!(
        errors("a: 1\nb: 2\na: 3\nb: 4\n1: x\n"),
        [
            "key `a` is already defined at line 1",
            "key `b` is already defined at line 2",
            "key `1` is an integer, not a string",
        ]
    );
}

#[test]
fn tags_without_values_are_refused_and_exclamations_are_not() {
    assert_eq!(errors("a: [!reset, b]\n"), ["a tag needs a value"]);
    assert_eq!(errors("a: {b: !x, c: d}\n"), ["a tag needs a value"]);
    assert_eq!(errors("a: [!!str,b]\n"), ["a tag needs a value"]);
    assert_eq!(errors("a: {b: !: !c, d: e}\n"), ["a tag needs a value"]);
    assert!(!errors("a: [\"b\"!c, d]\n").is_empty());
    assert_eq!(one("a: [\"wow !\", 'oh !', b]\n"), json!({"a": ["wow !", "oh !", "b"]}));
    let text = "a: 'wow !, b' # !c,\nd: e !, f\n";
    assert_eq!(one(text), json!({"a": "wow !, b", "d": "e !, f"}));
}

#[test]
fn a_file_may_end_without_a_line_break() {
    for (text, value) in
        [("a: |\n  b", "b"), ("a: >\n  b\n  c", "b c"), ("a: |+\n  b", "b"), ("a: |\n  b\n", "b\n")]
    {
        assert_eq!(one(text), json!({ "a": value }), "{text:?}");
    }
}

#[test]
fn documents_and_tags_are_kept() {
    let documents = read("a: !reset null\n---\nb: !override [1]\n").unwrap();
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[0].as_map().unwrap().get("a").unwrap().tag, Some(Tag::Reset));
    assert_eq!(documents[1].as_map().unwrap().get("b").unwrap().tag, Some(Tag::Override));
    assert!(read("# nothing\n").unwrap().is_empty());
}

#[test]
fn hostile_files_are_refused_in_bounded_time() {
    let deep = "[".repeat(5000);
    assert!(!errors(&deep).is_empty());
    let deep: String = (0..300).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(errors(&deep)[0].contains("nested deeper"));
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(","));
    }
    assert!(errors(&bomb)[0].contains("too much data"));
    let mut ladder = "a0: &a0 [x]\n".to_owned();
    for level in 1..300 {
        ladder += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    assert!(errors(&ladder)[0].contains("nested deeper"));
    let error = source("a.yml", b"a: 1\nb: \xff\n".to_vec()).unwrap_err();
    assert_eq!(error.to_string(), "a.yml is not UTF-8 text (line 2, byte 4 of the line)");
    assert!(source("a.yml", vec![b'a'; MAX_BYTES + 1]).is_err());
}

#[test]
fn emitted_text_reads_back_as_the_same_data() {
    let value = json!({
        "plain": "nginx:1.27", "yes": "yes", "octal": "0123", "sexagesimal": "1:30",
        "null": "null", "date": "2024-01-31", "empty": "", "list": ["a", ["b", {"c": 1}], {}, []],
        "maps": [{"a": {"b": "c"}, "d": "e"}], "text": "one\ntwo\n", "kept": "one\n\ntwo",
        "odd": " lead", "tab": "a\tb", "hash": "a #b", "colon": "a: b", "uni": "é\u{7f}\u{feff}",
        "ref": "${A:?set it}", "float": 1.5, "int": 3, "bool": true, "nothing": null,
        "trail": "a\nb\n\n", "merge": "<<", "eq": "=", "dash": "-", "tilde": "~", "url": "http://x/?a=b",
    });
    let text = emit(&value);
    assert_eq!(one(&text), value, "{text}");
    assert!(text.contains("\"yes\": \"yes\"\n"), "{text}");
    assert!(text.contains("octal: \"0123\"\n") && text.contains("plain: nginx:1.27\n"), "{text}");
}

/// Data whose strings are as odd as they come.
#[test]
fn an_entry_is_written_as_in_its_document() {
    for map in [json!({}), json!({"a": {"b": [1, {"c": "d"}]}, "e": {}, "f": "x\ny\n"})] {
        let whole = emit(&json!({"services": {"web": map}}));
        let entry = emit_entry("web", map.as_object().unwrap(), 2);
        assert_eq!(whole, format!("services:\n{entry}"));
    }
}

fn odd_data() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
    use proptest::prelude::*;
    let word = prop_oneof![
        "[ -~]{0,12}",
        "\\PC{0,8}",
        "[a-z \n\t]{0,16}",
        proptest::sample::select(vec![
            "yes",
            "0123",
            "1:30",
            "null",
            "~",
            "2024-01-31",
            "1_000",
            "0x1F",
            ".inf",
            "<<",
            "=",
            "- a",
            "a: b",
            "# no",
            "*x",
            "&x",
            "!x",
            "%x",
            "@x",
            "`x",
            "'",
            "\"",
            "a #b",
            " a",
            "a ",
            "|",
            ">",
            "\n",
            "a\n\n",
            "${A:-b}",
            "{a}",
            "[a]",
            "a,b",
            "?",
            ":",
            "y",
            "on",
            "1e3",
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        word.clone().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<bool>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map(word.clone(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest::proptest! {
    /// What we write means the same to another reader. That one follows YAML 1.2, and Compose's
    /// own is nearer to 1.1, so neither can be pleased by accident.
    #[test]
    fn another_reader_reads_what_we_write(value in odd_data()) {
        let text = emit(&value);
        let read: serde_json::Value = serde_yaml::from_str(&text)
            .map_err(|error| proptest::test_runner::TestCaseError::fail(format!("{error}\n{text}")))?;
        proptest::prop_assert_eq!(read, value, "{}", text);
    }
}
