//! Whatever a client says beyond what the gateway knows reaches the upstream as it was.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use thinkgate::backends::dialect::outgoing;
use thinkgate::config::{Dialect, Wire};

use crate::support::{Intent, call, upstream};

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON knows no other", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<Map<String, Value>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn unknown_fields_reach_chat_wires_byte_for_byte(
        fields in btree_map("x_[a-z]{1,12}", json_value(), 0..5),
        content in any::<String>(),
        at in 0..Dialect::ALL.len(),
        on in any::<bool>(),
    ) {
        let upstream = upstream(Dialect::ALL[at], "vendor/unlisted");
        prop_assume!(upstream.wire == Wire::Chat);
        let messages = json!([{"role": "user", "content": content, "x_note": fields.get("x_a")}]);
        let mut body = json!({"model": "auto", "messages": messages});
        for (name, value) in &fields {
            body[name] = value.clone();
        }
        let text = body.to_string();
        let arrived: Value = serde_json::from_str(&text).expect("just written");
        let intent = if on { Intent::On } else { Intent::Off };
        let sent = outgoing(&call(arrived, intent), &upstream).body;
        for (name, value) in &fields {
            prop_assert_eq!(sent[name].to_string(), value.to_string());
        }
        prop_assert_eq!(sent["messages"].to_string(), messages.to_string());
    }
}
