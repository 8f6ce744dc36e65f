//! The values of a template's expressions.

use std::cell::Cell;
use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::expression::Expression;
use super::functions;

/// Why there is no value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stop {
    Wrong(String),
    /// It refers to a resource, by id or symbolic name, that nobody has read yet.
    Needs(String),
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Self::Wrong(what)
    }
}

/// Calls of one deployment: a template's variables may refer to each other.
const CALLS: u32 = 200_000;
/// Variables that refer to each other.
const DEPTH: u32 = 32;

/// What expressions can refer to.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) subscription: String,
    pub(super) group: Value,
    pub(super) deployment: Value,
    pub(super) parameters: Map<String, Value>,
    pub(super) variables: Map<String, Value>,
    /// Ids of resources of the template by their symbolic names.
    pub(super) symbols: HashMap<String, String>,
    /// Resources that were read, by id in lower case.
    pub(super) known: HashMap<String, Value>,
    /// What `utcNow` and `newGuid` answer: only the defaults of parameters may call them.
    pub(super) now: chrono::DateTime<chrono::Utc>,
    pub(super) fresh: String,
    /// Whether resources that are not read are empty: a validation changes nothing.
    pub(super) is_dry: bool,
    pub(super) calls: Cell<u32>,
    pub(super) depth: Cell<u32>,
}

/// The turn of a loop: its name and index.
pub(super) type Turns = Vec<(String, i64)>;

impl Scope {
    /// Evaluates all texts of a value.
    pub(super) fn value(&self, value: &Value, turns: &Turns) -> Result<Value, Stop> {
        Ok(match value {
            Value::String(text) => match Expression::of(text) {
                Some(read) => self.expression(&read?, turns)?,
                None => json!(text.strip_prefix("[[").map_or_else(|| text.clone(), |rest| format!("[{rest}"))),
            },
            Value::Array(items) => items.iter().map(|item| self.value(item, turns)).collect::<Result<_, _>>()?,
            Value::Object(fields) => self.object(fields, turns)?,
            other => other.clone(),
        })
    }

    fn object(&self, fields: &Map<String, Value>, turns: &Turns) -> Result<Value, Stop> {
        let mut made = Map::new();
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("copy", Value::Array(loops)) => {
                    for of in loops {
                        let (name, items) = self.looped(of, turns)?;
                        made.insert(name, items);
                    }
                }
                _ => {
                    let name = self.value(&json!(name), turns)?;
                    made.insert(functions::plain(&name).unwrap_or_default(), self.value(value, turns)?);
                }
            }
        }
        Ok(made.into())
    }

    /// Evaluates a loop of a property or variable.
    pub(super) fn looped(&self, of: &Value, turns: &Turns) -> Result<(String, Value), Stop> {
        let name = of.get("name").and_then(Value::as_str).ok_or("A copy loop has no name.".to_owned())?;
        let count = self.count(of, turns)?;
        let input = of.get("input").ok_or_else(|| format!("The copy loop '{name}' has no input."))?;
        let turn = |index: i64| {
            let mut turns = turns.clone();
            turns.push((name.to_owned(), index));
            self.value(input, &turns)
        };
        Ok((name.to_owned(), (0..count).map(turn).collect::<Result<_, _>>()?))
    }

    /// Returns the turns of a loop.
    pub(super) fn count(&self, of: &Value, turns: &Turns) -> Result<i64, Stop> {
        let count = self.value(of.get("count").unwrap_or(&Value::Null), turns)?;
        let count = count.as_i64().filter(|count| (0..=800).contains(count));
        count.ok_or_else(|| Stop::Wrong("The copy count must be a number from 0 to 800.".to_owned()))
    }

    fn expression(&self, read: &Expression, turns: &Turns) -> Result<Value, Stop> {
        match read {
            Expression::Text(text) => Ok(json!(text)),
            Expression::Number(number) => Ok(json!(number)),
            Expression::Property(of, name) => {
                let of = self.expression(of, turns)?;
                self.property(&of, name)
            }
            Expression::Item(of, item) => {
                let (of, item) = (self.expression(of, turns)?, self.expression(item, turns)?);
                match &item {
                    Value::String(name) => self.property(&of, name),
                    _ => {
                        let at = item.as_u64().and_then(|at| usize::try_from(at).ok());
                        let found = at.and_then(|at| of.get(at)).cloned();
                        found.or_else(|| self.is_dry.then_some(Value::Null)).ok_or_else(|| {
                            Stop::Wrong(format!(
                                "The language expression property array index '{item}' is out of bounds."
                            ))
                        })
                    }
                }
            }
            Expression::Call(name, arguments) => self.call(name, arguments, turns),
        }
    }

    fn property(&self, of: &Value, name: &str) -> Result<Value, Stop> {
        let fields = of.as_object();
        let found = fields.and_then(|fields| fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)));
        match found {
            Some((_, value)) => Ok(value.clone()),
            None if self.is_dry => Ok(Value::Null),
            None => Err(format!("The language expression property '{name}' doesn't exist.").into()),
        }
    }

    fn call(&self, name: &str, arguments: &[Expression], turns: &Turns) -> Result<Value, Stop> {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() > CALLS {
            return Err("The template's expressions are too large to be evaluated.".to_owned().into());
        }
        let lower = name.to_ascii_lowercase();
        // One branch alone is evaluated.
        if let ("if", [condition, yes, no]) = (lower.as_str(), arguments) {
            let Value::Bool(condition) = self.expression(condition, turns)? else {
                return Err("The template function 'if' needs a condition that is true or false.".to_owned().into());
            };
            return self.expression(if condition { yes } else { no }, turns);
        }
        let given = arguments.iter().map(|argument| self.expression(argument, turns)).collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<&str> = given.iter().filter_map(Value::as_str).collect();
        let is_text = texts.len() == given.len();
        match (lower.as_str(), texts.as_slice()) {
            ("parameters", [of]) => {
                let missing = || format!("The template parameter '{of}' is not found.");
                Ok(find(&self.parameters, of).cloned().ok_or_else(missing)?)
            }
            ("variables", [of]) => {
                let missing = || format!("The template variable '{of}' is not found.");
                let value = find(&self.variables, of).ok_or_else(missing)?;
                if self.depth.get() >= DEPTH {
                    return Err(format!("The template variable '{of}' refers to itself.").into());
                }
                self.depth.set(self.depth.get() + 1);
                let value = self.value(value, &Vec::new());
                self.depth.set(self.depth.get() - 1);
                value
            }
            ("resourcegroup", []) => Ok(self.group.clone()),
            ("subscription", []) => Ok(json!({
                "id": format!("/subscriptions/{}", self.subscription), "subscriptionId": self.subscription,
                "tenantId": TENANT, "displayName": format!("gallery {}", self.subscription),
            })),
            ("tenant", []) => Ok(json!({"tenantId": TENANT})),
            ("deployment", []) => Ok(self.deployment.clone()),
            ("utcnow", []) => Ok(json!(self.now.format("%Y%m%dT%H%M%SZ").to_string())),
            ("newguid", []) => Ok(json!(self.fresh)),
            ("resourceid", [..]) if is_text => self.resource_id(&texts),
            ("subscriptionresourceid", [kind, names @ ..]) if is_text => {
                id_below(&format!("/subscriptions/{}", self.subscription), kind, names)
            }
            ("extensionresourceid", [above, kind, names @ ..]) if is_text => id_below(above, kind, names),
            ("reference", [of, ..]) => self.reference(of, texts.get(2).is_some_and(|full| full.eq_ignore_ascii_case("full"))),
            ("copyindex", _) => self.copy_index(&given, turns),
            _ => match functions::call(name, &given) {
                Some(value) => Ok(value?),
                None => Err(format!(
                    "The template function '{name}' is not valid. Please see https://aka.ms/arm-functions for usage details."
                )
                .into()),
            },
        }
    }

    /// Returns the id of a resource: `[subscription, [group,]] type, names`.
    fn resource_id(&self, texts: &[&str]) -> Result<Value, Stop> {
        let at = texts.iter().position(|text| text.contains('/')).ok_or("resourceId names no type.".to_owned())?;
        let own = self.group.get("name").and_then(Value::as_str).unwrap_or_default();
        let (subscription, group) = match texts.get(..at).unwrap_or_default() {
            [] => (self.subscription.as_str(), own),
            [group] => (self.subscription.as_str(), *group),
            [subscription, group, ..] => (*subscription, *group),
        };
        let above = format!("/subscriptions/{subscription}/resourceGroups/{group}");
        id_below(&above, texts.get(at).unwrap_or(&""), texts.get(at + 1..).unwrap_or_default())
    }

    fn reference(&self, of: &str, is_full: bool) -> Result<Value, Stop> {
        let id = self.symbols.get(of).map_or(of, String::as_str).to_ascii_lowercase();
        match self.known.get(&id) {
            Some(resource) if is_full => Ok(resource.clone()),
            Some(resource) => Ok(resource.get("properties").cloned().unwrap_or_default()),
            None if self.is_dry => Ok(Value::Null),
            None => Err(Stop::Needs(id)),
        }
    }

    fn copy_index(&self, given: &[Value], turns: &Turns) -> Result<Value, Stop> {
        let named = given.first().and_then(Value::as_str);
        let offset = given.iter().find_map(Value::as_i64).unwrap_or_default();
        let turn = match named {
            Some(name) => turns.iter().rfind(|(known, _)| known.eq_ignore_ascii_case(name)),
            None => turns.last(),
        };
        let (_, index) =
            turn.ok_or("The template function 'copyIndex' is not expected at this location.".to_owned())?;
        Ok(json!(index.saturating_add(offset)))
    }
}

pub(super) const TENANT: &str = "11111111-1111-1111-1111-111111111111";

/// Finds a field by its name in any case.
pub(super) fn find<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Returns an id: a type's words and the names by turns.
fn id_below(above: &str, kind: &str, names: &[&str]) -> Result<Value, Stop> {
    let (namespace, kinds) = kind.split_once('/').unwrap_or((kind, ""));
    let kinds: Vec<&str> = kinds.split('/').filter(|kind| !kind.is_empty()).collect();
    if kinds.len() != names.len() {
        return Err(format!("The type '{kind}' has {} names, and not {}.", kinds.len(), names.len()).into());
    }
    let pairs: String = kinds.iter().zip(names).map(|(kind, name)| format!("/{kind}/{name}")).collect();
    Ok(json!(format!("{}/providers/{namespace}{pairs}", above.trim_end_matches('/'))))
}
