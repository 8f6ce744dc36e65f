//! The functions of templates that need nothing but their arguments.

use serde_json::{Map, Value, json};

/// The longest text or list that a function makes.
const LONGEST: usize = 1 << 20;

/// Calls a function; `None` if there is none of this name.
pub(super) fn call(name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
    let lower = name.to_ascii_lowercase();
    if !KNOWN.contains(&lower.as_str()) {
        return None;
    }
    let is_bounded = |value: &Value| match value {
        Value::String(text) => text.len() <= LONGEST,
        Value::Array(items) => items.len() <= LONGEST,
        _ => true,
    };
    let wrong = || format!("The template function '{name}' is not given the arguments that it takes.");
    Some(apply(&lower, arguments).filter(is_bounded).ok_or_else(wrong))
}

/// Calls a function that is there; `None` if the arguments are not those that it takes.
fn apply(name: &str, arguments: &[Value]) -> Option<Value> {
    match (name, arguments) {
        ("true", []) => Some(json!(true)),
        ("false", []) => Some(json!(false)),
        ("null", []) => Some(Value::Null),
        ("concat", [Value::Array(_), ..]) => arguments
            .iter()
            .map(|item| item.as_array().cloned())
            .collect::<Option<Vec<_>>>()
            .map(|all| all.concat().into()),
        ("concat", [_, ..]) => arguments.iter().map(plain).collect::<Option<String>>().map(Value::from),
        ("format", [Value::String(form), rest @ ..]) => format(form, rest).map(Value::from),
        ("tolower", [Value::String(text)]) => Some(text.to_lowercase().into()),
        ("toupper", [Value::String(text)]) => Some(text.to_uppercase().into()),
        ("trim", [Value::String(text)]) => Some(text.trim().into()),
        ("string", [value]) => Some(plain(value).unwrap_or_else(|| value.to_string()).into()),
        ("int", [Value::Number(number)]) => Some(number.clone().into()),
        ("int", [Value::String(text)]) => text.trim().parse::<i64>().ok().map(Value::from),
        ("bool", [value]) => match plain(value)?.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(json!(true)),
            "false" | "0" => Some(json!(false)),
            _ => None,
        },
        ("json", [Value::String(text)]) => serde_json::from_str(text).ok(),
        ("length", [Value::String(text)]) => Some(text.chars().count().into()),
        ("length", [Value::Array(items)]) => Some(items.len().into()),
        ("length", [Value::Object(fields)]) => Some(fields.len().into()),
        ("empty", [value]) => Some(is_empty(value).into()),
        ("equals", [one, other]) => Some((one == other).into()),
        ("not", [Value::Bool(value)]) => Some((!value).into()),
        ("and", [_, ..]) => {
            arguments.iter().map(Value::as_bool).collect::<Option<Vec<_>>>().map(|all| all.iter().all(|it| *it).into())
        }
        ("or", [_, ..]) => {
            arguments.iter().map(Value::as_bool).collect::<Option<Vec<_>>>().map(|all| all.iter().any(|it| *it).into())
        }
        ("coalesce", [_, ..]) => Some(arguments.iter().find(|value| !value.is_null()).cloned().unwrap_or(Value::Null)),
        ("add", [one, other]) => whole(one, other, i64::checked_add),
        ("sub", [one, other]) => whole(one, other, i64::checked_sub),
        ("mul", [one, other]) => whole(one, other, i64::checked_mul),
        ("div", [one, other]) => whole(one, other, i64::checked_div),
        ("mod", [one, other]) => whole(one, other, i64::checked_rem),
        ("less", [one, other]) => order(one, other).map(|order| order.is_lt().into()),
        ("lessorequals", [one, other]) => order(one, other).map(|order| order.is_le().into()),
        ("greater", [one, other]) => order(one, other).map(|order| order.is_gt().into()),
        ("greaterorequals", [one, other]) => order(one, other).map(|order| order.is_ge().into()),
        ("min", items) => whole_numbers(items)?.into_iter().min().map(Value::from),
        ("max", items) => whole_numbers(items)?.into_iter().max().map(Value::from),
        ("replace", [Value::String(text), Value::String(old), Value::String(new)]) => {
            let most = text.len() + text.len().saturating_mul(new.len());
            (most <= LONGEST && !old.is_empty()).then(|| text.replace(old.as_str(), new).into())
        }
        ("substring", [Value::String(text), start]) => cut(text, start.as_u64()?, None).map(Value::from),
        ("substring", [Value::String(text), start, length]) => {
            cut(text, start.as_u64()?, Some(length.as_u64()?)).map(Value::from)
        }
        ("split", [Value::String(text), Value::String(by)]) if !by.is_empty() => {
            Some(text.split(by.as_str()).collect())
        }
        ("join", [Value::Array(items), Value::String(by)]) => {
            items.iter().map(plain).collect::<Option<Vec<_>>>().map(|texts| texts.join(by).into())
        }
        ("startswith", [Value::String(text), Value::String(with)]) => {
            Some(text.to_lowercase().starts_with(&with.to_lowercase()).into())
        }
        ("endswith", [Value::String(text), Value::String(with)]) => {
            Some(text.to_lowercase().ends_with(&with.to_lowercase()).into())
        }
        ("indexof", [Value::String(text), Value::String(part)]) => {
            let at = text.to_lowercase().find(&part.to_lowercase());
            Some(at.map_or(json!(-1), |at| text.to_lowercase().chars().take(at).count().into()))
        }
        ("padleft", [value, length, rest @ ..]) => {
            let (text, length) = (plain(value)?, length.as_u64().and_then(|length| usize::try_from(length).ok())?);
            let fill = rest.first().map_or(Some(' '), |fill| fill.as_str()?.chars().next())?;
            let missing = length.saturating_sub(text.chars().count());
            (length <= LONGEST).then(|| (std::iter::repeat_n(fill, missing).collect::<String>() + &text).into())
        }
        ("first", [Value::Array(items)]) => Some(items.first().cloned().unwrap_or(Value::Null)),
        ("last", [Value::Array(items)]) => Some(items.last().cloned().unwrap_or(Value::Null)),
        ("first", [Value::String(text)]) => Some(text.chars().next().map(String::from).unwrap_or_default().into()),
        ("last", [Value::String(text)]) => Some(text.chars().next_back().map(String::from).unwrap_or_default().into()),
        ("take", [Value::Array(items), count]) => Some(items.iter().take(count.as_u64()? as usize).cloned().collect()),
        ("skip", [Value::Array(items), count]) => Some(items.iter().skip(count.as_u64()? as usize).cloned().collect()),
        ("take", [Value::String(text), count]) => {
            Some(text.chars().take(count.as_u64()? as usize).collect::<String>().into())
        }
        ("skip", [Value::String(text), count]) => {
            Some(text.chars().skip(count.as_u64()? as usize).collect::<String>().into())
        }
        ("contains", [Value::String(text), part]) => Some(text.contains(&plain(part)?).into()),
        ("contains", [Value::Array(items), item]) => Some(items.contains(item).into()),
        ("contains", [Value::Object(fields), Value::String(name)]) => {
            Some(fields.keys().any(|known| known.eq_ignore_ascii_case(name)).into())
        }
        ("array", [Value::Array(items)]) => Some(items.clone().into()),
        ("array", [value]) => Some(json!([value])),
        ("createarray", items) => Some(items.to_vec().into()),
        ("createobject", pairs) if pairs.len() % 2 == 0 => {
            let pair = |pair: &[Value]| match pair {
                [Value::String(name), value] => Some((name.clone(), value.clone())),
                _ => None,
            };
            pairs.chunks(2).map(pair).collect::<Option<Map<_, _>>>().map(Value::Object)
        }
        ("union", [Value::Object(_), ..]) => {
            let mut joined = Map::new();
            for fields in arguments {
                joined.extend(fields.as_object()?.clone());
            }
            Some(joined.into())
        }
        ("union", [Value::Array(_), ..]) => {
            let mut joined: Vec<Value> = Vec::new();
            for item in arguments.iter().filter_map(Value::as_array).flatten().take(10_000) {
                if !joined.contains(item) {
                    joined.push(item.clone());
                }
            }
            Some(joined.into())
        }
        ("range", [start, count]) => {
            let (start, count) = (start.as_i64()?, count.as_i64()?);
            (0..=10_000).contains(&count).then(|| (start..start.saturating_add(count)).collect())
        }
        ("uniquestring", [_, ..]) => {
            let text = arguments.iter().map(plain).collect::<Option<Vec<_>>>()?.join("-");
            let hash = hash(&text, 0);
            let letter = |place: u32| {
                b"abcdefghijklmnopqrstuvwxyz234567".get((hash >> (5 * place) & 31) as usize).copied().map(char::from)
            };
            (0..13).map(letter).collect::<Option<String>>().map(Value::from)
        }
        ("guid", [_, ..]) => {
            let text = arguments.iter().map(plain).collect::<Option<Vec<_>>>()?.join("-");
            let (high, low) = (hash(&text, 1), hash(&text, 2));
            let (a, b, c) = (high >> 32, high >> 16 & 0xFFFF, high & 0x0FFF | 0x5000);
            Some(
                format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48 & 0x3FFF | 0x8000, low & 0xFFFF_FFFF_FFFF)
                    .into(),
            )
        }
        _ => None,
    }
}

/// The names, so that wrong arguments are not told as an unknown name.
const KNOWN: &[&str] = &[
    "true",
    "false",
    "null",
    "concat",
    "format",
    "tolower",
    "toupper",
    "trim",
    "string",
    "int",
    "bool",
    "json",
    "length",
    "empty",
    "equals",
    "not",
    "and",
    "or",
    "coalesce",
    "add",
    "sub",
    "mul",
    "div",
    "mod",
    "less",
    "lessorequals",
    "greater",
    "greaterorequals",
    "min",
    "max",
    "replace",
    "substring",
    "split",
    "join",
    "startswith",
    "endswith",
    "indexof",
    "padleft",
    "first",
    "last",
    "take",
    "skip",
    "contains",
    "array",
    "createarray",
    "createobject",
    "union",
    "range",
    "uniquestring",
    "guid",
];

/// Text, a number or a truth value as text.
pub(super) fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn whole(one: &Value, other: &Value, apply: fn(i64, i64) -> Option<i64>) -> Option<Value> {
    apply(one.as_i64()?, other.as_i64()?).map(Value::from)
}

/// Returns the numbers of a list, or of all arguments.
fn whole_numbers(given: &[Value]) -> Option<Vec<i64>> {
    let items = if let [Value::Array(items)] = given { items } else { given };
    items.iter().map(Value::as_i64).collect()
}

fn order(one: &Value, other: &Value) -> Option<std::cmp::Ordering> {
    match (one, other) {
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => Some(one.as_i64()?.cmp(&other.as_i64()?)),
    }
}

fn cut(text: &str, start: u64, length: Option<u64>) -> Option<String> {
    let count = text.chars().count() as u64;
    let length = length.unwrap_or(count.saturating_sub(start));
    let fits = start.checked_add(length).is_some_and(|end| end <= count);
    fits.then(|| text.chars().skip(start as usize).take(length as usize).collect())
}

/// Puts values in the places `{0}`, `{1}` of a form; a doubled brace stands for one.
fn format(form: &str, values: &[Value]) -> Option<String> {
    let (mut made, mut rest) = (String::new(), form);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        made.push_str(before);
        if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
            made.push_str(from.get(..1)?);
            rest = after;
            continue;
        }
        let (place, after) = from.strip_prefix('{')?.split_once('}')?;
        let value = values.get(place.split([':', ',']).next()?.trim().parse::<usize>().ok()?)?;
        made.push_str(&plain(value).unwrap_or_else(|| value.to_string()));
        if made.len() > LONGEST {
            return None;
        }
        rest = after;
    }
    made.push_str(rest);
    Some(made)
}

/// FNV-1a, with a last mix: the same for the same text in each build.
fn hash(text: &str, seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = text.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_answer_as_azures_do() {
        let rows = [
            ("concat", json!(["a", 1, true]), json!("a1True")),
            ("concat", json!([["a"], ["b"]]), json!(["a", "b"])),
            ("format", json!(["{0}/{1} {{x}}", "a", 2]), json!("a/2 {x}")),
            ("toLower", json!(["AbC"]), json!("abc")),
            ("substring", json!(["hello", 1, 3]), json!("ell")),
            ("replace", json!(["a-b", "-", ""]), json!("ab")),
            ("union", json!([{"a": 1}, {"b": 2}]), json!({"a": 1, "b": 2})),
            ("range", json!([2, 3]), json!([2, 3, 4])),
            ("padLeft", json!([7, 3, "0"]), json!("007")),
            ("add", json!([1, 2]), json!(3)),
            ("empty", json!([""]), json!(true)),
            ("contains", json!(["abc", "b"]), json!(true)),
            ("createObject", json!(["a", 1]), json!({"a": 1})),
            ("last", json!([[1, 2]]), json!(2)),
        ];
        for (name, arguments, expected) in rows {
            assert_eq!(call(name, arguments.as_array().unwrap()), Some(Ok(expected)), "{name}");
        }
        let unique = |text: &str| call("uniqueString", &[json!(text)]).unwrap().unwrap();
        assert_eq!(
            (unique("a").as_str().unwrap().len(), unique("a") == unique("a"), unique("a") == unique("b")),
            (13, true, false)
        );
        assert_eq!(call("dataUri", &[json!("x")]), None);
        for (name, arguments) in [
            ("add", json!([i64::MAX, 1])),
            ("div", json!([1, 0])),
            ("substring", json!(["a", 1, 9])),
            ("concat", json!([{}])),
        ] {
            assert!(call(name, arguments.as_array().unwrap()).unwrap().is_err(), "{name}");
        }
    }
}
