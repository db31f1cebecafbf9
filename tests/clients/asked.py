"""What every client is asked to do, so that one assertion fits them all."""

from pydantic import BaseModel

QUESTION = "What is 6 times 7?"
MESSAGES = [{"role": "user", "content": QUESTION}]
# Above the smallest budget that Anthropic takes, and room for an answer beside it.
BUDGET, MOST = 1024, 2048

# Nothing to invent, so that even a very small model comes to the end of its call.
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Lima"]}, "days": {"type": "integer", "enum": [1, 2]}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
FUNCTION = {"name": "forecast", "description": "The weather of a city.", "parameters": PARAMETERS}
CHAT_TOOL = {"type": "function", "function": FUNCTION}
RESPONSES_TOOL = {"type": "function"} | FUNCTION
MESSAGES_TOOL = {"name": "forecast", "description": FUNCTION["description"], "input_schema": PARAMETERS}
RESULT = "sunny, 21 degrees"


class Sum(BaseModel):
    sum: int


def check_arguments(arguments):
    assert set(arguments) == {"city", "days"}
    assert isinstance(arguments["city"], str) and isinstance(arguments["days"], int)


def check(content, reasoning, thinking):
    """The promise of the whole matrix. A `reasoning` of None: this client does not show any, whatever it gets."""
    assert content, "an answer"
    assert "<think>" not in content and "</think>" not in content
    if reasoning is not None:
        assert bool(reasoning) == thinking, f"thinking={thinking}, but the reasoning is {reasoning!r}"
        assert "<think>" not in reasoning and "</think>" not in reasoning
