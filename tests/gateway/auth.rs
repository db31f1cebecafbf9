use serde_json::json;

use crate::support::{Gateway, MockUpstream, ask, header, json_of, parse, whole};

/// SHA-256 of `other-key`.
fn digest_of_other_key() -> String {
    thinkgate::config::digest(b"other-key").iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn guarded() -> Gateway {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let keys = format!(
        "[[keys]]\nname = \"app\"\nkey_env = \"CLIENT_KEY\"\ntext_directives = false\n\
         [[keys]]\nname = \"bench\"\nsha256 = \"{}\"\npreset = \"debug\"\n",
        digest_of_other_key()
    );
    Gateway::start(&(upstream.model("up") + &keys)).await
}

#[tokio::test]
async fn only_holders_of_a_key_get_in() {
    let gateway = guarded().await;
    let long = format!("Bearer {}", "x".repeat(10_000));
    for value in
        ["", "Bearer ", "Bearer wrong", "Basic client-key", "client-key", "Bearer client-key2", &long]
    {
        let mut request = gateway.chat(&ask("hi"));
        if !value.is_empty() {
            request = request.header("authorization", value);
        }
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), 401, "{value:.20}");
        assert_eq!(header(&response, "www-authenticate"), "Bearer");
        assert_eq!(json_of(response).await["error"]["code"], "invalid_api_key");
    }
    for key in ["client-key", "other-key"] {
        let response = gateway.chat(&ask("hi")).bearer_auth(key).send().await.expect("a response");
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test]
async fn every_route_but_the_probes_wants_a_key() {
    let gateway = guarded().await;
    for path in ["/v1/models", "/v1/models/up", "/metrics", "/v1/decision", "/nope", "//healthz"] {
        assert_eq!(gateway.get(path).send().await.expect("a response").status(), 401, "{path}");
    }
    for path in ["/healthz", "/readyz", "/"] {
        assert_eq!(gateway.get(path).send().await.expect("a response").status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_key_can_turn_text_directives_off() {
    let gateway = guarded().await;
    let mode = async |key: &str| {
        let request = gateway.post("/v1/decision", &ask("What is the capital of France? /think"));
        let response = request.bearer_auth(key).send().await.expect("a response");
        json_of(response).await["thinking"]["source"].clone()
    };
    assert_eq!(mode("other-key").await, "text");
    assert_ne!(mode("client-key").await, "text");
}

#[test]
fn keys_and_secrets_are_not_printed() {
    let upstream = "[[models]]\nname = \"a\"\narchitecture = \"dense\"\n[models.upstream]\nurl = \"http://127.0.0.1:1/v1\"\n\
                    dialect = \"vllm\"\nmodel_id = \"m\"\napi_key_env = \"UPSTREAM_KEY\"\n[[keys]]\nkey_env = \"CLIENT_KEY\"\n";
    let printed = format!("{:?}", parse(upstream).expect("valid"));
    assert!(!printed.contains("upstream-key") && !printed.contains("client-key"), "{printed}");
}
