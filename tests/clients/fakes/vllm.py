"""vLLM since 0.16: reasoning in `reasoning`, thinking switched by flags of the chat template. Unknown fields are let be; known
ones are checked by value. Started with a reasoning parser and, unless told otherwise, without a reasoning config."""

from dataclasses import dataclass

from .chat import ROLES, ChatFake

EFFORTS = {"none", "minimal", "low", "medium", "high", "xhigh", "max"}
# Words about thinking that vLLM does not know. It would ignore them; that they are sent at all is the fault looked for here.
FOREIGN = {"thinking", "enable_thinking", "think", "reasoning", "thinking_budget", "thinking_budget_tokens", "output_config"}


@dataclass
class VllmFake(ChatFake):
    reasoning_field = "reasoning"
    model_id = "Qwen/Qwen3-8B"
    roles = ROLES | {"developer"}
    reasoning_config: bool = False

    def check_body(self, body):
        effort = body.get("reasoning_effort")
        self.check(effort is None or effort in EFFORTS, f"reasoning_effort: Input should be one of {sorted(EFFORTS)}")
        kwargs = body.get("chat_template_kwargs", {})
        self.check(isinstance(kwargs, dict), "chat_template_kwargs: Input should be a valid dictionary")
        self.check(not {"chat_template", "tokenize"} & set(kwargs), "chat_template_kwargs: not allowed")
        for name in ("enable_thinking", "thinking"):
            self.check(isinstance(kwargs.get(name, True), bool), f"chat_template_kwargs.{name}: a boolean is needed")
        budget = body.get("thinking_token_budget")
        if budget is not None:
            self.check(type(budget) is int and budget >= -1, "thinking_token_budget: Input should be a valid integer")
            self.check(self.reasoning_config, "thinking_token_budget is set but reasoning_config is not configured")
        self.check(body.get("max_tokens") is None or body["max_tokens"] >= 1, "max_tokens must be at least 1")
        foreign = FOREIGN & set(body)
        self.check(not foreign, f"fields of other servers: {sorted(foreign)}")

    def thinks(self, body):
        kwargs = body.get("chat_template_kwargs", {})
        derived = body.get("reasoning_effort") != "none"
        return kwargs.get("enable_thinking", derived)
