"""The real binary, started on a free port and ended as an operator would end it."""

import os
import socket
import subprocess
import time
import urllib.request

BINARY = os.environ.get("THINKGATE_BIN", "target/debug/thinkgate")


class Gateway:
    def __init__(self, config=None, environment=None):
        self.url = f"http://127.0.0.1:{free_port()}"
        self.command = [BINARY, "serve", "--listen", self.url.removeprefix("http://")]
        if config:
            self.command += ["--config", str(config)]
        self.environment = environment

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, env=self.environment)
        wait_until_ready(f"{self.url}/readyz", self.process)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(url, process, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args[0]} ended with {process.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=1) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{url} did not get ready")
