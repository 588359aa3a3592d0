//! The one place that quotes words for a POSIX shell. Everything that came from a configuration
//! passes here before it is part of a script.

/// A word as a POSIX shell reads it back unchanged. A NUL cannot be in a shell word and is dropped.
pub fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\0', "").replace('\'', r"'\''"))
}

/// Words, quoted and separated by spaces.
pub fn quote_all<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    const HOSTILE: &[&str] = &[
        "",
        "plain-word_1.2:3/4@5%6+7=8,9",
        "two words",
        " leading and trailing ",
        "it's",
        "''",
        "'; touch /tmp/owned; '",
        "$(id) `id` ${HOME} $HOME",
        "a\nb\n",
        "\n",
        "\\",
        "\\n \\' \\\"",
        "\"double\"",
        "~root",
        "* ? [a-z] {a,b}",
        "# not a comment",
        "-n",
        "--",
        "!history !!",
        "tab\there",
        "a;b|c&d>e<f(g)",
        "naïve 日本 \u{1f980}",
        "\u{7f}\u{1b}[31m\r",
        "%s%d%n",
        "EOF",
    ];

    #[test]
    fn a_real_shell_reads_hostile_words_back_unchanged() {
        let mut script = String::from("printf '%s\\036' ");
        script.push_str(&quote_all(HOSTILE.iter().copied()));
        script.push('\n');
        let mut shell = Command::new("sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        shell.stdin.take().expect("piped").write_all(script.as_bytes()).expect("written");
        let output = shell.wait_with_output().expect("sh ends");
        let expected: String = HOSTILE.iter().map(|word| format!("{word}\u{1e}")).collect();
        assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), expected);
    }

    #[test]
    fn plain_words_stay_readable_and_nul_cannot_cut_a_word() {
        assert_eq!(quote("10.99.0.1:5000/shop/api:v1"), "10.99.0.1:5000/shop/api:v1");
        assert_eq!(quote("a\0b c"), "'ab c'");
    }
}
