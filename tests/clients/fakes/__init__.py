"""Model servers that behave like the real ones on the wire and are strict where those are.

Each keeps what it was asked (`requests`), so that a test can look at what left the gateway, and answers from the request alone,
so that a test knows what must come back. `strict=False` is the same server in a careless mood: it takes whatever it is sent.
"""

from .anthropic import AnthropicFake
from .deepseek import DeepSeekFake
from .vllm import VllmFake

__all__ = ["AnthropicFake", "DeepSeekFake", "VllmFake"]
