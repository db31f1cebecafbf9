//! One file per dialect, one line per case. `UPDATE=1 cargo test --test dialects` writes them anew; read the difference.

use std::path::PathBuf;

use serde_json::{Map, Value, json};
use thinkgate::backends::capability::records;
use thinkgate::backends::dialect::outgoing;
use thinkgate::config::{Dialect, Upstream};

use crate::strict;
use crate::support::{Intent, call, loud, upstream};

/// Stands for models that no entry names.
const UNLISTED: &str = "vendor/unlisted";

#[test]
fn every_dialect_writes_what_its_file_says() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut stale = Vec::new();
    for dialect in Dialect::ALL {
        let written: String = cases(*dialect).iter().map(|case| format!("  {case},\n")).collect();
        let written = format!("[\n{}\n]\n", written.trim_end_matches(",\n"));
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/dialects/{}.json", dialect.as_str()));
        if update {
            std::fs::write(&path, &written).expect("writable");
        } else if std::fs::read_to_string(&path).unwrap_or_default() != written {
            stale.push(dialect.as_str());
        }
    }
    assert!(
        stale.is_empty(),
        "{stale:?} write other bodies than tests/dialects/*.json; see tests/dialects/golden.rs"
    );
}

#[test]
fn no_body_holds_a_field_that_a_strict_server_refuses() {
    for dialect in Dialect::ALL {
        for model in models(*dialect) {
            for budget in [false, true] {
                let mut upstream = upstream(*dialect, &model);
                upstream.budget |= budget;
                for (intent, name) in Intent::ALL {
                    let sent = outgoing(&call(Value::from(loud()), intent), &upstream);
                    let faults = strict::faults(dialect.as_str(), &sent.body);
                    assert!(faults.is_empty(), "{} {model} {name}: {faults:?}", dialect.as_str());
                }
            }
        }
    }
}

fn models(dialect: Dialect) -> Vec<String> {
    let records = records(dialect);
    let reachable = records.entries.iter().filter(|entry| {
        // A shared entry may stand behind one of the dialect's own.
        std::ptr::eq(thinkgate::backends::capability::find(dialect, &entry.example), &entry.capability)
    });
    std::iter::once(UNLISTED.to_owned()).chain(reachable.map(|entry| entry.example.clone())).collect()
}

fn cases(dialect: Dialect) -> Vec<Value> {
    let mut cases = Vec::new();
    for model in models(dialect) {
        let upstream = upstream(dialect, &model);
        for (intent, name) in Intent::ALL {
            cases.push(case(&upstream, name, loud(), intent));
        }
        for (name, more) in requests() {
            for intent in [Intent::Off, Intent::On] {
                let quiet = case(&upstream, "", plain(json!({})), intent);
                let told =
                    case(&upstream, &format!("{}, {name}", name_of(intent)), plain(more.clone()), intent);
                // Only where the request makes a difference to what is said about thinking.
                if told["applied"] != quiet["applied"] {
                    cases.push(told);
                }
            }
        }
    }
    cases
}

fn name_of(intent: Intent) -> &'static str {
    if intent == Intent::Off { "off" } else { "on" }
}

/// What else a request may hold that thinking has to get on with.
fn requests() -> Vec<(&'static str, Value)> {
    vec![
        ("sampling", json!({"temperature": 0.2, "top_p": 0.5, "presence_penalty": 1.0, "stop": ["x"]})),
        ("forced tool", json!({"tools": [], "tool_choice": "required"})),
        ("JSON", json!({"response_format": {"type": "json_object"}})),
        ("cap of 600", json!({"max_tokens": 600})),
    ]
}

fn plain(more: Value) -> Map<String, Value> {
    let mut body = json!({"model": "auto", "messages": [{"role": "user", "content": "2+2?"}]});
    let Value::Object(more) = more else { panic!("an object") };
    body.as_object_mut().expect("an object").extend(more);
    let Value::Object(body) = body else { panic!("an object") };
    body
}

fn case(upstream: &Upstream, name: &str, body: Map<String, Value>, intent: Intent) -> Value {
    let sent = outgoing(&call(Value::from(body), intent), upstream);
    let address = sent.endpoint.url.strip_prefix(upstream.url.as_str()).expect("under the base").to_owned();
    json!({
        "model": upstream.model_id,
        "case": name,
        "to": address,
        "body": shown(sent.body),
        "applied": sent.applied.compact(),
    })
}

/// The body without the conversation, which is the wire's own tests'.
fn shown(mut body: Map<String, Value>) -> Value {
    body.retain(|field, _| !matches!(field.as_str(), "messages" | "contents" | "system"));
    body.into()
}
