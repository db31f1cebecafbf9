"""The Node clients of node/, run by Node's own test runner before the same gateway."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import BUILTIN, UPSTREAMS
from fakes.reply import AFTER_TOOL, ANSWER, REASONING

HERE = Path(__file__).parent / "node"


@pytest.mark.parametrize("suite", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_node(mixed, suite):
    node = os.environ.get("NODE") or shutil.which("node")
    assert node and (HERE / "node_modules").is_dir(), "test.sh installs these"
    told = {"THINKGATE_URL": mixed, "MODELS": ",".join([*BUILTIN[:2], *UPSTREAMS]), "UPSTREAMS": ",".join(UPSTREAMS)}
    told |= {"ANSWER": ANSWER, "REASONING": REASONING, "AFTER_TOOL": AFTER_TOOL}
    command = [node, "--test", "--test-reporter=tap", suite]
    done = subprocess.run(command, cwd=HERE, env={**os.environ, **told}, capture_output=True, text=True, timeout=300)
    failed = [line for line in done.stdout.splitlines() if line.startswith("not ok")]
    assert done.returncode == 0, "\n".join([*failed, done.stdout[-8000:], done.stderr[-2000:]])
    assert "# pass 0" not in done.stdout
