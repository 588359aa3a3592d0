//! The stamp on the first line of a rendered file: it tells an edit by hand from our own writing.

use super::sha256_hex;

const MARK: &str = "# Written by Stagecraft; edits are overwritten. ";

/// A text with its stamp before it.
pub fn stamped(body: &str) -> String {
    format!("{MARK}{}\n{body}", digest(body))
}

/// The text without its stamp.
pub fn body(text: &str) -> &str {
    match text.split_once('\n') {
        Some((first, rest)) if first.starts_with(MARK) => rest,
        _ => text,
    }
}

/// Whether a text is as we wrote it.
pub fn is_intact(text: &str) -> bool {
    text.strip_prefix(MARK)
        .and_then(|rest| rest.split_once('\n'))
        .is_some_and(|(found, body)| found == digest(body))
}

fn digest(body: &str) -> String {
    sha256_hex(body)[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edited_file_is_not_intact() {
        let text = stamped("services: {}\n");
        assert!(is_intact(&text));
        assert!(!is_intact(&text.replace("{}", "{a: {}}")));
        assert!(!is_intact("services: {}\n"));
        assert_eq!(body(&text), "services: {}\n");
    }
}
