use serde_json::{Value, json};

use crate::support::{Gateway, MockUpstream, header, whole};

fn turns(more: &[(&str, &str)]) -> Value {
    let messages: Vec<Value> =
        more.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    json!({ "messages": messages })
}

const FIRST: (&str, &str) = ("user", "Who wrote Hamlet?");

#[tokio::test]
async fn the_next_turn_goes_to_the_model_that_has_read_the_earlier_ones() {
    let upstream = MockUpstream::start([whole(json!({"content": "Shakespeare."}))]).await;
    let model = |name: &str, id: &str| {
        format!(
            "[[models]]\nname = \"{name}\"\ncatalogue = \"{id}\"\n[models.upstream]\nurl = \"{}\"\n\
             dialect = \"vllm\"\n",
            upstream.url()
        )
    };
    let gateway = Gateway::start(&(model("small", "Qwen3-0.6B") + &model("large", "Qwen3-30B-A3B"))).await;
    let follow_up =
        turns(&[FIRST, ("assistant", "Shakespeare."), ("user", "What is the capital of France?")]);
    let fresh = gateway.post("/v1/decision", &follow_up).send().await.expect("a decision");
    assert_eq!(header(&fresh, "x-thinkgate-model"), "small");
    let first =
        gateway.chat(&turns(&[FIRST])).header("x-thinkgate-model", "large").send().await.expect("an answer");
    assert_eq!((first.status().as_u16(), header(&first, "x-thinkgate-model")), (200, "large"));
    let next = gateway.post("/v1/decision", &follow_up).send().await.expect("a decision");
    assert_eq!(header(&next, "x-thinkgate-model"), "large");
    let other = turns(&[
        ("user", "Who wrote Faust?"),
        ("assistant", "Goethe."),
        ("user", "What is the capital of France?"),
    ]);
    let other = gateway.post("/v1/decision", &other).send().await.expect("a decision");
    assert_eq!(header(&other, "x-thinkgate-model"), "small", "another conversation is not warm");
}
