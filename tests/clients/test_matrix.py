"""Every client × API × server × on and off × whole and streamed: reasoning exactly when asked for, and never in the answer."""

import pytest
from asked import check
from conftest import BUILTIN, LAX, UPSTREAMS
from fakes.reply import ANSWER, REASONING
from ways import WAYS


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("thinking", [True, False], ids=["on", "off"])
@pytest.mark.parametrize("model", BUILTIN[:2] + UPSTREAMS + LAX)
@pytest.mark.parametrize("way", WAYS)
def test_reasoning_exactly_when_asked(mixed, way, model, thinking, stream):
    content, reasoning = WAYS[way](mixed, model, thinking, stream)
    check(content, reasoning, thinking)
    if not model.startswith("pico"):
        assert content == ANSWER
        assert reasoning is None or reasoning == (REASONING if thinking else "")
