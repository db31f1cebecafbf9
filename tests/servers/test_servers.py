"""Through Thinkgate to real model servers: what they answer, whether the switch has an effect, and what happens when they die."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest
from asked import CHAT_TOOL, MESSAGES_TOOL, RESPONSES_TOOL, Sum, check
from conftest import Servers, smollm2
from process import BINARY, Gateway

THINKING = ["llama-cpp", "llama-cpp-inline", "mlx-lm"]
EVERY = [*THINKING, "smollm2"]
QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]

streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
on_and_off = pytest.mark.parametrize("thinking", [True, False], ids=["on", "off"])


@pytest.fixture
def client(gateway):
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0, timeout=120) as client:
        yield client


def switch(thinking):
    return {"reasoning_effort": "high" if thinking else "none"}


def ask(client, model, stream=False, **fields):
    fields = {"model": model, "messages": QUESTION, "max_tokens": 200, "temperature": 0} | fields
    if not stream:
        return client.chat.completions.create(**fields)
    with client.chat.completions.stream(**fields, stream_options={"include_usage": True}) as events:
        return events.until_done().get_final_completion()


def reasoning_of(message):
    return (message.model_extra or {}).get("reasoning_content") or ""


@pytest.mark.parametrize("model", THINKING)
@streamed
def test_the_switch_has_an_effect(client, model, stream):
    on, off = (ask(client, model, stream, **switch(thinking)) for thinking in (True, False))
    for completion, thinking in ((on, True), (off, False)):
        message = completion.choices[0].message
        check(message.content, reasoning_of(message), thinking)
        assert completion.choices[0].finish_reason == "stop"
        usage = completion.usage
        assert usage.prompt_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert on.choices[0].message.content.strip() == "42", "this much it can do when it thinks"
    assert on.usage.completion_tokens > 2 * off.usage.completion_tokens


@streamed
def test_a_model_that_does_not_think(client, stream):
    for thinking in (True, False):
        message = ask(client, "smollm2", stream, max_tokens=40, **switch(thinking)).choices[0].message
        check(message.content, reasoning_of(message), False)


@pytest.mark.parametrize("model", EVERY)
@streamed
def test_a_stop_sequence_and_a_limit(client, model, stream):
    choice = ask(client, model, stream, stop=["2"], **switch(False)).choices[0]
    assert choice.finish_reason == "stop" and "2" not in (choice.message.content or "")
    if not stream:
        choice = ask(client, model, max_tokens=1, **switch(False)).choices[0]
        assert choice.finish_reason == "length"


@pytest.mark.parametrize("model", THINKING)
def test_cut_off_while_thinking(client, model):
    choice = ask(client, model, max_tokens=6, **switch(True)).choices[0]
    assert choice.finish_reason == "length"
    assert "think>" not in (choice.message.content or "")


def asks_for_the_weather(city, days):
    return {"role": "user", "content": f"The weather in {city} for {days} days."}


def shown(at, city, days):
    """How it is done, for a model that learns from examples."""
    call = {"id": f"call_{at}", "type": "function", "function": {"name": "forecast", "arguments": json.dumps({"city": city, "days": days})}}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "rain"}
    return [asks_for_the_weather(city, days), {"role": "assistant", "content": None, "tool_calls": [call]}, result, {"role": "assistant", "content": "Rain."}]


EXAMPLES = [*shown(1, "Paris", 1), *shown(2, "Lima", 2), *shown(3, "Paris", 2), *shown(4, "Lima", 1)]


@streamed
def test_a_tool_loop(client, stream):
    """Nothing forces the call: the model makes it, and the server tells it from text."""
    history = [*EXAMPLES, asks_for_the_weather("Lima", 2)]
    [choice] = ask(client, "smollm2", stream, messages=history, tools=[CHAT_TOOL]).choices
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls
    assert call.function.name == "forecast" and json.loads(call.function.arguments) == {"city": "Lima", "days": 2}
    history += [choice.message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    assert ask(client, "smollm2", stream, messages=history, tools=[CHAT_TOOL]).choices[0].message.content == "Rain."


@pytest.mark.parametrize("model", ["llama-cpp", "smollm2"])
@on_and_off
def test_a_parsed_answer(client, model, thinking):
    completion = client.chat.completions.parse(
        model=model, messages=QUESTION, max_tokens=300, temperature=0, response_format=Sum, **switch(thinking)
    )
    assert isinstance(completion.choices[0].message.parsed.sum, int)


@pytest.mark.parametrize("model", THINKING)
@on_and_off
@streamed
def test_the_responses_api(client, model, thinking, stream):
    fields = {"model": model, "input": "What is 17 + 25?", "max_output_tokens": 200}
    fields["reasoning"] = {"effort": "high", "summary": "auto"} if thinking else {"effort": "none"}
    if stream:
        with client.responses.stream(**fields) as events:
            response = events.until_done().get_final_response()
    else:
        response = client.responses.create(**fields)
    check(response.output_text, "x" if any(item.type == "reasoning" for item in response.output) else "", thinking)
    assert response.usage.output_tokens > 0


@pytest.mark.parametrize("model", THINKING)
@on_and_off
@streamed
def test_the_messages_api(gateway, model, thinking, stream):
    fields = {"model": model, "messages": QUESTION, "max_tokens": 1500}
    fields["thinking"] = {"type": "enabled", "budget_tokens": 1024} if thinking else {"type": "disabled"}
    with anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0) as client:
        if stream:
            with client.messages.stream(**fields) as events:
                message = events.get_final_message()
        else:
            message = client.messages.create(**fields)
    texts = {kind: "".join(getattr(block, kind) for block in message.content if block.type == kind) for kind in ("thinking", "text")}
    check(texts["text"], texts["thinking"], thinking)
    assert message.usage.output_tokens > 0


def test_tools_in_the_other_apis(client, gateway):
    """The same examples, told in each API's own words."""
    told = []
    for message in [*EXAMPLES, asks_for_the_weather("Lima", 2)]:
        match message:
            case {"tool_calls": [call]}:
                told.append({"type": "function_call", "call_id": call["id"]} | call["function"])
            case {"role": "tool"}:
                told.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": message["content"]})
            case _:
                told.append(message)
    response = client.responses.create(model="smollm2", input=told, tools=[RESPONSES_TOOL], temperature=0, max_output_tokens=200)
    [call] = [item for item in response.output if item.type == "function_call"]
    assert json.loads(call.arguments) == {"city": "Lima", "days": 2}

    told = []
    for message in [*EXAMPLES, asks_for_the_weather("Lima", 2)]:
        match message:
            case {"tool_calls": [call]}:
                block = {"type": "tool_use", "id": call["id"], "name": "forecast", "input": json.loads(call["function"]["arguments"])}
                told.append({"role": "assistant", "content": [block]})
            case {"role": "tool"}:
                block = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": message["content"]}
                told.append({"role": "user", "content": [block]})
            case _:
                told.append(message)
    with anthropic.Anthropic(base_url=gateway.url, api_key="unused", max_retries=0) as other:
        fields = {"tools": [MESSAGES_TOOL], "extra_body": {"temperature": 0}}
        message = other.messages.create(model="smollm2", messages=told, max_tokens=200, **fields)
    [call] = [block for block in message.content if block.type == "tool_use"]
    assert call.input == {"city": "Lima", "days": 2}


def test_many_at_once(client):
    def one(index):
        model, thinking = THINKING[index % 3], index % 2 == 0
        message = ask(client, model, index % 4 < 2, **switch(thinking)).choices[0].message
        check(message.content, reasoning_of(message), thinking)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(24)))


def test_a_model_id_that_the_server_does_not_have(client):
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client, "astray")
    assert refused.value.status_code in (404, 502)
    assert refused.value.body["message"]
    assert ask(client, "mlx-lm", **switch(False)).choices[0].message.content, "its neighbour still answers"


def test_a_server_killed_in_mid_stream(folder):
    with Servers(folder) as start:
        doomed = start.llama_cpp("doomed", smollm2(), thinking="never")
        config = folder / "doomed.toml"
        config.write_text(doomed.config())
        with Gateway(config) as gateway, openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="unused", max_retries=0) as client:
            story = [{"role": "user", "content": "Tell a long story about a fox, a river and a mill."}]
            fields = {"model": "doomed", "messages": story, "stream": True, "extra_body": {"ignore_eos": True}}
            chunks = iter(client.chat.completions.create(**fields))
            for _ in range(4):
                next(chunks)
            doomed.process.kill()
            finishes = []
            with pytest.raises(openai.APIError) as broken:
                for chunk in chunks:
                    finishes += [choice.finish_reason for choice in chunk.choices if choice.finish_reason]
            assert not finishes, "what was cut off is never called finished"
            assert broken.value.code == "upstream_disconnected"
            with pytest.raises(openai.APIStatusError) as gone:
                client.chat.completions.create(model="doomed", messages=story)
            assert gone.value.status_code in (502, 503)


def test_the_probe_finds_what_is_true(servers, astray, folder):
    config = folder / "probed.toml"
    config.write_text("".join(server.config() for server in (*(servers[name] for name in THINKING), astray)))
    command = [BINARY, "models", "--probe", "--json", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = {probe["model"]: probe for probe in json.loads(done.stdout)["probes"]}
    assert {model: found[model]["switch"] for model in THINKING} == dict.fromkeys(THINKING, "obeyed")
    fields = {"llama-cpp": "reasoning_content", "llama-cpp-inline": "<think> in content", "mlx-lm": "reasoning"}
    assert {model: found[model]["reasoning_in"] for model in THINKING} == fields
    assert "404" in json.dumps(found["astray"]), "what the server said of the model it does not have"
