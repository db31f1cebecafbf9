"""The official OpenAI client and the Responses API, before models of every dialect."""

import json

import openai
import pytest
from asked import MESSAGES, MOST, QUESTION, RESPONSES_TOOL, RESULT, Sum, check, check_arguments
from conftest import LAX, MODELS, UPSTREAMS
from fakes.reply import AFTER_TOOL, ANSWER, REASONING

on_and_off = pytest.mark.parametrize("thinking", [True, False], ids=["on", "off"])
streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
def client(mixed):
    with openai.OpenAI(base_url=f"{mixed}/v1", api_key="unused", max_retries=0) as client:
        yield client


def ask(client, model, thinking, stream=False, **fields):
    reasoning = {"effort": "high", "summary": "auto"} if thinking else {"effort": "none"}
    fields = {"model": model, "input": QUESTION, "max_output_tokens": MOST, "reasoning": reasoning} | fields
    if not stream:
        return client.responses.create(**fields)
    with client.responses.stream(**fields) as events:
        for _ in events:
            pass
        return events.get_final_response()


def reasoning_of(response):
    parts = [part for item in response.output if item.type == "reasoning" for part in [*item.summary, *(item.content or [])]]
    return "".join(part.text for part in parts)


@pytest.mark.parametrize("model", MODELS + LAX)
@on_and_off
@streamed
def test_an_answer(client, model, thinking, stream):
    response = ask(client, model, thinking, stream)
    check(response.output_text, reasoning_of(response), thinking)
    assert response.status == "completed" and response.object == "response"
    kinds = [item.type for item in response.output]
    assert kinds == (["reasoning", "message"] if thinking else ["message"])
    usage = response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    if not model.startswith("pico"):
        assert response.output_text == ANSWER
        assert reasoning_of(response) == (REASONING if thinking else "")


@pytest.mark.parametrize("model", MODELS)
@on_and_off
def test_events_come_in_order(client, model, thinking):
    events = list(ask_raw(client, model, thinking))
    kinds = [event.type for event in events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed"
    items = [event.item.type for event in events if event.type == "response.output_item.added"]
    assert items == (["reasoning", "message"] if thinking else ["message"])
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done")
    deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    [done] = [event.text for event in events if event.type == "response.output_text.done"]
    assert deltas == done == events[-1].response.output_text
    assert any("reasoning" in kind and kind.endswith(".delta") for kind in kinds) == thinking


def ask_raw(client, model, thinking, **fields):
    reasoning = {"effort": "high" if thinking else "none", "summary": "auto"}
    fields = {"model": model, "input": QUESTION, "max_output_tokens": MOST, "reasoning": reasoning} | fields
    return client.responses.create(**fields, stream=True)


@pytest.mark.parametrize("model", ["pico-tools", *UPSTREAMS])
@on_and_off
@streamed
def test_a_tool_loop(client, model, thinking, stream):
    forced = {"tool_choice": "required"} if model == "pico-tools" else {}
    response = ask(client, model, thinking, stream, tools=[RESPONSES_TOOL], **forced)
    [call] = [item for item in response.output if item.type == "function_call"]
    assert call.name == "forecast"
    check_arguments(json.loads(call.arguments))
    # As the documentation does it: everything that came goes back, with the tool's output behind it.
    history = [*MESSAGES, *(item.to_dict() for item in response.output)]
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": RESULT})
    second = ask(client, model, thinking, stream, input=history, tools=[RESPONSES_TOOL])
    if model in UPSTREAMS:
        assert second.output_text == AFTER_TOOL + RESULT
    assert "<think>" not in second.output_text


@pytest.mark.parametrize("model", MODELS)
def test_a_parsed_answer(client, model):
    question = "What is 6 + 7, as json?"
    response = client.responses.parse(model=model, input=question, max_output_tokens=MOST, text_format=Sum, reasoning={"effort": "none"})
    assert isinstance(response.output_parsed.sum, int)


@pytest.mark.parametrize("model", ["vllm", "deepseek"])
@streamed
def test_an_answer_cut_off(client, model, stream):
    # A tool of the house that the upstream cannot run neither reaches it nor fails the request.
    fields = {"max_output_tokens": 16, "tools": [{"type": "web_search"}]}
    if stream:  # The SDK's accumulator waits for an event that no incomplete response has.
        last = list(ask_raw(client, model, True, **fields))[-1]
        assert last.type == "response.incomplete"
        response = last.response
    else:
        response = ask(client, model, True, **fields)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize("model", UPSTREAMS)
def test_instructions_come_first(client, fakes, model):
    ask(client, model, False, instructions="Answer briefly.", input=[{"role": "developer", "content": "In English."}, *MESSAGES])
    body = fakes[model].last.body
    system = body.get("system") or [message["content"] for message in body["messages"] if message["role"] in ("system", "developer")]
    text = json.dumps(system)
    assert 0 <= text.find("Answer briefly.") < text.find("In English.")


def test_reasoning_that_is_not_asked_to_be_shown_is_replayed(client, fakes):
    """Stateless use: what is needed for the next turn travels in the items themselves."""
    include = ["reasoning.encrypted_content"]
    response = ask(client, "claude", True, tools=[RESPONSES_TOOL], store=False, include=include)
    [call] = [item for item in response.output if item.type == "function_call"]
    history = [*MESSAGES, *(item.to_dict() for item in response.output)]
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": RESULT})
    second = ask(client, "claude", True, input=history, tools=[RESPONSES_TOOL], store=False, include=include)
    assert second.output_text == AFTER_TOOL + RESULT
    assert fakes["claude"].last.body["messages"][1]["content"][0]["type"] == "thinking"


def test_bad_requests_name_the_field(client):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, "vllm", False, input=[{"type": "message", "role": "wizard", "content": "x"}])
    assert "role" in refused.value.param
    with pytest.raises(openai.NotFoundError):
        ask(client, "gpt-9", False)
