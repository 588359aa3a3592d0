//! Durations as the Go libraries under Docker Compose read and write them.

const UNITS: [(&str, i64); 10] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// A duration such as `1m30s`, `1.5h` or `2d`, in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("`{text}` is not a duration such as `30s` or `1m30s`");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (whole, after) = rest.split_at(digits);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.bytes().take_while(u8::is_ascii_digit).count()),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("`{text}` needs a unit, such as `{text}s`"));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` in `{text}` is no unit of time"));
        };
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let part = fraction_of(fraction, *scale);
        total = whole
            .checked_mul(*scale)
            .and_then(|value| value.checked_add(part))
            .and_then(|value| total.checked_add(value))
            .ok_or_else(invalid)?;
        rest = after;
    }
    Ok(if negative { -total } else { total })
}

/// `.digits` of a unit, with the precision that Go keeps.
fn fraction_of(digits: &str, scale: i64) -> i64 {
    let (mut value, mut divisor) = (0i64, 1f64);
    for digit in digits.bytes() {
        let next = value.checked_mul(10).and_then(|v| v.checked_add(i64::from(digit - b'0')));
        let Some(next) = next else { break };
        value = next;
        divisor *= 10.0;
    }
    (value as f64 * (scale as f64 / divisor)) as i64
}

/// Nanoseconds as Go prints a duration: `1h30m0s`, `1.5s`, `20ms`, `0s`.
pub fn format_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let value = nanos.unsigned_abs();
    let decimal = |value: u64, unit: u64| {
        let fraction = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        format!("{}{dot}{fraction}", value / unit)
    };
    match value {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{value}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(value, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(value, 1_000_000)),
        _ => {
            let seconds = value / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let rest = decimal(value % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{rest}s"),
                (0, _) => format!("{sign}{minutes}m{rest}s"),
                _ => format!("{sign}{hours}h{minutes}m{rest}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_as_in_go() {
        for (text, printed) in [
            ("30s", "30s"),
            ("1m30s", "1m30s"),
            ("1.5h", "1h30m0s"),
            ("2d", "48h0m0s"),
            ("1w", "168h0m0s"),
            ("500ms", "500ms"),
            ("1500us", "1.5ms"),
            ("0", "0s"),
            ("-5s", "-5s"),
            (".5s", "500ms"),
        ] {
            assert_eq!(parse_duration(text).map(format_duration).as_deref(), Ok(printed), "{text}");
        }
        for text in ["", "30", "s", "1x", "1s2", "99999999999h", "."] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
