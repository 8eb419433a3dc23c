"""The example's server in a process of its own, and what clients say to it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT, descendants

ENV = {**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
START = 240  # seconds until it answers


class Server:
    """`python -m examples.serving`, with its address and its processes."""

    def __init__(self, folder, log: Path, *options: str):
        self.port, self.metrics_port = free_port(), free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        ports = ("--port", str(self.port), "--metrics-port", str(self.metrics_port))
        self.log = log
        self.process = subprocess.Popen(
            [*command(folder), *ports, *options],
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=ENV,
        )

    def wait(self) -> None:
        end = time.monotonic() + START
        while "page" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                raise AssertionError(f"no server: {self.log.read_text()[-3000:]}")
            time.sleep(0.2)

    def stop(self) -> int:
        """Asks it to stop, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def metrics(self) -> str:
        url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    def processes(self) -> dict[int, str]:
        """Names of all processes that it began, itself included, by their number."""
        return descendants(self.process.pid)


def command(folder) -> list[str]:
    return [sys.executable, "-m", "examples.serving", "--model", str(folder)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def running(folder, log: Path, *options: str):
    server = Server(folder, log, *options)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


def memory(pid: int) -> int:
    """Bytes of a process that are its own: shared pages count once, elsewhere."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    private = re.findall(r"Private_(?:Clean|Dirty): +(\d+) kB", text)
    return 1024 * sum(map(int, private))
