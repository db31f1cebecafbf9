"""Every way in which a Python client can ask: one function each, from (gateway, model, thinking, stream) to what the client shows.

They return the answer's text and the reasoning; None stands for a client that does not show reasoning, whatever it gets.
"""

import anthropic
import openai
from asked import BUDGET, MESSAGES, MOST, QUESTION
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from offline import litellm


def effort(thinking):
    return "high" if thinking else "none"


def budget(thinking):
    return {"type": "enabled", "budget_tokens": BUDGET} if thinking else {"type": "disabled"}


def openai_chat(gateway, model, thinking, stream):
    with openai.OpenAI(base_url=f"{gateway}/v1", api_key="unused", max_retries=0) as client:
        fields = {"model": model, "messages": MESSAGES, "max_tokens": MOST, "reasoning_effort": effort(thinking)}
        if not stream:
            parts = [client.chat.completions.create(**fields).choices[0].message]
        else:
            parts = [choice.delta for chunk in client.chat.completions.create(**fields, stream=True) for choice in chunk.choices]
    return joined(part.content for part in parts), joined((part.model_extra or {}).get("reasoning_content") for part in parts)


def openai_responses(gateway, model, thinking, stream):
    reasoning = {"effort": effort(thinking), "summary": "auto"}
    with openai.OpenAI(base_url=f"{gateway}/v1", api_key="unused", max_retries=0) as client:
        fields = {"model": model, "input": QUESTION, "max_output_tokens": MOST, "reasoning": reasoning}
        if stream:
            with client.responses.stream(**fields) as events:
                response = events.until_done().get_final_response()
        else:
            response = client.responses.create(**fields)
    thoughts = [part.text for item in response.output if item.type == "reasoning" for part in [*item.summary, *(item.content or [])]]
    return response.output_text, joined(thoughts)


def anthropic_messages(gateway, model, thinking, stream):
    with anthropic.Anthropic(base_url=gateway, api_key="unused", max_retries=0) as client:
        fields = {"model": model, "messages": MESSAGES, "max_tokens": MOST, "thinking": budget(thinking)}
        if stream:
            with client.messages.stream(**fields) as events:
                message = events.get_final_message()
        else:
            message = client.messages.create(**fields)
    blocks = message.content
    return joined(b.text for b in blocks if b.type == "text"), joined(b.thinking for b in blocks if b.type == "thinking")


def langchain(chat, stream):
    """LangChain's messages hold text and, in blocks of the standard kind, reasoning."""
    if not stream:
        message = chat.invoke(QUESTION)
    else:
        message = None
        for chunk in chat.stream(QUESTION):
            message = chunk if message is None else message + chunk
    thoughts = joined(block.get("reasoning") for block in message.content_blocks if block["type"] == "reasoning")
    return message.text, thoughts


def langchain_openai_chat(gateway, model, thinking, stream):
    fields = {"max_retries": 0, "max_tokens": MOST, "reasoning_effort": effort(thinking)}
    text, _ = langchain(ChatOpenAI(model=model, base_url=f"{gateway}/v1", api_key="unused", **fields), stream)
    return text, None  # by its own account it passes reasoning_content over


def langchain_openai_responses(gateway, model, thinking, stream):
    fields = {"max_retries": 0, "max_tokens": MOST, "reasoning": {"effort": effort(thinking), "summary": "auto"}}
    return langchain(ChatOpenAI(model=model, base_url=f"{gateway}/v1", api_key="unused", use_responses_api=True, **fields), stream)


def langchain_anthropic(gateway, model, thinking, stream):
    fields = {"max_retries": 0, "max_tokens": MOST, "thinking": budget(thinking)}
    return langchain(ChatAnthropic(model=model, base_url=gateway, api_key="unused", **fields), stream)


def litellm_chat(provider, base, gateway, model, stream, **fields):
    fields |= {"model": f"{provider}/{model}", "messages": MESSAGES, "max_tokens": MOST, "api_base": base, "api_key": "unused"}
    answer = litellm.completion(**fields, stream=stream, num_retries=0)
    parts = [choice.delta for chunk in answer for choice in chunk.choices] if stream else [answer.choices[0].message]
    return joined(part.content for part in parts), joined(getattr(part, "reasoning_content", None) for part in parts)


def litellm_openai(gateway, model, thinking, stream):
    switch = {"reasoning_effort": effort(thinking), "allowed_openai_params": ["reasoning_effort"]}
    return litellm_chat("openai", f"{gateway}/v1", gateway, model, stream, **switch)


def litellm_anthropic(gateway, model, thinking, stream):
    return litellm_chat("anthropic", gateway, gateway, model, stream, thinking=budget(thinking), allowed_openai_params=["thinking"])


def joined(parts):
    return "".join(part or "" for part in parts)


WAYS = {
    way.__name__: way
    for way in (
        openai_chat,
        openai_responses,
        anthropic_messages,
        langchain_openai_chat,
        langchain_openai_responses,
        langchain_anthropic,
        litellm_openai,
        litellm_anthropic,
    )
}
