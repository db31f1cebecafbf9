"""A server of chat completions; what makes each kind particular is in its own file."""

import json

from .reply import count, decide, text_of
from .server import Fake

ROLES = {"system", "user", "assistant", "tool"}


class ChatFake(Fake):
    """`reasoning_field` is where reasoning is found; subclasses say when there is any."""

    reasoning_field = "reasoning_content"
    model_id = ""
    roles = ROLES

    def answer(self, request):
        body = request.body
        if request.path == "/models":
            return {"object": "list", "data": [{"id": self.model_id, "object": "model", "owned_by": "fake"}]}
        self.check(request.path == "/chat/completions", "Not Found", 404)
        self.check(body.get("model") == self.model_id, f"The model `{body.get('model')}` does not exist.", 404, "model_not_found")
        self.check_messages(body)
        self.check_body(body)
        reply = decide(
            thinking=self.thinks(body),
            tools=tools_of(body),
            forced=forced(body),
            answered=newest_result(body["messages"]),
            schema=self.schema(body),
            stop=stops(body),
            most=body.get("max_completion_tokens") or body.get("max_tokens"),
        )
        usage = self.usage(body, reply)
        return self.stream(body, reply, usage) if body.get("stream") else self.whole(reply, usage)

    def check_messages(self, body):
        self.check(body.get("messages"), "messages: at least one is needed")
        open_calls = set()
        for at, message in enumerate(body["messages"]):
            role, content = message.get("role"), message.get("content")
            self.check(role in self.roles, f"messages[{at}].role: unknown variant `{role}`", 422)
            self.check(content is None or isinstance(content, (str, list)), f"messages[{at}].content: invalid type", 422)
            self.check(content is not None or role == "assistant", f"messages[{at}]: missing field `content`", 422)
            self.check("<think>" not in text_of(content), f"messages[{at}]: reasoning stands in the content")
            if role == "tool":
                self.check(message.get("tool_call_id") in open_calls, f"messages[{at}]: no call with this tool_call_id")
                open_calls.discard(message.get("tool_call_id"))
            else:
                self.check(not open_calls, "An assistant message with 'tool_calls' must be followed by tool messages.")
                open_calls = {call["id"] for call in message.get("tool_calls") or ()}
        for tool in body.get("tools") or ():
            self.check(tool.get("type") == "function", f"tools: unknown variant `{tool.get('type')}`, expected `function`")
            self.check(tool.get("function", {}).get("name"), "tools: a function without a name")

    def check_body(self, body):
        """What this kind of server insists on."""

    def thinks(self, body):
        raise NotImplementedError

    def schema(self, body):
        form = body.get("response_format") or {}
        return {"json_object": {"type": "object"}, "json_schema": form.get("json_schema", {}).get("schema")}.get(form.get("type"))

    def usage(self, body, reply):
        prompt, thought = count(body["messages"]), len(reply.reasoning)
        completion = thought + len(reply.answer) + (1 if reply.tool else 0)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "completion_tokens_details": {"reasoning_tokens": thought},
        }

    def whole(self, reply, usage):
        message = {"role": "assistant", "content": "".join(reply.answer) or None}
        if reply.reasoning:
            message[self.reasoning_field] = "".join(reply.reasoning)
        if reply.tool:
            message["tool_calls"] = [call(*reply.tool)]
        choice = {"index": 0, "message": message, "finish_reason": reply.reason, "logprobs": None}
        return {"id": "cmpl-1", "object": "chat.completion", "created": 1, "model": self.model_id, "choices": [choice], "usage": usage}

    def stream(self, body, reply, usage):
        asked = (body.get("stream_options") or {}).get("include_usage")

        def event(delta, reason=None, **more):
            choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
            chunk = {"id": "cmpl-1", "object": "chat.completion.chunk", "created": 1, "model": self.model_id, "choices": [choice]}
            return f"data: {json.dumps(chunk | more, ensure_ascii=False)}\n\n"

        yield event({"role": "assistant", "content": ""})
        for piece in reply.reasoning:
            yield event({self.reasoning_field: piece})
        for piece in reply.answer:
            yield event({"content": piece})
        if reply.tool:
            whole = call(*reply.tool) | {"index": 0}
            arguments = whole["function"]["arguments"]
            yield event({"tool_calls": [whole | {"function": whole["function"] | {"arguments": ""}}]})
            for at in range(0, len(arguments), 5):
                yield event({"tool_calls": [{"index": 0, "function": {"arguments": arguments[at : at + 5]}}]})
        yield event({}, reply.reason)
        if asked:
            yield event({}, choices=[], usage=usage)
        yield "data: [DONE]\n\n"

    def error(self, refused):
        return {"error": {"message": refused.message, "type": "invalid_request_error", "param": None, "code": refused.code or refused.status}}


def call(name, arguments):
    return {"id": "call_0", "type": "function", "function": {"name": name, "arguments": arguments}}


def tools_of(body):
    if body.get("tool_choice") == "none":
        return []
    functions = [tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"]
    return [(function["name"], function.get("parameters") or {"type": "object"}) for function in functions]


def forced(body):
    choice = body.get("tool_choice")
    return choice["function"]["name"] if isinstance(choice, dict) else choice == "required"


def newest_result(messages):
    return text_of(messages[-1].get("content")) if messages[-1]["role"] == "tool" else None


def stops(body):
    stop = body.get("stop") or []
    return [stop] if isinstance(stop, str) else stop
