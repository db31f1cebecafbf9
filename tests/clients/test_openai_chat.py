"""The official OpenAI client and chat completions, before models of every dialect."""

import json

import openai
import pytest
from asked import CHAT_TOOL, MESSAGES, MOST, RESULT, Sum, check, check_arguments
from conftest import LAX, MODELS, UPSTREAMS
from fakes.anthropic import sign
from fakes.reply import AFTER_TOOL, ANSWER, REASONING

on_and_off = pytest.mark.parametrize("thinking", [True, False], ids=["on", "off"])
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
def client(mixed):
    with openai.OpenAI(base_url=f"{mixed}/v1", api_key="unused", max_retries=0) as client:
        yield client


def reasoning_of(part):
    return (part.model_extra or {}).get("reasoning_content")


def switch(thinking):
    return {"reasoning_effort": "high" if thinking else "none"}


def ask(client, model, stream=False, **fields):
    """The finished completion, gathered by the SDK's own accumulator where it is a stream."""
    fields = {"model": model, "messages": MESSAGES, "max_tokens": MOST} | fields
    if not stream:
        return client.chat.completions.create(**fields)
    with client.chat.completions.stream(**fields, stream_options={"include_usage": True}) as events:
        for _ in events:
            pass
        return events.get_final_completion()


@pytest.mark.parametrize("model", MODELS + LAX)
@on_and_off
@streamed
def test_an_answer(client, model, thinking, stream):
    completion = ask(client, model, stream, **switch(thinking))
    [choice] = completion.choices
    check(choice.message.content, reasoning_of(choice.message) or "", thinking)
    assert choice.finish_reason == "stop"
    assert "reasoning" not in (choice.message.model_extra or {}), "one field unless both are asked for"
    usage = completion.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    if model.startswith(("pico", "vllm", "deepseek")):
        assert bool(usage.completion_tokens_details.reasoning_tokens) == thinking
    if not model.startswith("pico"):
        assert choice.message.content == ANSWER
        assert (reasoning_of(choice.message) or "") == (REASONING if thinking else "")


@pytest.mark.parametrize("model", MODELS)
def test_the_headers_say_what_was_done(client, model):
    for thinking in (True, False):
        raw = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, max_tokens=MOST, **switch(thinking))
        assert raw.headers["x-thinkgate-thinking"] == ("on" if thinking else "off")
        assert raw.headers["x-thinkgate-model"] == model
        assert f"mode={'on' if thinking else 'off'}" in raw.headers["x-thinkgate-applied"]


@pytest.mark.parametrize("model", ["pico-tools", *UPSTREAMS])
@on_and_off
@streamed
def test_a_tool_loop(client, fakes, model, thinking, stream):
    # Anthropic refuses a forced call while thinking; a small model makes none unless it must.
    forced = {"tool_choice": "required"} if model == "pico-tools" else {}
    completion = ask(client, model, stream, tools=[CHAT_TOOL], **forced, **switch(thinking))
    [choice] = completion.choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.function.name == "forecast" and call.id
    check_arguments(json.loads(call.function.arguments))
    assert "<think>" not in (choice.message.content or "")

    history = [*MESSAGES, choice.message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    second = ask(client, model, stream, messages=history, tools=[CHAT_TOOL], **switch(thinking)).choices[0]
    if model in UPSTREAMS:
        assert second.message.content == AFTER_TOOL + RESULT
    assert "<think>" not in (second.message.content or "")
    if model == "claude" and thinking:
        [sent] = [block for block in fakes[model].last.body["messages"][1]["content"] if block["type"] == "thinking"]
        assert sent["signature"] == sign(REASONING), "a signed block goes back as it came"
    if model == "deepseek" and thinking:
        assert fakes[model].last.body["messages"][1]["reasoning_content"] == REASONING


@pytest.mark.parametrize("model", UPSTREAMS)
@on_and_off
def test_a_forced_tool(client, model, thinking):
    forced = {"type": "function", "function": {"name": "forecast"}}
    completion = ask(client, model, tools=[CHAT_TOOL], tool_choice=forced, **switch(thinking))
    assert completion.choices[0].message.tool_calls[0].function.name == "forecast"


@pytest.mark.parametrize("model", MODELS)
@on_and_off
def test_a_parsed_answer(client, model, thinking):
    completion = client.chat.completions.parse(
        model=model, messages=[{"role": "user", "content": "What is 6 + 7, as json?"}], max_tokens=MOST, response_format=Sum, **switch(thinking)
    )
    assert isinstance(completion.choices[0].message.parsed.sum, int)


@pytest.mark.parametrize("model", UPSTREAMS)
@streamed
def test_a_stop_sequence(client, model, stream):
    choice = ask(client, model, stream, stop=["四"], **switch(False)).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("stop", "It is 42, ")


@pytest.mark.parametrize("model", ["vllm", "deepseek"])
@streamed
def test_an_answer_cut_off_while_thinking(client, model, stream):
    choice = ask(client, model, stream, max_tokens=4, **switch(True)).choices[0] if not stream else cut_off(client, model)
    assert choice.finish_reason == "length"
    assert not choice.message.content
    assert REASONING.startswith(reasoning_of(choice.message))


def cut_off(client, model):
    """The accumulator raises on a length; its state is what was gathered until then."""
    with client.chat.completions.stream(model=model, messages=MESSAGES, max_tokens=4, **switch(True)) as events:
        with pytest.raises(openai.LengthFinishReasonError) as cut:
            for _ in events:
                pass
            events.get_final_completion()
    return cut.value.completion.choices[0]


@pytest.mark.parametrize("model", MODELS)
def test_no_usage_chunk_unless_asked(client, model):
    chunks = list(client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=MOST, stream=True, **switch(False)))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["stop"]


def test_unknown_fields_pass_untouched(client, fakes):
    extra = {"vendor_field": {"a": [1, 2.50, None, "<think>"]}, "seed": 7}
    for model in ("vllm", "deepseek"):
        ask(client, model, extra_body=extra)
        body = fakes[model].last.body
        assert {name: body[name] for name in extra} == extra


def test_a_server_that_forbids_unknown_fields_gets_none(client, fakes):
    ask(client, "claude", extra_body={"vendor_field": 1, "enable_thinking": False}, seed=7, frequency_penalty=0.5)
    assert "vendor_field" not in fakes["claude"].last.body


@pytest.mark.refusals
def test_what_a_server_refuses_is_the_callers_error(client):
    orphan = [*MESSAGES, {"role": "tool", "tool_call_id": "nobody", "content": "x"}]
    for model in UPSTREAMS:
        with pytest.raises(openai.BadRequestError):
            ask(client, model, messages=orphan)


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, "gpt-9")
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize("model", UPSTREAMS)
def test_a_conversation_moves_between_servers(client, model):
    """Reasoning that one server made is no burden to the next."""
    history = list(MESSAGES)
    for other in (*UPSTREAMS, "pico-dense", model):
        message = ask(client, other, messages=history, **switch(True)).choices[0].message
        history += [message.to_dict(), MESSAGES[0]]
    assert len(history) == 11


def test_every_model_is_listed(client):
    listed = {model.id for model in client.models.list()}
    assert {"auto", *MODELS} <= listed
