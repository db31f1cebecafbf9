"""Claude Code and Codex themselves, before the same gateway: `./test.sh agents`. They are large, so nothing else installs them."""

import os
import subprocess
from pathlib import Path

import pytest
from conftest import UPSTREAMS
from fakes.reply import AFTER_TOOL

AGENTS = os.environ.get("AGENTS", "")
pytestmark = pytest.mark.skipif(not AGENTS, reason="not installed")

CODEX = """
model_provider = "gate"
[model_providers.gate]
name = "gate"
base_url = "{gateway}/v1"
wire_api = "responses"
env_key = "GATE_KEY"
"""


def run(folder, command, **environment):
    """In an empty home, so that nothing of the user's is read, with nothing of the environment but the path."""
    (folder / "app").mkdir()
    environment |= {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(command, cwd=folder / "app", env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("model", UPSTREAMS)
@pytest.mark.parametrize("tokens", ["4096", "0", None], ids=["budget", "off", "adaptive"])
def test_claude_code(mixed, tmp_path, model, tokens):
    program = Path(AGENTS) / "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
    quiet = {"DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}
    if tokens:
        quiet["MAX_THINKING_TOKENS"] = tokens
    command = [program, "-p", "List the files here.", "--model", model, "--allowedTools", "Bash"]
    said = run(tmp_path, command, ANTHROPIC_BASE_URL=mixed, ANTHROPIC_API_KEY="unused", **quiet)
    assert AFTER_TOOL in said and "4242" in said
    assert "think>" not in said


@pytest.mark.parametrize("model", UPSTREAMS)
@pytest.mark.parametrize("effort", ["high", "none"])
def test_codex(mixed, tmp_path, model, effort):
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex/config.toml").write_text(CODEX.format(gateway=mixed))
    options = ["--skip-git-repo-check", "-m", model, "-c", f"model_reasoning_effort={effort}"]
    command = [Path(AGENTS) / "node_modules/.bin/codex", "exec", *options, "List the files here."]
    said = run(tmp_path, command, GATE_KEY="unused")
    assert AFTER_TOOL in said and "4242" in said
    assert "think>" not in said
