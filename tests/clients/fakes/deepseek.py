"""DeepSeek's own service: thinking on unless switched off, reasoning in `reasoning_content`, and a rule about the history."""

import json
import re
from dataclasses import dataclass

from .chat import ChatFake, text_of

FOREIGN = {"enable_thinking", "think", "reasoning", "chat_template_kwargs", "thinking_budget", "thinking_token_budget", "output_config"}


@dataclass
class DeepSeekFake(ChatFake):
    model_id = "deepseek-v4-pro"

    def check_body(self, body):
        thinking = body.get("thinking")
        self.check(thinking is None or thinking.get("type") in ("enabled", "disabled"), "thinking.type: unknown variant", 422)
        self.check(thinking is None or set(thinking) == {"type"}, "thinking: unknown field", 422)
        efforts = ("minimal", "low", "medium", "high", "xhigh", "max")
        self.check(body.get("reasoning_effort", "high") in efforts, "reasoning_effort: unknown variant", 422)
        form = (body.get("response_format") or {}).get("type", "text")
        self.check(form in ("text", "json_object"), "This response_format type is unavailable now")
        self.check(
            form != "json_object" or "json" in str(body["messages"]).lower(),
            "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'.",
        )
        forces = body.get("tool_choice") not in (None, "auto", "none")
        self.check(not (forces and self.thinks(body)), "Thinking mode does not support this tool_choice")
        foreign = FOREIGN & set(body)
        self.check(not foreign, f"fields of other servers: {sorted(foreign)}")
        self.check_history(body)

    def check_history(self, body):
        """Behind a tool call, every assistant message brings its reasoning along."""
        called = any(message.get("tool_calls") for message in body["messages"])
        for message in body["messages"]:
            self.check(
                not (self.thinks(body) and called and message["role"] == "assistant") or message.get("reasoning_content") is not None,
                "The reasoning_content in the thinking mode must be passed back to the API.",
            )
            self.check("reasoning" not in message and "thinking_blocks" not in message, "messages: unknown field", 422)
            parts = message.get("content") if isinstance(message.get("content"), list) else []
            self.check(all(part.get("type") == "text" for part in parts), "messages: unknown variant `image_url`, expected `text`")
            self.check(not parts or text_of(parts), "messages: empty content")

    def schema(self, body):
        """Held to JSON only; what the JSON should look like, its model reads in the prompt."""
        told = "".join(text_of(message.get("content")) for message in body["messages"] if message["role"] == "system")
        wanted = super().schema(body)
        shown = re.search(r"JSON schema[^\n]*\n(\{.*\})", told)
        return json.loads(shown[1]) if wanted and shown else wanted

    def thinks(self, body):
        return (body.get("thinking") or {}).get("type") != "disabled"
