"""What a fake says: decided by the request alone, so that every client can be held to it."""

import json
import re
from dataclasses import dataclass

REASONING = "They ask for a product. Six times seven makes 42.\nSo 42 it is."
ANSWER = "It is 42, 四十二。"
AFTER_TOOL = "The tool said: "
# What an agent's shell tool is asked to run; of other tools the first is called, with what its schema allows.
SHELLS = {"Bash": {"command": "echo $((6 * 707))"}, "exec_command": {"cmd": "echo $((6 * 707))"}}


@dataclass
class Reply:
    """Reasoning and answer as pieces, since a token here is a word with the space before it."""

    reasoning: list
    answer: list
    tool: tuple | None
    reason: str  # stop, length or tool_calls


def pieces(text):
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)


def decide(*, thinking, tools, forced, answered, schema=None, stop=(), most=None):
    """`tools` are (name, schema) pairs, `forced` the name of one that must be called or True, `answered` the newest tool result."""
    reasoning = pieces(REASONING) if thinking else []
    if tools and (forced or answered is None):
        name, parameters = next((tool for tool in tools if tool[0] == forced or tool[0] in SHELLS), tools[0])
        return Reply(reasoning, [], (name, json.dumps(SHELLS.get(name) or instance(parameters))), "tool_calls")
    text = AFTER_TOOL + answered if answered is not None else ANSWER
    if schema is not None:
        text = json.dumps(instance(schema))
    reason = "stop"
    for mark in stop:
        text = text.split(mark)[0]
    answer = pieces(text)
    if most is not None and len(reasoning) + len(answer) > most:
        reason, reasoning, answer = "length", reasoning[:most], answer[: max(0, most - len(reasoning))]
    return Reply(reasoning, answer, None, reason)


def instance(schema):
    """The simplest value that a JSON schema allows."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: instance(properties[name]) for name in schema.get("required", properties)}
    if kind == "array":
        return [instance(schema.get("items", {}))]
    return {"string": "Paris", "integer": 42, "number": 42, "boolean": True, "null": None}[kind]


def count(messages):
    """A stand-in for a tokenizer: words of the text."""
    return max(1, len(re.findall(r"\S+", json.dumps(messages, ensure_ascii=False))))


def text_of(content):
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
