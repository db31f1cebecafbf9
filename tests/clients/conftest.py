"""Real gateways for real clients: one as it comes, one in front of servers of three dialects."""

import json
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from fakes import AnthropicFake, DeepSeekFake, VllmFake
from process import Gateway

ROOT = Path(__file__).resolve().parents[2]
BUILTIN = ["pico-dense", "pico-moe", "pico-tools"]
UPSTREAMS = ["vllm", "deepseek", "claude"]
LAX = [f"{name}-lax" for name in UPSTREAMS]
MODELS = BUILTIN + UPSTREAMS

UPSTREAM = """
[[models]]
name = "{name}"
architecture = "dense"
total_params = "8.2B"
context_length = 200000
upstream = {{ url = "{url}", dialect = "{dialect}", model_id = "{model_id}", api_key_env = "FAKE_KEY" }}
"""
EMBEDDED = """
[[models]]
name = "{name}"
catalogue = "{name}"
"""


@pytest.fixture(scope="session")
def gateway():
    """Without a configuration: the embedded models."""
    with Gateway() as gateway:
        yield gateway.url


@pytest.fixture(scope="session")
def fakes():
    """By the name of the model that runs on each."""
    kinds = {"vllm": VllmFake, "deepseek": DeepSeekFake, "claude": AnthropicFake}
    with ExitStack() as stack:
        strict = {name: stack.enter_context(kind()) for name, kind in kinds.items()}
        lax = {f"{name}-lax": stack.enter_context(kind(strict=False)) for name, kind in kinds.items()}
        yield strict | lax


@pytest.fixture(scope="session")
def mixed(fakes, tmp_path_factory):
    """In front of every model of MODELS and LAX."""
    folder = tmp_path_factory.mktemp("mixed")
    dialects = {"vllm": "vllm", "deepseek": "deepseek", "claude": "anthropic"}
    parts = [EMBEDDED.format(name=name) for name in ("pico-dense", "pico-moe")]
    parts.append(f'[[models]]\nname = "pico-tools"\npath = "{pico_with_tools(folder)}"\n')
    for name, fake in fakes.items():
        dialect = dialects[name.removesuffix("-lax")]
        parts.append(UPSTREAM.format(name=name, url=fake.url, dialect=dialect, model_id=fake.model_id))
    config = folder / "thinkgate.toml"
    config.write_text("".join(parts))
    with Gateway(config, {**os.environ, "FAKE_KEY": "fake-key"}) as gateway:
        yield gateway.url


@pytest.fixture(autouse=True)
def nothing_refused(request):
    """A strict server refused nothing, unless the test says that it is about that."""
    if "mixed" not in request.fixturenames or request.node.get_closest_marker("refusals"):
        yield
        return
    fakes = request.getfixturevalue("fakes")
    seen = {name: len(fake.requests) for name, fake in fakes.items()}
    yield
    refused = {name: [r.refused for r in fake.requests[seen[name] :] if r.refused] for name, fake in fakes.items()}
    assert not any(refused.values()), refused


def pico_with_tools(folder):
    """The small embedded model's weights under a chat template that renders tools."""
    model = shutil.copytree(ROOT / "models/pico-dense", folder / "pico-tools")
    path = model / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    settings["chat_template"] = (Path(__file__).parent / "tools.jinja").read_text()
    path.write_text(json.dumps(settings))
    return model
