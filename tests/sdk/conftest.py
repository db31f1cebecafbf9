"""Starts the real binary on a free port, with its embedded models, for every test here."""

import os
import socket
import subprocess
import time
import urllib.request

import pytest


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(url, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the gateway ended with {process.returncode}"
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the gateway did not get ready")


@pytest.fixture(scope="session")
def gateway():
    binary = os.environ.get("THINKGATE_BIN", "target/debug/thinkgate")
    url = f"http://127.0.0.1:{free_port()}"
    listen = url.removeprefix("http://")
    process = subprocess.Popen([binary, "serve", "--listen", listen], stdout=subprocess.DEVNULL)
    try:
        wait_until_ready(url, process)
        yield url
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0
