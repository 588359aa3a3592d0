//! Any bytes as a Compose project: no panic, bounded time and memory, and what is printed reads
//! back as the same data.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use stagecraft::config::compose::{
    Interpolation, LoadOptions, Memory, Variable, load, load_text, references,
};
use stagecraft::config::diagnostic::Source;
use stagecraft::config::yaml;

fuzz_target!(|data: &[u8]| {
    // The first byte chooses how; a NUL starts the next file.
    let Some((how, data)) = data.split_first() else { return };
    let mut texts = data.split(|byte| *byte == 0);
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
    for name in ["compose.yml", "over.yml", "base.yml", "e.env"] {
        files.push((name, texts.next().unwrap_or_default().to_vec()));
    }
    let two = how & 1 == 1 && !files[1].1.is_empty();
    let names = if two { vec!["compose.yml", "over.yml"] } else { vec!["compose.yml"] };
    let lookup = |name: &str| match name.len() % 3 {
        0 => Variable::Unset,
        1 => Variable::Value("a$b}\"".to_owned()),
        _ => Variable::Host,
    };
    let mut options = LoadOptions::new(names.into_iter().map(PathBuf::from).collect(), &lookup);
    options.project_name = Some("fuzz".to_owned());
    options.resolve_paths = how & 2 == 2;
    options.interpolation = match how >> 2 & 3 {
        0 => Interpolation::Off,
        1 => Interpolation::Template,
        _ => Interpolation::Full,
    };
    let Ok(loaded) = load(&options, &Memory::new(files)) else { return };
    let document = loaded.project.document();
    references(&document);
    let text = yaml::emit(&document);
    let printed = Source { name: "printed.yml".to_owned(), text: text.clone() };
    let back = yaml::parse(&printed.into()).unwrap_or_else(|_| panic!("unreadable: {text}"));
    // Numbers may change their kind (`1.0` is written as it is in JSON), nothing else.
    assert_eq!(plain(&back[0].to_json()), plain(&document), "{text}");
    let _ = loaded.project.canonical();
    if options.interpolation == Interpolation::Template {
        let _ = load_text("printed.yml", &text);
    }
});

fn plain(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
        other => other.clone(),
    }
}
