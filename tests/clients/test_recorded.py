"""Claude Code and Codex, replayed: what they really send, to models that would refuse most of it if it came through as it is."""

import copy
import json
from pathlib import Path

import httpx
import pytest
import wire
from conftest import UPSTREAMS
from fakes.anthropic import sign
from fakes.reply import AFTER_TOOL, REASONING, SHELLS

RECORDED = {path.stem: json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "recorded").glob("*.json"))}
CLAUDE = [name for name in RECORDED if name.startswith("claude")]
CODEX = [name for name in RECORDED if name.startswith("codex")]


def modes(name):
    """What was asked for; an adaptive client leaves it to whoever answers, and so to the router."""
    if "adaptive" in name:
        return ("on", "off")
    return ("off",) if "-off" in name else ("on",)


def shows(name):
    """Claude Code asks that thinking be kept from it; Codex asks for a summary."""
    return modes(name) == ("on",) and name in CODEX


def replay(gateway, name, model, change=lambda body: None):
    recorded = RECORDED[name]
    body = copy.deepcopy(recorded["body"]) | {"model": model}
    change(body)
    response = httpx.post(gateway + recorded["path"], headers=recorded["headers"], json=body, timeout=60)
    return response, (wire.messages if name in CLAUDE else wire.responses)


def signed(body):
    """As the server in question would have signed it, had it made the recorded thinking itself."""
    for message in body.get("messages", []):
        for block in message["content"] if isinstance(message["content"], list) else []:
            if block["type"] == "thinking":
                block["signature"] = sign(block["thinking"])


@pytest.mark.parametrize("model", UPSTREAMS)
@pytest.mark.parametrize("name", RECORDED)
def test_it_is_served(mixed, fakes, name, model):
    response, read = replay(mixed, name, model, signed)
    heard = read(response)
    assert response.headers["x-thinkgate-model"] == model
    assert response.headers["x-thinkgate-thinking"] in modes(name)
    assert "<think>" not in heard.text + heard.reasoning
    if (name, model) == ("codex-medium-loop", "claude"):
        # It was another server that thought, and this one goes on thinking only with a thought that it signed itself.
        assert "off_for_history" in response.headers["x-thinkgate-applied"] and not heard.reasoning
    else:
        assert heard.reasoning == (REASONING if shows(name) else "")
    assert heard.usage["output_tokens"] > 0
    if name.endswith("schema-loop"):
        assert set(json.loads(heard.text)) == {"files"} and not heard.calls
    elif name.endswith("-loop"):
        assert heard.text.startswith(AFTER_TOOL) and "a.py" in heard.text and not heard.calls
        assert heard.reason in ("end_turn", "completed")
    else:
        [(called, arguments)] = heard.calls
        assert arguments == SHELLS[called]
        assert heard.reason in ("tool_use", "completed")
    sent = fakes[model].last.body
    assert not {"client_metadata", "context_management", "store", "include"} & set(sent) or model == "claude"
    names = [tool.get("name") or tool["function"]["name"] for tool in sent["tools"]]
    functions = [tool["name"] for tool in RECORDED[name]["body"]["tools"] if tool.get("type", "function") == "function"]
    assert [each for each in names if each in functions] == functions, "every function it has is offered"


@pytest.mark.parametrize("name", [name for name in CLAUDE if modes(name) == ("on",)])
def test_hidden_thinking_is_signed_where_the_server_signs(mixed, name):
    response, read = replay(mixed, name, "claude", signed)
    heard = read(response)
    assert heard.signed and not heard.reasoning


@pytest.mark.parametrize("model", ["pico-dense", "pico-moe"])
@pytest.mark.parametrize("name", [name for name in RECORDED if not name.endswith("-loop")])
def test_a_model_without_tools_says_so_in_the_clients_format(mixed, name, model):
    response, _ = replay(mixed, name, model)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error" and error["message"]
    assert (response.json().get("type") == "error") == (name in CLAUDE)


@pytest.mark.parametrize("model", ["pico-dense", "pico-moe"])
@pytest.mark.parametrize("name", [name for name in RECORDED if not name.endswith("-loop") and "schema" not in name])
def test_the_embedded_models_answer_the_rest_of_it(mixed, name, model):
    """Everything but the tools: roles, blocks, marks for caches, limits that no small model has."""
    response, read = replay(mixed, name, model, lambda body: [body.pop(field, None) for field in ("tools", "tool_choice")])
    heard = read(response)
    assert heard.text or heard.reason in ("max_tokens", "incomplete")
    assert "<think>" not in heard.text + heard.reasoning
    # So far from what it was taught, a small model may not think although it is asked to.
    assert shows(name) or not heard.reasoning
    assert response.headers["x-thinkgate-thinking"] in modes(name)


@pytest.mark.parametrize("name", RECORDED)
def test_the_router_takes_it_too(mixed, name):
    """With `auto` a model that takes tools is found, and the rest is as before."""
    response, read = replay(mixed, name, "auto")
    heard = read(response)
    assert response.headers["x-thinkgate-model"] not in ("pico-dense", "pico-moe")
    assert heard.calls or heard.text
    assert "<think>" not in heard.text + heard.reasoning


@pytest.mark.parametrize("name", RECORDED)
def test_it_can_be_decided_about(mixed, name):
    decision = httpx.post(f"{mixed}/v1/decision", json=RECORDED[name]["body"] | {"model": "auto"}).json()
    assert decision["thinking"]["mode"] in modes(name)
    assert "adaptive" in name or decision["thinking"]["source"] == "field"


@pytest.mark.parametrize("name", [name for name in CLAUDE if not name.endswith("-loop")])
def test_tokens_are_counted_before_it_is_sent(mixed, name):
    body = {field: RECORDED[name]["body"][field] for field in ("messages", "system", "tools")}
    counted = httpx.post(f"{mixed}/v1/messages/count_tokens?beta=true", json=body | {"model": "claude"}, headers=RECORDED[name]["headers"])
    assert counted.json()["input_tokens"] > 100
