"""LangChain's two packages and LiteLLM as a client: tools, structured output, errors."""

import anthropic
import openai
import pytest
from asked import BUDGET, CHAT_TOOL, MESSAGES, MOST, RESULT, Sum, check_arguments
from conftest import UPSTREAMS
from fakes.reply import AFTER_TOOL
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from offline import litellm

on_and_off = pytest.mark.parametrize("thinking", [True, False], ids=["on", "off"])


@tool
def forecast(city: str, days: int) -> str:
    """The weather of a city."""
    return RESULT


def chat_of(kind, gateway, model, thinking):
    common = {"model": model, "api_key": "unused", "max_retries": 0, "max_tokens": MOST}
    if kind == "anthropic":
        switch = {"type": "enabled", "budget_tokens": BUDGET} if thinking else {"type": "disabled"}
        return ChatAnthropic(base_url=gateway, thinking=switch, **common)
    effort = "high" if thinking else "none"
    if kind == "responses":
        return ChatOpenAI(base_url=f"{gateway}/v1", reasoning={"effort": effort, "summary": "auto"}, use_responses_api=True, **common)
    return ChatOpenAI(base_url=f"{gateway}/v1", reasoning_effort=effort, **common)


KINDS = pytest.mark.parametrize("kind", ["chat", "responses", "anthropic"])


@KINDS
@pytest.mark.parametrize("model", UPSTREAMS)
@on_and_off
def test_a_tool_loop(mixed, fakes, kind, model, thinking):
    chat = chat_of(kind, mixed, model, thinking).bind_tools([forecast])
    history = [HumanMessage(MESSAGES[0]["content"])]
    first = chat.invoke(history)
    [call] = first.tool_calls
    check_arguments(call["args"])
    history += [first, ToolMessage(forecast.invoke(call["args"]), tool_call_id=call["id"])]
    assert chat.invoke(history).text == AFTER_TOOL + RESULT
    if (kind, model, thinking) == ("chat", "claude", True):
        # This client drops what it does not know, and a loop without its thought is not thought about further.
        assert fakes[model].last.body["thinking"] == {"type": "disabled"}


@KINDS
@pytest.mark.parametrize("model", UPSTREAMS)
def test_structured_output(mixed, kind, model):
    chat = chat_of(kind, mixed, model, thinking=False).with_structured_output(Sum, method="function_calling")
    assert isinstance(chat.invoke("What is 6 + 7?").sum, int)


def test_errors_are_the_sdks_own(mixed):
    with pytest.raises(openai.NotFoundError):
        chat_of("chat", mixed, "gpt-9", thinking=False).invoke("hi")
    with pytest.raises(anthropic.NotFoundError):
        chat_of("anthropic", mixed, "claude-9", thinking=False).invoke("hi")


@pytest.mark.parametrize("model", UPSTREAMS)
@on_and_off
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_tool_loop_of_litellm(mixed, provider, model, thinking):
    base = {"openai": f"{mixed}/v1", "anthropic": mixed}[provider]
    switch = {"reasoning_effort": "high" if thinking else "none", "allowed_openai_params": ["reasoning_effort"]}
    if provider == "anthropic":
        budget = {"type": "enabled", "budget_tokens": BUDGET} if thinking else {"type": "disabled"}
        switch = {"thinking": budget, "allowed_openai_params": ["thinking"]}
    fields = {"model": f"{provider}/{model}", "api_base": base, "api_key": "unused", "max_tokens": MOST, "tools": [CHAT_TOOL], **switch}
    first = litellm.completion(messages=MESSAGES, **fields).choices[0]
    assert first.finish_reason == "tool_calls"
    [call] = first.message.tool_calls
    history = [*MESSAGES, first.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    assert litellm.completion(messages=history, **fields).choices[0].message.content == AFTER_TOOL + RESULT


def test_errors_through_litellm(mixed):
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(model="openai/gpt-9", messages=MESSAGES, api_base=f"{mixed}/v1", api_key="unused")
