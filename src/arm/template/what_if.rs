//! What a deployment would change.

use http::Method;
use serde_json::{Value, json};

use super::deployments::Deploying;
use crate::arm::answer::{Answer, Answered, Refusal};

impl Deploying<'_> {
    /// Answers a `whatIf`: each resource of the template beside what is there, and what the group has besides.
    pub(super) async fn what_if(&self, group: Value) -> Answered {
        let (_, scope, planned) = self.read(group, true)?;
        let sent = self.sent()?;
        let format = sent.pointer("/properties/whatIfSettings/resultFormat").and_then(Value::as_str);
        let is_short = format.is_some_and(|format| format.eq_ignore_ascii_case("ResourceIdOnly"));
        let mut changes = Vec::new();
        for resource in &planned {
            let mut after = resource.body(&scope)?;
            if let Value::Object(after) = &mut after {
                after.insert("id".into(), json!(resource.id));
                after.insert("name".into(), json!(resource.name.rsplit('/').next()));
                after.insert("type".into(), json!(resource.kind));
                after.insert("apiVersion".into(), json!(resource.api_version));
            }
            let before = match self.send(&Method::GET, &resource.id, &resource.api_version, None).await {
                Ok(before) => Some(before),
                Err(Refusal { status: http::StatusCode::NOT_FOUND, .. }) => None,
                Err(refusal) => return Err(refusal),
            };
            changes.push(match before {
                _ if is_short => json!({"resourceId": resource.id, "changeType": "Deploy"}),
                None => json!({"resourceId": resource.id, "changeType": "Create", "after": after}),
                Some(before) => {
                    let mut delta = Vec::new();
                    differences("", &before, &after, &mut delta);
                    let kind = if delta.is_empty() { "NoChange" } else { "Modify" };
                    json!({"resourceId": resource.id, "changeType": kind, "before": before, "after": after, "delta": delta})
                }
            });
        }
        let others = self.send(&Method::GET, &format!("{}/resources", self.group()), "2024-11-01", None).await?;
        for other in others.get("value").and_then(Value::as_array).into_iter().flatten() {
            let id = other.get("id").and_then(Value::as_str).unwrap_or_default();
            if planned.iter().any(|resource| resource.id.eq_ignore_ascii_case(id)) {
                continue;
            }
            changes.push(match is_short {
                true => json!({"resourceId": id, "changeType": "Ignore"}),
                false => json!({"resourceId": id, "changeType": "Ignore", "before": other, "after": other}),
            });
        }
        Ok(Answer::ok(json!({"status": "Succeeded", "properties": {"correlationId": self.id, "changes": changes}})))
    }
}

/// Adds the properties that a resource would get: what the template does not say stays as it is.
fn differences(path: &str, before: &Value, after: &Value, found: &mut Vec<Value>) {
    let (Value::Object(of_before), Value::Object(of_after)) = (before, after) else {
        if !is_same(before, after) {
            let kind = "Modify";
            found.push(json!({"path": path, "propertyChangeType": kind, "before": before, "after": after}));
        }
        return;
    };
    for (name, after) in of_after {
        let is_of_template = path.is_empty() && ["id", "name", "type", "apiVersion"].contains(&name.as_str());
        let is_nothing = after.is_null() || after.as_object().is_some_and(serde_json::Map::is_empty);
        if is_of_template || is_nothing {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match of_before.get(name) {
            Some(before) => differences(&path, before, after, found),
            None => found.push(json!({"path": path, "propertyChangeType": "Create", "after": after})),
        }
    }
}

/// Whether the gallery takes two values for one: words are compared without case, and regions by either of their names.
fn is_same(one: &Value, other: &Value) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace(' ', "");
    match (one, other) {
        (Value::String(one), Value::String(other)) => plain(one) == plain(other),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        // In an item of a list, the answer has defaults that the template leaves out.
        (Value::Object(one), Value::Object(other)) => {
            other.iter().all(|(name, other)| one.get(name).is_some_and(|one| is_same(one, other)))
        }
        (one, other) => one == other,
    }
}
