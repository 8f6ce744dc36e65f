//! JSON as templates have it: with comments, names without quotes and line breaks in text.

/// Returns the JSON that a text with comments means. What is no JSON either way is left for its reader to refuse.
pub(super) fn plain(text: &str) -> String {
    let mut made = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("//") {
            rest = after.find('\n').and_then(|at| after.get(at..)).unwrap_or_default();
        } else if let Some(after) = rest.strip_prefix("/*") {
            rest = after.split_once("*/").map_or("", |(_, after)| after);
        } else if char == '"' {
            rest = quoted(rest, &mut made);
        } else if char.is_ascii_alphabetic() || char == '_' || char == '$' {
            let end =
                rest.find(|char: char| !char.is_ascii_alphanumeric() && !"_$".contains(char)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            // A name stands before a colon; the other words are `true`, `false` and `null`.
            let is_name = after.trim_start().starts_with(':');
            made.push_str(&if is_name { format!("\"{word}\"") } else { word.to_owned() });
            rest = after;
        } else {
            // An exponent belongs to its number.
            let end = if char.is_ascii_digit() { number(rest) } else { char.len_utf8() };
            let (sign, after) = rest.split_at(end);
            made.push_str(sign);
            rest = after;
        }
    }
    made
}

/// Copies text in quotes, and returns what follows it. A line break in it becomes its code.
fn quoted<'a>(text: &'a str, made: &mut String) -> &'a str {
    let mut chars = text.char_indices();
    let mut is_escaped = false;
    while let Some((at, char)) = chars.next() {
        match char {
            '\n' => made.push_str("\\n"),
            '\r' => made.push_str("\\r"),
            '\t' => made.push_str("\\t"),
            _ => made.push(char),
        }
        if char == '"' && at > 0 && !is_escaped {
            return chars.as_str();
        }
        is_escaped = char == '\\' && !is_escaped;
    }
    ""
}

/// Returns the length of the number at the start.
fn number(text: &str) -> usize {
    text.find(|char: char| !char.is_ascii_alphanumeric() && !"+-.".contains(char)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_with_comments_are_json() {
        let text = "{a: 1, \"b\" /* : */ : \"x // \\\" y\nz\", // c\n template:{$schema: \"http://s\", t: [true, -1.5e3,null]}}";
        let read: serde_json::Value = serde_json::from_str(&plain(text)).unwrap();
        let expected = serde_json::json!({
            "a": 1, "b": "x // \" y\nz", "template": {"$schema": "http://s", "t": [true, -1500.0, null]},
        });
        assert_eq!(read, expected);
        let strict = expected.to_string();
        assert_eq!(plain(&strict), strict);
        for wrong in ["\"", "/*", "{a", "\"\\", "é\u{2028}/"] {
            plain(wrong);
        }
    }
}
