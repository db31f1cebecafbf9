//! A server that refuses what its documentation does not name: `fields.json`, written from the vendors' own pages and not from
//! the program.

use serde_json::{Map, Value};

/// What a strict server of this dialect says against a body.
pub(crate) fn faults(dialect: &str, body: &Map<String, Value>) -> Vec<String> {
    let fields: Value = serde_json::from_str(include_str!("fields.json")).expect("JSON");
    let own = &fields[dialect];
    assert!(own.is_object(), "fields.json knows no {dialect}");
    let common = fields["common"].as_array().expect("a list");
    body.iter()
        .filter_map(|(field, value)| match own.get(field) {
            Some(kind) => fault(field, value, kind),
            None if own.get("alone").is_none() && common.iter().any(|known| known == field) => None,
            None => Some(format!("unknown field {field}")),
        })
        .collect()
}

fn fault(field: &str, value: &Value, kind: &Value) -> Option<String> {
    let fits = match kind {
        Value::Array(allowed) => allowed.contains(value),
        Value::Object(known) => {
            let Some(object) = value.as_object() else { return Some(format!("{field} is no object")) };
            if known.contains_key("type") && !object.contains_key("type") {
                return Some(format!("{field} has no type"));
            }
            return object.iter().find_map(|(key, value)| match known.get(key) {
                Some(kind) => fault(&format!("{field}.{key}"), value, kind),
                None => Some(format!("unknown field {field}.{key}")),
            });
        }
        Value::String(kind) => fits(kind, value),
        other => panic!("fields.json: {other}"),
    };
    (!fits).then(|| format!("{field} is {value}"))
}

fn fits(kind: &str, value: &Value) -> bool {
    let flags = |all: &Map<String, Value>| all.values().filter(|value| value.is_boolean()).count();
    match kind {
        "flag" => value.is_boolean(),
        "count" => value.as_u64().is_some(),
        "number" => value.is_number(),
        "name" => value.is_string(),
        "name-or-count" => value.is_string() || value.as_u64().is_some(),
        "object" => value.is_object(),
        "list" => value.is_array(),
        // What a template reads besides is the operator's business; the mode itself must be a boolean, not its name.
        "flags" | "flags-and-effort" => {
            value.as_object().is_some_and(|all| flags(all) > 0 || kind != "flags")
        }
        "one-flag" => value.as_object().is_some_and(|all| flags(all) == 1),
        other => panic!("fields.json: {other}"),
    }
}
