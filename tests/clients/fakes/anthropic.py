"""Anthropic's Messages API, of a model of the 4.5 generation: thinking by a budget, signed thinking blocks, no unknown field."""

import hashlib
import json
from dataclasses import dataclass

from .reply import REASONING, count, decide, text_of
from .server import Fake, Refused

FIELDS = {
    "model", "messages", "max_tokens", "system", "metadata", "stop_sequences", "stream", "temperature", "top_k", "top_p", "thinking",
    "tools", "tool_choice", "service_tier", "container", "context_management", "output_config", "mcp_servers",
}  # fmt: skip
VERSIONS = ("2023-06-01", "2026-10-21")
TYPES = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error"}


def sign(thinking):
    return "sig-" + hashlib.sha256(thinking.encode()).hexdigest()


@dataclass
class AnthropicFake(Fake):
    model_id = "claude-sonnet-4-5"

    def answer(self, request):
        body, headers = request.body, request.headers
        # Its own SDK sends the key as a bearer token, others in a header of its own.
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        self.check(key == "fake-key", "invalid x-api-key", 401)
        self.check(headers.get("anthropic-version") in VERSIONS, "anthropic-version: header is required")
        if request.path == "/messages/count_tokens":
            return {"input_tokens": count(body["messages"])}
        if not request.path == "/messages":
            raise Refused(404, "Not Found")
        self.check(body.get("model") == self.model_id, f"model: {body.get('model')}", 404)
        self.check_body(body)
        self.check_thinking(body)
        self.check_messages(body)
        reply = decide(
            thinking=thinks(body),
            tools=tools_of(body),
            forced=(body.get("tool_choice") or {}).get("name") or (body.get("tool_choice") or {}).get("type") == "any",
            answered=newest_result(body["messages"]),
            schema=((body.get("output_config") or {}).get("format") or {}).get("schema"),
            stop=body.get("stop_sequences") or (),
            most=body["max_tokens"],
        )
        omitted = (body.get("thinking") or {}).get("display") == "omitted"
        blocks, closing = blocks_of(reply, omitted), self.closing(body, reply)
        if body.get("stream"):
            return self.stream(body, blocks, closing)
        return self.message(body) | {"content": blocks} | closing

    def check_body(self, body):
        unknown = set(body) - FIELDS
        self.check(not unknown, f"{', '.join(sorted(unknown))}: Extra inputs are not permitted")
        self.check(type(body.get("max_tokens")) is int and body["max_tokens"] >= 1, "max_tokens: Field required")
        self.check(0 <= (body.get("temperature") or 0) <= 1, "temperature: range: 0..1")
        self.check(isinstance(body.get("system", ""), str) or body["system"], "system: at least one block is needed")
        for tool in body.get("tools") or ():
            extra = set(tool) - {"name", "description", "input_schema", "cache_control", "type", "strict"}
            self.check(not extra, f"tools: {sorted(extra)}: Extra inputs are not permitted")
            self.check(tool.get("input_schema", {}).get("type") == "object", "tools.input_schema.type: Field required")
        choice = body.get("tool_choice")
        kinds = ("auto", "any", "tool", "none")
        self.check(choice is None or isinstance(choice, dict) and choice.get("type") in kinds, "tool_choice: invalid")
        self.check(choice is None or bool(body.get("tools")), "tool_choice may only be specified while providing tools")

    def check_thinking(self, body):
        thinking = body.get("thinking")
        self.check(thinking is None or thinking.get("type") in ("enabled", "disabled"), "thinking: adaptive is not supported on this model")
        self.check("effort" not in (body.get("output_config") or {}), "output_config.effort: not supported on this model")
        if not thinks(body):
            return self.check(set(thinking or ()) <= {"type"}, "thinking: Extra inputs are not permitted")
        extra = set(thinking) - {"type", "budget_tokens", "display"}
        self.check(not extra, f"thinking: {sorted(extra)}: Extra inputs are not permitted")
        budget = thinking.get("budget_tokens")
        self.check(type(budget) is int and budget >= 1024, "thinking.budget_tokens: Input should be at least 1024")
        self.check(budget < body["max_tokens"], "`max_tokens` must be greater than `thinking.budget_tokens`")
        self.check(body.get("temperature", 1) == 1, "`temperature` may only be set to 1 when thinking is enabled")
        self.check("top_k" not in body, "`top_k` must be unset when thinking is enabled")
        self.check(body.get("top_p", 1) >= 0.95, "`top_p` must be at least 0.95 when thinking is enabled")
        forces = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
        self.check(not forces, "Thinking may not be enabled when tool_choice forces tool use.")
        self.check(body["messages"][-1]["role"] == "user", "This model does not support assistant message prefill with thinking.")

    def check_messages(self, body):
        messages = body.get("messages") or []
        self.check(messages and messages[0]["role"] == "user", "messages: first message must use the \"user\" role")
        calls = set()
        for at, message in enumerate(messages):
            where = f"messages.{at}"
            self.check(message["role"] in ("user", "assistant"), f"{where}.role: unknown role {message['role']}")
            self.check(set(message) == {"role", "content"}, f"{where}: Extra inputs are not permitted: {sorted(message)}")
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            self.check(blocks, f"{where}: content must not be empty")
            results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
            self.check(results == calls, f"{where}: `tool_use` ids {sorted(calls)} and `tool_result` ids {sorted(results)} differ")
            calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
            for block in blocks:
                self.check_block(where, message["role"], block)
        last = next((m["content"] for m in reversed(messages) if m["role"] == "assistant"), "")
        calling = isinstance(last, list) and any(block["type"] == "tool_use" for block in last)
        if thinks(body) and calling and newest_result(messages) is not None:
            kinds = ("thinking", "redacted_thinking")
            self.check(last[0]["type"] in kinds, f"Expected `thinking` or `redacted_thinking`, but found `{last[0]['type']}`.")

    def check_block(self, where, role, block):
        kind = block["type"]
        if kind == "text":
            self.check(block["text"].strip(), f"{where}: text content blocks must contain non-whitespace text")
            self.check("<think>" not in block["text"], f"{where}: reasoning stands in the content")
        elif kind == "thinking":
            self.check(role == "assistant", f"{where}: thinking of a user")
            whole = block["thinking"] or REASONING  # what was kept from the client is known to the server by its signature
            self.check(block.get("signature") == sign(whole), f"{where}: Invalid `signature` in `thinking` block")
        else:
            known = ("tool_use", "tool_result", "redacted_thinking", "image", "document")
            self.check(kind in known, f"{where}: Input tag '{kind}' does not match any of the expected tags")

    def message(self, body):
        return {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": []}

    def closing(self, body, reply):
        output = len(reply.reasoning) + len(reply.answer) + (1 if reply.tool else 0)
        reason = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}[reply.reason]
        usage = {"input_tokens": count(body["messages"]), "output_tokens": output, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0}
        return {"stop_reason": reason, "stop_sequence": None, "usage": usage}

    def stream(self, body, blocks, closing):
        def event(kind, **fields):
            return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields, ensure_ascii=False)}\n\n"

        usage = closing.pop("usage")
        yield event("message_start", message=self.message(body) | {"stop_reason": None, "usage": usage | {"output_tokens": 1}})
        yield event("ping")
        for index, block in enumerate(blocks):
            empty, deltas = take_apart(block)
            yield event("content_block_start", index=index, content_block=empty)
            for delta in deltas:
                yield event("content_block_delta", index=index, delta=delta)
            yield event("content_block_stop", index=index)
        yield event("message_delta", delta=closing, usage={"output_tokens": usage["output_tokens"]})
        yield event("message_stop")

    def error(self, refused):
        kind = TYPES.get(refused.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": refused.message}, "request_id": "req_1"}


def thinks(body):
    return (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")


def tools_of(body):
    if (body.get("tool_choice") or {}).get("type") == "none":
        return []
    return [(tool["name"], tool["input_schema"]) for tool in body.get("tools") or () if "input_schema" in tool]


def newest_result(messages):
    content = messages[-1]["content"]
    results = [block for block in content if block["type"] == "tool_result"] if isinstance(content, list) else []
    return text_of(results[-1].get("content")) if results else None


def blocks_of(reply, omitted):
    blocks = []
    if reply.reasoning:
        thinking = "".join(reply.reasoning)
        blocks.append({"type": "thinking", "thinking": "" if omitted else thinking, "signature": sign(thinking)})
    if reply.answer:
        blocks.append({"type": "text", "text": "".join(reply.answer)})
    if reply.tool:
        name, arguments = reply.tool
        blocks.append({"type": "tool_use", "id": "toolu_0", "name": name, "input": json.loads(arguments)})
    return blocks


def take_apart(block):
    """The empty block that a stream starts with, and the deltas that fill it."""
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in cut(block["text"])]
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in cut(block["thinking"])]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, signed]
    arguments = json.dumps(block["input"])
    return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in cut(arguments)]


def cut(text):
    return [text[at : at + 7] for at in range(0, len(text), 7)]
