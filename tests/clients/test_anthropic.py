"""The official Anthropic client and the Messages API, before models of every dialect."""

import anthropic
import pytest
from asked import BUDGET, MESSAGES, MESSAGES_TOOL, MOST, RESULT, check, check_arguments
from conftest import LAX, MODELS, UPSTREAMS
from fakes.anthropic import sign
from fakes.reply import AFTER_TOOL, ANSWER, REASONING

on_and_off = pytest.mark.parametrize("thinking", [True, False], ids=["on", "off"])
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
def client(mixed):
    with anthropic.Anthropic(base_url=mixed, api_key="unused", max_retries=0) as client:
        yield client


def switch(thinking):
    return {"thinking": {"type": "enabled", "budget_tokens": BUDGET} if thinking else {"type": "disabled"}}


def ask(client, model, stream=False, **fields):
    fields = {"model": model, "messages": MESSAGES, "max_tokens": MOST} | fields
    if not stream:
        return client.messages.create(**fields)
    with client.messages.stream(**fields) as events:
        return events.get_final_message()


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def reasoning_of(message):
    return "".join(block.thinking for block in message.content if block.type == "thinking")


@pytest.mark.parametrize("model", MODELS + LAX)
@on_and_off
@streamed
def test_an_answer(client, model, thinking, stream):
    message = ask(client, model, stream, **switch(thinking))
    check(text_of(message), reasoning_of(message), thinking)
    assert [block.type for block in message.content] == (["thinking", "text"] if thinking else ["text"])
    assert message.stop_reason == "end_turn" and message.role == "assistant"
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    if not model.startswith("pico"):
        assert text_of(message) == ANSWER
        assert reasoning_of(message) == (REASONING if thinking else "")
    if model.startswith("claude") and thinking:
        assert message.content[0].signature == sign(REASONING), "signatures pass untouched"
    elif thinking:
        assert message.content[0].signature == "", "signatures are never invented"


@pytest.mark.parametrize("model", MODELS)
@on_and_off
def test_events_come_in_order(client, model, thinking):
    events = list(client.messages.create(model=model, messages=MESSAGES, max_tokens=MOST, stream=True, **switch(thinking)))
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    started = [event for event in events if event.type == "content_block_start"]
    assert [event.index for event in started] == list(range(len(started)))
    assert [event.content_block.type for event in started] == (["thinking", "text"] if thinking else ["text"])
    open_block = None
    for event in events:
        if event.type == "content_block_start":
            assert open_block is None
            open_block = event.index
        elif event.type == "content_block_delta":
            assert event.index == open_block
        elif event.type == "content_block_stop":
            assert event.index == open_block
            open_block = None


@pytest.mark.parametrize("model", ["pico-tools", *UPSTREAMS])
@on_and_off
@streamed
def test_a_tool_loop(client, fakes, model, thinking, stream):
    forced = {"tool_choice": {"type": "any"}} if model == "pico-tools" else {}
    message = ask(client, model, stream, tools=[MESSAGES_TOOL], **forced, **switch(thinking))
    assert message.stop_reason == "tool_use"
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert call.name == "forecast" and call.id
    check_arguments(call.input)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": RESULT}]}
    history = [*MESSAGES, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    second = ask(client, model, stream, messages=history, tools=[MESSAGES_TOOL], **switch(thinking))
    if model in UPSTREAMS:
        assert text_of(second) == AFTER_TOOL + RESULT
    assert "<think>" not in text_of(second)
    if model == "deepseek" and thinking:
        assert fakes[model].last.body["messages"][1]["reasoning_content"] == REASONING


@pytest.mark.parametrize("model", UPSTREAMS)
@streamed
def test_a_stop_sequence(client, model, stream):
    message = ask(client, model, stream, stop_sequences=["四"], **switch(False))
    assert text_of(message) == "It is 42, "


@pytest.mark.parametrize("model", UPSTREAMS)
def test_an_answer_cut_off(client, model):
    message = ask(client, model, max_tokens=2, **switch(False))
    assert message.stop_reason == "max_tokens"
    assert text_of(message) and ANSWER.startswith(text_of(message))


@pytest.mark.parametrize("model", MODELS)
def test_tokens_are_counted(client, model):
    few = client.messages.count_tokens(model=model, messages=MESSAGES).input_tokens
    many = client.messages.count_tokens(model=model, messages=[{"role": "user", "content": "word " * 200}]).input_tokens
    assert 0 < few < 100 < many


@pytest.mark.parametrize("model", UPSTREAMS)
def test_a_system_prompt(client, fakes, model):
    blocks = [{"type": "text", "text": "Answer briefly.", "cache_control": {"type": "ephemeral"}}]
    ask(client, model, system=blocks, **switch(False))
    body = fakes[model].last.body
    if model == "claude":
        assert body["system"] == blocks, "a mark for the cache survives"
    else:
        assert body["messages"][0]["role"] == "system"
        assert "Answer briefly." in str(body["messages"][0]["content"])


@pytest.mark.parametrize("model", UPSTREAMS)
def test_a_picture(client, fakes, model):
    """Reaches the servers that take one; the other says so."""
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    if model != "deepseek":
        ask(client, model, messages=[{"role": "user", "content": content}], **switch(False))
        assert "iVBORw0KGgo=" in str(fakes[model].last.body)


def test_thinking_that_is_not_to_be_shown(client):
    for model in ("vllm", "deepseek"):
        message = ask(client, model, thinking={"type": "enabled", "budget_tokens": BUDGET, "display": "omitted"})
        assert reasoning_of(message) == "" and text_of(message) == ANSWER


@pytest.mark.refusals
def test_errors_become_the_exceptions_of_the_sdk(client):
    with pytest.raises(anthropic.NotFoundError) as refused:
        ask(client, "gpt-9")
    assert refused.value.body["type"] == "error" and refused.value.body["error"]["type"] == "not_found_error"
    for fields in ({"messages": []}, {"messages": [{"role": "wizard", "content": "x"}]}, {"thinking": {"type": "sometimes"}}):
        with pytest.raises(anthropic.BadRequestError) as refused:
            ask(client, "vllm", **fields)
        assert refused.value.body["error"]["type"] == "invalid_request_error"
    orphan = {"type": "tool_result", "tool_use_id": "nobody", "content": "x"}
    for model in UPSTREAMS:
        with pytest.raises(anthropic.BadRequestError):
            ask(client, model, messages=[{"role": "user", "content": [orphan]}])


def test_blocks_that_another_server_made_are_no_burden(client):
    """A thinking block without a signature came from a model that does not sign; the one that does must not see it."""
    first = ask(client, "vllm", tools=[MESSAGES_TOOL], **switch(True))
    [call] = [block for block in first.content if block.type == "tool_use"]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
    history = [*MESSAGES, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    for model in ("claude", "deepseek"):
        assert text_of(ask(client, model, messages=history, tools=[MESSAGES_TOOL], **switch(True))) == AFTER_TOOL + RESULT


def test_every_model_is_listed_in_this_shape(client):
    models = {model.id: model for model in client.models.list()}
    assert {"auto", *MODELS} <= set(models)
    assert models["vllm"].type == "model" and models["vllm"].display_name
    assert client.models.retrieve("vllm").id == "vllm"
