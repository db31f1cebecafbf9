"""The fakes are what they claim: the SDKs get along with them, and they refuse what the real ones refuse."""

import anthropic
import httpx
import openai
import pytest
from asked import BUDGET, CHAT_TOOL, MESSAGES, MESSAGES_TOOL, MOST, RESULT
from fakes.anthropic import sign
from fakes.reply import ANSWER, REASONING


def test_the_openai_client_reads_them(fakes):
    for name in ("vllm", "deepseek"):
        fake = fakes[name]
        with openai.OpenAI(base_url=fake.url, api_key="unused", max_retries=0) as client:
            with client.chat.completions.stream(model=fake.model_id, messages=MESSAGES) as events:
                message = events.until_done().get_final_completion().choices[0].message
            assert (message.content, message.model_extra[fake.reasoning_field]) == (ANSWER, REASONING)
            tool = client.chat.completions.create(model=fake.model_id, messages=MESSAGES, tools=[CHAT_TOOL]).choices[0]
            assert tool.finish_reason == "tool_calls"


def test_the_anthropic_client_reads_them(fakes):
    fake = fakes["claude"]
    with anthropic.Anthropic(base_url=fake.url.removesuffix("/v1"), api_key="fake-key", max_retries=0) as client:
        fields = {"model": fake.model_id, "max_tokens": MOST, "thinking": {"type": "enabled", "budget_tokens": BUDGET}}
        with client.messages.stream(messages=MESSAGES, tools=[MESSAGES_TOOL], **fields) as events:
            first = events.get_final_message()
        thought, call = first.content
        assert (thought.thinking, thought.signature) == (REASONING, sign(REASONING))
        result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": RESULT}]}
        history = [*MESSAGES, {"role": "assistant", "content": first.content}, result]
        assert client.messages.create(messages=history, tools=[MESSAGES_TOOL], **fields).stop_reason == "end_turn"
        unsigned = thought.model_copy(update={"signature": ""})
        forged = [*MESSAGES, {"role": "assistant", "content": [unsigned, call]}, result]
        for bad in ({"messages": forged}, {"temperature": 0.5}, {"vendor": 1}, {"thinking": {"type": "adaptive"}}):
            with pytest.raises(anthropic.BadRequestError):
                client.messages.create(messages=history, tools=[MESSAGES_TOOL], **fields, extra_body=bad)


CALLED = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
REFUSED = {
    "vllm": [
        {"reasoning_effort": "extreme"},
        {"thinking_token_budget": 100},
        {"chat_template_kwargs": {"enable_thinking": "false"}},
        {"thinking": {"type": "disabled"}},
        {"messages": [{"role": "assistant", "content": "<think>x</think>y"}]},
    ],
    "deepseek": [
        {"messages": [{"role": "developer", "content": "x"}]},
        {"messages": [*MESSAGES, CALLED, {"role": "tool", "tool_call_id": "1", "content": "x"}]},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"tools": [{"type": "web_search"}]},
    ],
}


@pytest.mark.parametrize(("name", "at"), [(name, at) for name, bodies in REFUSED.items() for at in range(len(bodies))])
def test_strict_ones_refuse_and_careless_ones_do_not(fakes, name, at):
    for fake, status in ((fakes[name], (400, 422)), (fakes[f"{name}-lax"], (200,))):
        body = {"model": fake.model_id, "messages": MESSAGES} | REFUSED[name][at]
        answer = httpx.post(f"{fake.url}/chat/completions", json=body)
        assert answer.status_code in status, answer.text
