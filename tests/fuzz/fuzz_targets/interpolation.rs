//! Any bytes as templates and env files: no panic, and a template that is interpolated in two
//! steps, here and on the host, means what it means in one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stagecraft::config::compose::Variable;
use stagecraft::config::compose::dotenv::{self, Style};
use stagecraft::config::compose::interpolate::{Interpolator, has_reference};

/// What the host knows and this side doesn't.
fn is_secret(name: &str) -> bool {
    name.len() % 2 == 0
}

fn value(name: &str) -> Variable {
    match name.as_bytes().first() {
        Some(b'A'..=b'F') => Variable::Value(format!("<{name}$>")),
        Some(b'G'..=b'L') => Variable::Value(String::new()),
        _ => Variable::Unset,
    }
}

fn here(name: &str) -> Variable {
    match value(name) {
        Variable::Value(_) if is_secret(name) => Variable::Host,
        known => known,
    }
}

fn there(name: &str) -> Variable {
    if is_secret(name) { value(name) } else { Variable::Unset }
}

fuzz_target!(|data: &[u8]| {
    let _ = dotenv::parse("fuzz.env", data, &value, Style::Full);
    let _ = dotenv::parse("fuzz.env", data, &here, Style::Template);
    let _ = dotenv::parse_raw("fuzz.env", data, &value);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(once) = Interpolator::new(&value).substitute(text) else { return };
    let Ok(rendered) = Interpolator::template(&here).substitute(text) else { return };
    let twice = Interpolator::new(&there).substitute(&rendered);
    assert_eq!(twice.as_ref(), Ok(&once), "{text:?} rendered as {rendered:?}");
    if !has_reference(&rendered) {
        // Nothing is left to the host, so the host's variables can't matter.
        assert_eq!(Interpolator::new(&|_| Variable::Unset).substitute(&rendered), Ok(once));
    }
});
