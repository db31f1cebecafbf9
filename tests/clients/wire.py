"""Reads streams as strictly as the agents' own parsers do, which are less forgiving than an SDK's accumulator."""

import json
from dataclasses import dataclass, field


@dataclass
class Heard:
    text: str = ""
    reasoning: str = ""
    signed: bool = False
    calls: list = field(default_factory=list)
    reason: str | None = None
    usage: dict | None = None
    final: dict | None = None


def events_of(response):
    """Every event of a stream; its name and the type inside agree."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("\n\n"), "the last event is complete"
    for part in response.text.replace("\r\n", "\n").split("\n\n"):
        lines = [line for line in part.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        fields = dict(line.split(": ", 1) for line in lines)
        event = json.loads(fields["data"])
        assert fields["event"] == event["type"]
        yield event


def messages(response):
    heard, blocks, open_block, finished = Heard(), [], None, False
    for event in events_of(response):
        kind = event["type"]
        assert not finished and kind != "error", event
        if kind == "message_start":
            assert not blocks and heard.usage is None and event["message"]["content"] == []
            heard.usage = event["message"]["usage"]
        elif kind == "content_block_start":
            assert open_block is None and event["index"] == len(blocks)
            open_block = event["index"]
            blocks.append(event["content_block"] | {"json": ""})
        elif kind == "content_block_delta":
            assert event["index"] == open_block
            add(blocks[open_block], event["delta"])
        elif kind == "content_block_stop":
            assert event["index"] == open_block
            open_block = None
        elif kind == "message_delta":
            assert open_block is None
            heard.reason, heard.usage = event["delta"]["stop_reason"], heard.usage | event["usage"]
        elif kind == "message_stop":
            finished = True
        else:
            assert kind == "ping", kind
    assert finished, "cut off"
    kinds = [block["type"] for block in blocks]
    assert "thinking" not in kinds[1:], "reasoning comes first"
    heard.text = "".join(block["text"] for block in blocks if block["type"] == "text")
    heard.reasoning = "".join(block["thinking"] for block in blocks if block["type"] == "thinking")
    heard.signed = any(block.get("signature") for block in blocks)
    heard.calls = [(block["name"], json.loads(block["json"])) for block in blocks if block["type"] == "tool_use"]
    return heard


def add(block, delta):
    """A delta fits its block, and strings are only ever added to strings."""
    place = {"text_delta": ("text", "text"), "thinking_delta": ("thinking", "thinking"), "signature_delta": ("thinking", "signature"),
             "input_json_delta": ("tool_use", "json")}  # fmt: skip
    kind, name = place[delta["type"]]
    assert block["type"] == kind
    block[name] += delta[{"json": "partial_json"}.get(name, name)]


def responses(response):
    heard, items = Heard(), {}
    for at, event in enumerate(events_of(response)):
        kind = event["type"]
        assert event["sequence_number"] == at and heard.final is None, event
        if kind == "response.output_item.added":
            assert event["output_index"] == len(items) and all(item == "done" for item in items.values())
            items[event["output_index"]] = "open"
        elif kind == "response.output_item.done":
            assert items[event["output_index"]] == "open"
            items[event["output_index"]] = "done"
            take(heard, event["item"])
        elif kind in ("response.completed", "response.incomplete"):
            heard.final, heard.reason, heard.usage = event["response"], event["response"]["status"], event["response"]["usage"]
        else:
            assert kind.startswith("response.") and kind != "response.failed", event
    assert heard.final, "cut off"
    assert [item["type"] for item in heard.final["output"]].count("reasoning") <= 1
    assert len(heard.final["output"]) == len(items)
    return heard


def take(heard, item):
    if item["type"] == "message":
        heard.text += "".join(part["text"] for part in item["content"])
    elif item["type"] == "reasoning":
        heard.reasoning += "".join(part["text"] for part in [*item["summary"], *(item.get("content") or [])])
    else:
        assert item["type"] == "function_call" and item["call_id"], item
        heard.calls.append((item["name"], json.loads(item["arguments"])))
