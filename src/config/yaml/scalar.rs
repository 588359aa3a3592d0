//! What an unquoted scalar means, by the rules of `go-yaml` v3.

use super::Value;

/// The value of an untagged plain scalar.
pub(super) fn resolve(text: String) -> Value {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Value::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::String(text);
    }
    if is_timestamp(&text) {
        return Value::Timestamp(text);
    }
    number(&text).unwrap_or(Value::String(text))
}

/// The value of a scalar with an explicit tag such as `!!str`.
pub(super) fn resolve_tagged(text: String, tag: String, plain: bool) -> Result<Value, String> {
    let value = match tag.as_str() {
        "!!str" => return Ok(Value::String(text)),
        // Somebody else's tag means nothing here.
        _ if !tag.starts_with("!!") => return Ok(Value::String(text)),
        _ if plain || tag != "!!null" => resolve(text.clone()),
        _ => Value::String(text.clone()),
    };
    match (tag.as_str(), value) {
        ("!!int", value @ (Value::Int(_) | Value::BigInt(_)))
        | ("!!float", value @ Value::Float(_))
        | ("!!bool", value @ Value::Bool(_))
        | ("!!null", value @ Value::Null)
        | ("!!timestamp", value @ Value::Timestamp(_)) => Ok(value),
        ("!!float", Value::Int(value)) => Ok(Value::Float(value as f64)),
        _ => Err(format!("`{text}` can't be read as {tag}")),
    }
}

/// A number in one of the notations that Go's `strconv` and YAML's float pattern accept.
fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain.as_str()),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // `from_str_radix` would take a second sign.
    if body.bytes().all(|byte| byte.is_ascii_hexdigit())
        && let Ok(value) = u64::from_str_radix(body, radix)
    {
        let signed = i64::try_from(value).ok().map(|value| if negative { -value } else { value });
        return match signed {
            Some(value) => Some(Value::Int(value)),
            None if negative && value == 1 << 63 => Some(Value::Int(i64::MIN)),
            None if !plain.starts_with(['-', '+']) => Some(Value::BigInt(value)),
            None => float(&plain),
        };
    }
    float(&plain)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_ok = match whole {
        "" => digits(fraction),
        _ => digits(whole) && (fraction.is_empty() || digits(fraction)),
    };
    let exponent_ok =
        exponent.is_none_or(|text| digits(text.strip_prefix(['-', '+']).unwrap_or(text)));
    if !mantissa_ok || !exponent_ok {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    // Go refuses what overflows; the text then stays text.
    value.is_finite().then_some(Value::Float(value))
}

/// `2006-1-2`, alone or followed by a time.
fn is_timestamp(text: &str) -> bool {
    let Some((year, rest)) = text.split_once('-') else { return false };
    let Some((month, rest)) = rest.split_once('-') else { return false };
    let day_len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (day, rest) = rest.split_at(day_len);
    let field = |text: &str, low: u32, high: u32| {
        (1..=2).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse().is_ok_and(|value: u32| (low..=high).contains(&value))
    };
    if year.len() != 4 || !year.bytes().all(|byte| byte.is_ascii_digit()) || !field(month, 1, 12) {
        return false;
    }
    let last = match (month.parse::<u32>(), year.parse::<u32>()) {
        (Ok(4 | 6 | 9 | 11), _) => 30,
        (Ok(2), Ok(year)) if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        (Ok(2), _) => 28,
        _ => 31,
    };
    if !field(day, 1, last) {
        return false;
    }
    let Some(separator) = rest.chars().next() else { return true };
    let (time, zone) = match (separator, &rest[separator.len_utf8()..]) {
        (' ', time) => (time, None),
        ('T' | 't', time) => match time.find(['Z', '+', '-']) {
            Some(at) => (&time[..at], Some(&time[at..])),
            None => return false,
        },
        _ => return false,
    };
    let parts: Vec<&str> = time.splitn(3, ':').collect();
    let [hour, minute, second] = parts[..] else { return false };
    let (second, fraction) = second.split_once(['.', ',']).unwrap_or((second, "0"));
    let zone_ok = match zone {
        None | Some("Z") => true,
        Some(zone) => {
            let fields = zone[1..].split_once(':');
            !zone.starts_with('Z')
                && fields.is_some_and(|(hours, minutes)| {
                    hours.len() == 2
                        && minutes.len() == 2
                        && field(hours, 0, 24)
                        && field(minutes, 0, 59)
                })
        }
    };
    field(hour, 0, 23)
        && field(minute, 0, 59)
        && field(second, 0, 59)
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && zone_ok
}

/// A date as the time that it stands for, `2024-1-31` as `2024-01-31T00:00:00Z`; a date with a time
/// stays as it is.
pub(super) fn format_timestamp(text: &str) -> String {
    let fields: Vec<&str> = text.split('-').collect();
    match fields[..] {
        [year, month, day] if day.len() <= 2 => format!("{year}-{month:0>2}-{day:0>2}T00:00:00Z"),
        _ => text.to_owned(),
    }
}

/// A float as Go's `%v` prints it: the shortest digits, with an exponent below 1e-4 and from 1e6.
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let power: i32 = exponent.parse().unwrap_or_default();
    if value != 0.0 && !(-4..6).contains(&power) {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", power.abs());
    }
    format!("{value}")
}
