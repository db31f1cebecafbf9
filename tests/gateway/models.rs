use serde_json::{Value, json};

use crate::support::{Gateway, json_of};

async fn listed(gateway: &Gateway, path: &str, anthropic: bool) -> Value {
    let mut request = gateway.get(path);
    if anthropic {
        request = request.header("anthropic-version", "2023-06-01");
    }
    json_of(request.send().await.expect("a response")).await
}

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().expect("a list").iter().filter_map(|model| model["id"].as_str()).collect()
}

const ALL: [&str; 7] =
    ["auto", "auto:think", "auto:fast", "auto:api", "auto:debug", "pico-dense", "pico-moe"];

#[tokio::test]
async fn models_are_listed_with_what_matters_for_choosing() {
    let gateway = Gateway::start("").await;
    let list = listed(&gateway, "/v1/models", false).await;
    assert_eq!(ids(&list), ALL);
    for model in list["data"].as_array().expect("a list") {
        assert_eq!(model["object"], "model");
        assert!(model["created"].is_u64() && model["owned_by"].is_string());
    }
    let one = listed(&gateway, "/v1/models/pico-moe", false).await;
    assert_eq!(
        json!([one["architecture"], one["thinking"], one["shape"]["experts"]]),
        json!(["moe", "hybrid", 8])
    );
    assert!(one["context_length"].as_u64() > Some(0));
    assert!(one["active_params"].as_u64() < one["total_params"].as_u64());
    for preset in ["debug", "auto:debug"] {
        assert_eq!(listed(&gateway, &format!("/v1/models/{preset}"), false).await["unsure"], "on");
    }
    let none = gateway.get("/v1/models/gpt-9").send().await.expect("a response");
    assert_eq!(none.status(), 404);
    assert_eq!(json_of(none).await["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn anthropics_clients_get_their_own_form() {
    let gateway = Gateway::start("").await;
    let list = listed(&gateway, "/v1/models", true).await;
    assert_eq!(ids(&list), ALL);
    assert_eq!(
        json!([list["has_more"], list["first_id"], list["last_id"]]),
        json!([false, "auto", "pico-moe"])
    );
    let one = listed(&gateway, "/v1/models/pico-moe", true).await;
    assert_eq!(json!([one["type"], one["display_name"]]), json!(["model", "pico-moe"]));
    assert!(one["created_at"].is_string() && one["max_input_tokens"].is_u64());
    assert_eq!(one["architecture"], "moe");
    let none = gateway.get("/v1/models/gpt-9").header("anthropic-version", "2023-06-01");
    let none = none.send().await.expect("a response");
    assert_eq!(none.status(), 404);
    assert_eq!(json_of(none).await["error"]["type"], "not_found_error");
}
