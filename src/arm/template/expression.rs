//! The language in the brackets of a template: calls, properties, items, text in quotes, numbers.

/// An expression, read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Text(String),
    Number(i64),
    Call(String, Vec<Expression>),
    Property(Box<Expression>, String),
    Item(Box<Expression>, Box<Expression>),
}

/// Expressions that stand in each other.
const DEPTH: usize = 64;

impl Expression {
    /// Reads a text of a template; `None` if it is plain text. A doubled bracket at the start stands for one.
    pub(super) fn of(text: &str) -> Option<Result<Self, String>> {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        if inner.starts_with('[') {
            return None;
        }
        let mut reader = Reader { rest: inner };
        Some(reader.expression(DEPTH).and_then(|read| match reader.blank() {
            "" => Ok(read),
            rest => Err(format!("The language expression '{inner}' is not valid: '{rest}' was not expected.")),
        }))
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// Skips blanks, and returns what is left.
    fn blank(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        self.rest
    }

    fn take(&mut self, sign: char) -> bool {
        let rest = self.blank().strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let rest = self.blank();
        let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        self.rest = after;
        if name.is_empty() {
            Err(format!("The language expression is not valid: a name is expected at '{rest}'."))
        } else {
            Ok(name)
        }
    }

    fn expression(&mut self, depth: usize) -> Result<Expression, String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err("The language expression is not valid: it is nested too deeply.".to_owned());
        };
        let rest = self.blank();
        let mut read = match rest.chars().next() {
            Some('\'') => self.text()?,
            Some(char) if char.is_ascii_digit() || char == '-' => {
                let end = rest
                    .char_indices()
                    .skip(1)
                    .find(|(_, char)| !char.is_ascii_digit())
                    .map_or(rest.len(), |(at, _)| at);
                let (digits, after) = rest.split_at(end);
                self.rest = after;
                let number = digits.parse().map_err(|error| {
                    format!("The language expression is not valid: '{digits}' is no number: {error}.")
                })?;
                Expression::Number(number)
            }
            _ => {
                let name = self.name()?.to_owned();
                if !self.take('(') {
                    return Err(format!("The language expression is not valid: '(' is expected after '{name}'."));
                }
                let mut arguments = Vec::new();
                while !self.take(')') {
                    if !arguments.is_empty() && !self.take(',') {
                        return Err(format!(
                            "The language expression is not valid: ',' or ')' is expected in '{name}'."
                        ));
                    }
                    arguments.push(self.expression(depth)?);
                }
                Expression::Call(name, arguments)
            }
        };
        loop {
            if self.take('.') {
                read = Expression::Property(Box::new(read), self.name()?.to_owned());
            } else if self.take('[') {
                let item = self.expression(depth)?;
                if !self.take(']') {
                    return Err("The language expression is not valid: ']' is expected.".to_owned());
                }
                read = Expression::Item(Box::new(read), Box::new(item));
            } else {
                return Ok(read);
            }
        }
    }

    /// Reads text in quotes; a doubled quote stands for one.
    fn text(&mut self) -> Result<Expression, String> {
        let mut text = String::new();
        let mut rest = self.rest.strip_prefix('\'').unwrap_or(self.rest);
        loop {
            let Some((before, after)) = rest.split_once('\'') else {
                return Err("The language expression is not valid: a quote is not closed.".to_owned());
            };
            text.push_str(before);
            match after.strip_prefix('\'') {
                Some(more) => {
                    text.push('\'');
                    rest = more;
                }
                None => {
                    self.rest = after;
                    return Ok(Expression::Text(text));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_and_plain_text_is_not() {
        let read = Expression::of("[concat('it''s ', parameters( 'a' ).b[0], -1)]").unwrap().unwrap();
        let parameter = Expression::Call("parameters".into(), vec![Expression::Text("a".into())]);
        let property = Expression::Property(Box::new(parameter), "b".into());
        let item = Expression::Item(Box::new(property), Box::new(Expression::Number(0)));
        let whole = vec![Expression::Text("it's ".into()), item, Expression::Number(-1)];
        assert_eq!(read, Expression::Call("concat".into(), whole));
        for plain in ["a", "[[a]", "[a", "a]", ""] {
            assert_eq!(Expression::of(plain), None, "{plain}");
        }
        for wrong in ["[a]", "[a(]", "[a('b]", "[a() b]", "[]", "[a(1 2)]"] {
            assert!(Expression::of(wrong).unwrap().is_err(), "{wrong}");
        }
        let deep = format!("[{}1{}]", "a(".repeat(100), ")".repeat(100));
        assert!(Expression::of(&deep).unwrap().unwrap_err().contains("too deeply"));
    }
}
