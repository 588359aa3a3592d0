//! Byte sizes and command lines, as the Go libraries under Docker Compose read them.

/// A size such as `512m`, `1.5GiB` or `1024`, in bytes; units are powers of 1024.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("`{text}` is not a size such as `512m` or `1gb`");
    let last =
        text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' ')).ok_or_else(invalid)?;
    let number = if text.as_bytes()[last] == b' ' { &text[..last] } else { &text[..=last] };
    let suffix = text[last + 1..].to_ascii_lowercase();
    let size: f64 = match number.parse::<f64>() {
        Ok(size) if size >= 0.0 && size.is_finite() => size,
        _ => return Err(invalid()),
    };
    let power = match suffix.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(invalid()),
    };
    Ok((size * 1024f64.powi(power)) as i64)
}

/// A command line into words, by the rules of the shell-like splitter that Compose uses: no
/// expansion; an unquoted `;`, `&`, `|`, `<` or `>` ends the command.
pub(super) fn split_command(line: &str) -> Result<Vec<String>, String> {
    let invalid = || format!("`{line}` is not a complete command line");
    let (mut words, mut word, mut started) = (Vec::new(), String::new(), false);
    let (mut escaped, mut double, mut single, mut back, mut dollar) =
        (false, false, false, false, false);
    for c in line.chars() {
        if escaped {
            word.push(c);
            (escaped, started) = (false, true);
            continue;
        }
        match c {
            '\\' if !single => {
                escaped = true;
                continue;
            }
            ' ' | '\t' | '\r' | '\n' => {
                if single || double || back || dollar {
                    word.push(c);
                } else if started {
                    words.push(std::mem::take(&mut word));
                    started = false;
                }
                continue;
            }
            '`' if !single && !double && !dollar => back = !back,
            ')' if !single && !double && !back => dollar = !dollar,
            '(' if !single && !double && !back => {
                if dollar || !word.ends_with('$') {
                    return Err(invalid());
                }
                dollar = true;
                word.push('(');
                continue;
            }
            '"' if !single && !dollar => {
                started |= double;
                double = !double;
                continue;
            }
            '\'' if !double && !dollar => {
                started |= single;
                single = !single;
                continue;
            }
            ';' | '&' | '|' | '<' | '>' if !(single || double || back || dollar) => {
                // `2>file`: the digit belongs to the redirection.
                if c == '>' && word.starts_with(|first: char| first.is_ascii_digit()) {
                    started = false;
                }
                break;
            }
            _ => {}
        }
        started = true;
        word.push(c);
    }
    if started {
        words.push(word);
    }
    match escaped || single || double || back || dollar {
        true => Err(invalid()),
        false => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in
            [("64m", 64 << 20), ("1.5k", 1536), ("1 GiB", 1 << 30), ("7", 7), ("5b", 5)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1kk", "1 mibs", "1e"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn command_lines_split_without_a_shell() {
        let split = |line: &str| split_command(line).map(|words| words.join("|"));
        assert_eq!(split("a 'b c' \"d e\" f\\ g").as_deref(), Ok("a|b c|d e|f g"));
        assert_eq!(split("run; rm x").as_deref(), Ok("run"));
        assert_eq!(split("run 2>x").as_deref(), Ok("run"));
        assert_eq!(split("a '' b").as_deref(), Ok("a||b"));
        assert_eq!(split("echo $(a b)").as_deref(), Ok("echo|$(a b)"));
        for line in ["'a", "a \\", "a (b)", "`a"] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
