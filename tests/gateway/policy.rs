use serde_json::{Value, json};

use crate::support::{
    Events, Gateway, MockUpstream, Reply, ask, ask_stream, chunk, finish, header, json_of, whole,
};

async fn limited(keys: &str) -> (Gateway, MockUpstream, MockUpstream) {
    let answer = || whole(json!({"role": "assistant", "content": "x", "reasoning": "Hm."}));
    let (one, two) = (MockUpstream::start([answer()]).await, MockUpstream::start([answer()]).await);
    let config =
        format!("{}{}[[keys]]\nkey_env = \"CLIENT_KEY\"\n{keys}\n", one.model("one"), two.model("two"));
    (Gateway::start(&config).await, one, two)
}

async fn decided(
    gateway: &Gateway,
    body: &Value,
    headers: &[(&'static str, &'static str)],
) -> reqwest::Response {
    let mut request = gateway.post("/v1/decision", body).bearer_auth("client-key");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("a response")
}

#[tokio::test]
async fn a_key_reaches_only_its_models() {
    let (gateway, ..) = limited("models = [\"two\"]").await;
    for text in ["hi", "Prove that the square root of two is irrational."] {
        let decision = json_of(decided(&gateway, &ask(text), &[]).await).await;
        assert_eq!(decision["model"], "two");
        assert!(decision["arms"].as_array().expect("arms").iter().all(|arm| arm["model"] == "two"));
    }
    let mut named = ask("hi");
    named["model"] = "one".into();
    for (body, headers, param) in
        [(named, &[][..], "model"), (ask("hi"), &[("x-thinkgate-model", "one")][..], "x-thinkgate-model")]
    {
        let response = decided(&gateway, &body, headers).await;
        assert_eq!(response.status(), 403);
        let error = json_of(response).await;
        assert_eq!(
            json!([error["error"]["type"], error["error"]["param"]]),
            json!(["permission_error", param])
        );
        assert!(
            error["error"]["message"]
                .as_str()
                .is_some_and(|text| text.contains("\"one\"") && text.contains("two"))
        );
    }
    let list =
        json_of(gateway.get("/v1/models").bearer_auth("client-key").send().await.expect("a response")).await;
    assert!(!list.to_string().contains("\"one\""), "{list}");
}

#[tokio::test]
async fn a_key_reaches_only_its_presets_and_its_own() {
    let (gateway, ..) = limited("presets = [\"debug\"]\npreset = \"api\"").await;
    for (preset, status) in [("debug", 200), ("auto:debug", 200), ("api", 200)] {
        let mut body = ask("hi");
        body["model"] = preset.into();
        assert_eq!(decided(&gateway, &body, &[]).await.status(), status, "{preset}");
    }
    let (gateway, ..) = limited("presets = [\"api\"]").await;
    let response = decided(&gateway, &ask("hi"), &[("x-thinkgate-preset", "debug")]).await;
    assert_eq!(response.status(), 403);
    assert_eq!(json_of(response).await["error"]["code"], "not_permitted");
}

#[tokio::test]
async fn a_key_is_granted_no_more_thinking_than_it_may_have() {
    let (gateway, ..) = limited("max_budget_tokens = 700").await;
    let decision =
        json_of(decided(&gateway, &ask("hi"), &[("x-thinkgate-thinking", "budget=4000")]).await).await;
    assert_eq!(decision["thinking"]["budget_tokens"], 700);
    assert!(decision["notes"].to_string().contains("budget clamped"));
    let (gateway, ..) = limited("max_budget_tokens = 0").await;
    let decision = json_of(decided(&gateway, &ask("hi"), &[("x-thinkgate-thinking", "on")]).await).await;
    assert_eq!(decision["thinking"]["mode"], "off");
}

#[tokio::test]
async fn limits_that_name_nothing_known_are_faults() {
    let config = |limit: &str| {
        let text = format!("[[keys]]\nkey_env = \"CLIENT_KEY\"\n{limit}\n");
        crate::support::parse(&text).map(drop).map_err(|error| error.to_string())
    };
    for (limit, says) in [
        ("models = [\"nobody\"]", "pico-dense"),
        ("presets = [\"nobody\"]", "debug"),
        ("models = []", "names nothing"),
        ("max_budget_tokens = -1", "max_budget_tokens"),
    ] {
        let fault = config(limit).expect_err(limit);
        assert!(fault.contains(says), "{fault}");
    }
    config("models = [\"pico-moe\"]\npresets = [\"api\"]\nmax_budget_tokens = 0").expect("valid");
}

#[tokio::test]
async fn a_header_frees_the_choice_from_a_model_that_is_not_ours() {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    let mut body = ask("hi");
    body["model"] = "claude-opus-9".into();
    for (name, status) in [("auto", 200), ("up", 200), ("gone", 404)] {
        let response =
            gateway.chat(&body).header("x-thinkgate-model", name).send().await.expect("a response");
        assert_eq!(response.status(), status, "{name}");
        if status == 404 {
            let error = json_of(response).await;
            assert_eq!(error["error"]["param"], "x-thinkgate-model");
            assert!(error["error"]["message"].as_str().is_some_and(|text| text.contains("\"gone\"")));
        }
    }
}

#[tokio::test]
async fn a_misspelt_header_is_no_silent_wish() {
    let upstream = MockUpstream::start([whole(json!({"role": "assistant", "content": "x"}))]).await;
    let gateway = Gateway::before(&upstream).await;
    let response =
        gateway.chat(&ask("hi")).header("x-thinkgate-thinkng", "off").send().await.expect("a response");
    assert_eq!(response.status(), 400);
    assert_eq!(json_of(response).await["error"]["param"], "x-thinkgate-thinkng");
}

const REPLY: &str = "/choices/0/message";

#[tokio::test]
async fn reasoning_has_the_name_that_was_asked_for_and_no_other() {
    let upstream =
        MockUpstream::start([whole(json!({"role": "assistant", "content": "x", "reasoning": "Hm."}))]).await;
    for (config, header, body, names) in [
        ("", None, json!({}), &["reasoning_content"][..]),
        ("", Some("reasoning"), json!({}), &["reasoning"][..]),
        ("", Some("both"), json!({}), &["reasoning_content", "reasoning"][..]),
        ("", Some("hidden"), json!({}), &[][..]),
        ("", None, json!({"include_reasoning": false}), &[][..]),
        ("", None, json!({"reasoning": {"exclude": true}}), &[][..]),
        ("", Some("both"), json!({"include_reasoning": false}), &["reasoning_content", "reasoning"][..]),
        ("[server]\nreasoning_field = \"reasoning\"\n", None, json!({}), &["reasoning"][..]),
    ] {
        let gateway = Gateway::start(&(config.to_owned() + &upstream.model("up"))).await;
        let mut asked = ask("hi");
        asked.as_object_mut().expect("an object").extend(body.as_object().expect("an object").clone());
        let mut request = gateway.chat(&asked);
        if let Some(value) = header {
            request = request.header("x-thinkgate-reasoning", value);
        }
        let answer = json_of(request.send().await.expect("a response")).await;
        let message = answer.pointer(REPLY).expect("a message");
        for name in ["reasoning_content", "reasoning"] {
            assert_eq!(message.get(name).is_some(), names.contains(&name), "{header:?} {body} {message}");
        }
    }
}

#[tokio::test]
async fn hidden_reasoning_leaves_no_trace_in_a_stream() {
    let events = [
        chunk(json!({"reasoning": "Hm."})),
        chunk(json!({"reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]})),
        chunk(json!({"thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]})),
        chunk(json!({"content": "x"})),
        finish("stop"),
    ];
    let upstream = MockUpstream::start([Reply::events(&events)]).await;
    let gateway = Gateway::before(&upstream).await;
    let request = gateway.chat(&ask_stream("hi")).header("x-thinkgate-reasoning", "hidden");
    let response = request.send().await.expect("a response");
    assert_eq!(header(&response, "x-thinkgate-model"), "up");
    let events = Events::of(response).await;
    assert!(events.events.iter().all(|event| !event.to_string().contains("Hm.")), "{:?}", events.events);
    assert_eq!(events.joined("content"), "x");
}
