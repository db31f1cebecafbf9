"""The official OpenAI client against the gateway, as an unmodified application would use it."""

import asyncio
import json

import openai
import pytest

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway}/v1", api_key="unused", max_retries=0) as client:
        yield client


def reasoning_of(part):
    """The SDK keeps fields it does not know beside those it does."""
    return (part.model_extra or {}).get("reasoning_content")


def ask(client, **fields):
    fields = {"model": "auto", "messages": QUESTION, "max_tokens": 200} | fields
    return client.chat.completions.create(**fields)


def test_an_answer_in_one_piece(client):
    answer = ask(client, extra_body={"enable_thinking": True})
    choice = answer.choices[0]
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert "<think>" not in choice.message.content
    assert reasoning_of(choice.message)
    assert choice.finish_reason in ("stop", "length")
    assert answer.model in ("pico-dense", "pico-moe")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 0 < usage.completion_tokens_details.reasoning_tokens <= usage.completion_tokens


def test_a_schema_holds_the_answer_and_its_tokens_are_told(client):
    schema = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": False}
    answer = ask(
        client,
        response_format={"type": "json_schema", "json_schema": {"name": "sum", "schema": schema}},
        logprobs=True,
        top_logprobs=2,
        extra_body={"enable_thinking": True, "answer_sampling": {"temperature": 0}},
    )
    choice = answer.choices[0]
    assert list(json.loads(choice.message.content)) == ["sum"]
    tokens = choice.logprobs.content
    assert bytes(byte for token in tokens for byte in token.bytes).decode() == choice.message.content
    assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in tokens)


def test_a_stream_brings_reasoning_before_content(client):
    kinds, text = [], ""
    finish, usage = None, None
    stream = ask(client, stream=True, stream_options={"include_usage": True}, extra_body={"enable_thinking": True})
    for chunk in stream:
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            if reasoning_of(choice.delta):
                kinds.append("reasoning")
            if choice.delta.content:
                kinds.append("content")
                text += choice.delta.content
            finish = choice.finish_reason or finish
    assert kinds and kinds == sorted(kinds, reverse=True), "reasoning first, then content"
    assert {"reasoning", "content"} == set(kinds)
    assert text and finish in ("stop", "length")
    assert usage.completion_tokens > 0


def test_the_template_flag_turns_thinking_off(client):
    raw = client.chat.completions.with_raw_response.create(
        model="auto",
        messages=QUESTION,
        max_tokens=100,
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )
    assert raw.headers["x-thinkgate-thinking"] == "off"
    message = raw.parse().choices[0].message
    assert "reasoning_content" not in (message.model_extra or {}), "absent, not empty"


@pytest.mark.parametrize(("effort", "mode"), [("none", "off"), ("low", "on"), ("high", "on")])
def test_reasoning_effort_is_understood(client, effort, mode):
    raw = client.chat.completions.with_raw_response.create(
        model="pico-dense", messages=QUESTION, reasoning_effort=effort, max_tokens=400
    )
    assert raw.headers["x-thinkgate-thinking"] == mode
    assert raw.headers["x-thinkgate-model"] == "pico-dense"


def test_the_decision_is_in_the_raw_headers(client):
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=QUESTION, max_tokens=100, extra_headers={"x-request-id": "sdk-1"}
    )
    assert raw.headers["x-request-id"] == "sdk-1"
    assert raw.headers["x-thinkgate-decision"].startswith("thinking=")
    assert raw.headers["x-thinkgate-architecture"] in ("dense", "moe")
    assert 0 <= float(raw.headers["x-thinkgate-score"]) <= 1
    assert raw.parse().id.endswith("sdk-1")


def test_headers_of_a_stream_too(client):
    with client.chat.completions.with_streaming_response.create(
        model="auto:think", messages=QUESTION, max_tokens=200, stream=True
    ) as response:
        assert response.headers["x-thinkgate-thinking"] == "on"
        assert response.headers["content-type"] == "text/event-stream"
        assert list(response.iter_lines())[-2:] == ["data: [DONE]", ""]


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, model="gpt-9")
    assert refused.value.code == "model_not_found"
    assert refused.value.param == "model"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 9}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"reasoning_effort": "extreme"}, "reasoning_effort"),
        ({"n": 2}, "n"),
    ],
)
def test_bad_requests_name_the_field(client, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, **fields)
    assert refused.value.param == param


def test_a_chinese_prompt(client):
    raw = client.chat.completions.with_raw_response.create(
        model="auto", messages=[{"role": "user", "content": "已知x²+2x+1=0，求x的值"}], max_tokens=300
    )
    assert raw.headers["x-thinkgate-thinking"] == "on"
    assert raw.parse().choices[0].message.content is not None


def test_a_conversation_with_reasoning_in_its_history(client):
    first = ask(client, extra_body={"enable_thinking": True}).choices[0].message
    history = QUESTION + [first.model_dump(exclude_none=True), {"role": "user", "content": "And 3 + 4?"}]
    assert ask(client, messages=history).choices[0].message.content is not None


def test_models_are_listed(client):
    models = {model.id: model for model in client.models.list()}
    assert {"auto", "pico-dense", "pico-moe"} <= set(models)
    assert models["pico-moe"].model_extra["architecture"] == "moe"
    assert client.models.retrieve("pico-dense").id == "pico-dense"


def test_many_at_once(gateway):
    async def run():
        async with openai.AsyncOpenAI(base_url=f"{gateway}/v1", api_key="unused", max_retries=2) as client:

            async def one(index):
                answer = await client.chat.completions.create(
                    model="auto",
                    messages=[{"role": "user", "content": f"What is {index} + 5?"}],
                    max_tokens=60,
                    extra_body={"enable_thinking": index % 2 == 0},
                )
                return answer.choices[0].message, index

            async def streamed(index):
                stream = await client.chat.completions.create(
                    model="auto",
                    messages=[{"role": "user", "content": f"What is {index} + 6?"}],
                    max_tokens=60,
                    stream=True,
                )
                return [chunk async for chunk in stream]

            answers = await asyncio.gather(*(one(index) for index in range(8)))
            streams = await asyncio.gather(*(streamed(index) for index in range(8)))
            return answers, streams

    answers, streams = asyncio.run(run())
    for message, index in answers:
        assert bool(reasoning_of(message)) == (index % 2 == 0)
    for chunks in streams:
        assert len({chunk.id for chunk in chunks}) == 1
        assert chunks[-1].choices[0].finish_reason in ("stop", "length")
