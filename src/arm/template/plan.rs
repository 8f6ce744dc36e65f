//! What a template deploys: its resources with their names, in the order of what depends on what.

use serde_json::{Map, Value, json};

use super::evaluate::{Scope, Stop, Turns, find};

/// Resources of a template, as in Azure.
const MOST: usize = 800;

/// A resource that is to be deployed.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) api_version: String,
    /// Its symbolic name, or that of its loop.
    label: Option<String>,
    depends_on: Vec<String>,
    source: Map<String, Value>,
    turns: Turns,
}

/// What stands beside a resource's body.
const NO_BODY: &[&str] = &[
    "type",
    "name",
    "apiVersion",
    "dependsOn",
    "condition",
    "copy",
    "comments",
    "scope",
    "resources",
    "metadata",
    "existing",
];

impl Planned {
    /// Evaluates the body of its PUT.
    pub(super) fn body(&self, scope: &Scope) -> Result<Value, Stop> {
        let fields = self.source.iter().filter(|(name, _)| !NO_BODY.contains(&name.as_str()));
        scope.value(&Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect()), &self.turns)
    }

    /// Whether `self` waits for `other`.
    pub(super) fn waits_for(&self, other: &Self) -> bool {
        let is = |text: &String| {
            let of = |known: &str| known.eq_ignore_ascii_case(text);
            of(&other.id)
                || of(&other.name)
                || other.label.as_deref().is_some_and(of)
                || of(&format!("{}/{}", other.kind, other.name))
        };
        self.depends_on.iter().any(is)
    }
}

/// Returns the resources of a template, and fills in the ids of symbolic names.
pub(super) fn planned(template: &Value, scope: &mut Scope) -> Result<Vec<Planned>, Stop> {
    let mut all = Vec::new();
    match template.get("resources") {
        Some(Value::Array(resources)) => {
            for resource in resources {
                add(&mut all, scope, resource, None, None)?;
            }
        }
        Some(Value::Object(resources)) => {
            for (symbol, resource) in resources {
                add(&mut all, scope, resource, Some(symbol), None)?;
            }
        }
        _ => return Err("Deployment template validation failed: the template has no resources.".to_owned().into()),
    }
    Ok(all)
}

fn add(
    all: &mut Vec<Planned>,
    scope: &mut Scope,
    resource: &Value,
    symbol: Option<&String>,
    above: Option<&Planned>,
) -> Result<(), Stop> {
    let Value::Object(source) = resource else {
        return Err("Deployment template validation failed: a resource is no object.".to_owned().into());
    };
    let own = above.map(|above| above.turns.clone()).unwrap_or_default();
    let looped = source.get("copy").filter(|copy| copy.is_object());
    let turns: Vec<Turns> = match looped {
        None => vec![own],
        Some(of) => {
            let name = of.get("name").and_then(Value::as_str).unwrap_or_default();
            let turn = |index| own.iter().cloned().chain([(name.to_owned(), index)]).collect();
            (0..scope.count(of, &own)?).map(turn).collect()
        }
    };
    let loop_name = looped.and_then(|of| of.get("name")).and_then(Value::as_str).map(str::to_owned);
    for turns in turns {
        let required = |name: &str| {
            source.get(name).ok_or_else(|| {
                Stop::Wrong(format!("Deployment template validation failed: a resource has no '{name}'."))
            })
        };
        let text = |value: &Value| {
            let value = scope.value(value, &turns)?;
            value.as_str().map(str::to_owned).ok_or_else(|| Stop::Wrong(format!("'{value}' is no text.")))
        };
        let (mut kind, mut name) = (text(required("type")?)?, text(required("name")?)?);
        let api_version = text(required("apiVersion")?)?;
        if let Some(above) = above.filter(|_| !kind.contains('.')) {
            kind = format!("{}/{kind}", above.kind);
            name = format!("{}/{name}", above.name);
        }
        let within = match source.get("scope") {
            Some(of) => text(of)?,
            None => String::new(),
        };
        let id = id_of(scope, &kind, &name, &within)?;
        if let Some(symbol) = symbol {
            scope.symbols.insert(symbol.clone(), id.clone());
        }
        if kind.eq_ignore_ascii_case("Microsoft.Resources/deployments") {
            return Err("Deployment template validation failed: deployments in a template are not supported here."
                .to_owned()
                .into());
        }
        if source.get("existing") == Some(&json!(true)) {
            continue;
        }
        let condition = source.get("condition").map(|of| scope.value(of, &turns)).transpose()?;
        if condition == Some(json!(false)) {
            continue;
        }
        let given = source.get("dependsOn").and_then(Value::as_array).into_iter().flatten();
        let given = given.map(|of| Ok(scope.value(of, &turns)?.as_str().unwrap_or_default().to_owned()));
        let mut depends_on = given.collect::<Result<Vec<_>, Stop>>()?;
        // A child's parent may be named so alone.
        depends_on.extend(above.map(|above| above.id.clone()));
        let label = symbol.cloned().or_else(|| loop_name.clone());
        let planned = Planned { id, kind, name, api_version, label, depends_on, source: source.clone(), turns };
        if all.len() >= MOST {
            return Err(
                format!("Deployment template validation failed: the template has more than {MOST} resources.").into()
            );
        }
        if all.iter().any(|there| there.id.eq_ignore_ascii_case(&planned.id)) {
            let what = format!(
                "Deployment template validation failed: the resource '{}' is defined multiple times in a template.",
                planned.id
            );
            return Err(what.into());
        }
        all.push(planned.clone());
        for below in source.get("resources").and_then(Value::as_array).into_iter().flatten() {
            add(all, scope, below, None, Some(&planned))?;
        }
    }
    Ok(())
}

fn id_of(scope: &Scope, kind: &str, name: &str, within: &str) -> Result<String, Stop> {
    let (namespace, kinds) = kind.split_once('/').unwrap_or((kind, ""));
    let (kinds, names): (Vec<&str>, Vec<&str>) = (kinds.split('/').collect(), name.split('/').collect());
    if kinds.len() != names.len() {
        return Err(format!(
            "Deployment template validation failed: the template resource '{name}' for type '{kind}' has incorrect segment lengths. A nested \
             resource type must have identical number of segments as its resource name."
        )
        .into());
    }
    let group = scope.group.get("id").and_then(Value::as_str).unwrap_or_default();
    let above = match within {
        "" => group.to_owned(),
        id if id.starts_with('/') => id.to_owned(),
        // Its type and name, by turns.
        relative => format!("{group}/providers/{relative}"),
    };
    let pairs: String = kinds.iter().zip(names).map(|(kind, name)| format!("/{kind}/{name}")).collect();
    Ok(format!("{above}/providers/{namespace}{pairs}"))
}

/// Reads the parameters that a deployment gives, by those that the template has.
pub(super) fn parameters(template: &Value, given: &Map<String, Value>, scope: &mut Scope) -> Result<(), Stop> {
    let none = Map::new();
    let known = template.get("parameters").and_then(Value::as_object).unwrap_or(&none);
    let unknown: Vec<&str> = given.keys().map(String::as_str).filter(|name| find(known, name).is_none()).collect();
    if !unknown.is_empty() {
        return Err(format!(
            "Deployment template validation failed: 'The template parameters '{}' in the parameters file are not valid; they are not present \
             in the original template and can therefore not be provided at deployment time.'.",
            unknown.join(", ")
        )
        .into());
    }
    for (name, of) in known {
        let value = match find(given, name).and_then(|given| given.get("value")) {
            Some(value) => value.clone(),
            None => match of.get("defaultValue") {
                Some(default) => scope.value(default, &Vec::new())?,
                None if of.get("nullable") == Some(&json!(true)) => Value::Null,
                None => {
                    return Err(format!(
                        "Deployment template validation failed: 'The value for the template parameter '{name}' is not provided. Please see \
                         https://aka.ms/arm-create-parameter-file for usage details.'."
                    )
                    .into());
                }
            },
        };
        check(name, of, &value)?;
        scope.parameters.insert(name.clone(), value);
    }
    Ok(())
}

/// Checks a parameter's type, words and bounds.
fn check(name: &str, of: &Value, value: &Value) -> Result<(), Stop> {
    let kind = of.get("type").and_then(Value::as_str).unwrap_or_default().to_ascii_lowercase();
    let is_of_kind = match kind.as_str() {
        "string" | "securestring" => value.is_string(),
        "int" => value.is_i64(),
        "bool" => value.is_boolean(),
        "array" => value.is_array(),
        "object" | "secureobject" => value.is_object(),
        // A type of the template's own.
        _ => true,
    };
    let wrong = |what: String| Err(Stop::Wrong(format!("Deployment template validation failed: '{what}'.")));
    if !is_of_kind && !value.is_null() {
        return wrong(format!("Template parameter '{name}' is not of the type '{kind}'"));
    }
    let allowed = of.get("allowedValues").and_then(Value::as_array);
    if allowed.is_some_and(|allowed| !allowed.contains(value) && !value.is_array()) {
        return wrong(format!(
            "The provided value for the template parameter '{name}' is not valid. The value '{value}' is not part of the allowed value(s)"
        ));
    }
    let size = match value {
        Value::String(text) => Some(text.chars().count() as i64),
        Value::Array(items) => Some(items.len() as i64),
        _ => None,
    };
    let bound = |name: &str| of.get(name).and_then(Value::as_i64);
    let is_within = |size: Option<i64>, least: &str, most: &str| {
        size.is_none_or(|size| {
            bound(least).is_none_or(|least| size >= least) && bound(most).is_none_or(|most| size <= most)
        })
    };
    if !is_within(size, "minLength", "maxLength") || !is_within(value.as_i64(), "minValue", "maxValue") {
        return wrong(format!(
            "The provided value for the template parameter '{name}' is not valid: it is out of its bounds"
        ));
    }
    Ok(())
}

/// Reads the variables, by parameters that are read: loops become lists.
pub(super) fn variables(template: &Value, scope: &mut Scope) -> Result<(), Stop> {
    scope.variables = template.get("variables").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(Value::Array(loops)) = scope.variables.remove("copy") {
        for of in loops {
            let (name, items) = scope.looped(&of, &Vec::new())?;
            scope.variables.insert(name, items);
        }
    }
    Ok(())
}
