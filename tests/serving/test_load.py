"""The example's server under load: a replica killed in the midst of it, and a soak.

`KSN_REQUESTS` and `KSN_SOAK` (seconds) make it longer:
`KSN_REQUESTS=20000 KSN_SOAK=600 nox -s serve`.
"""

import asyncio
import os
import signal
import threading
import time

import numpy as np
import pytest

from tests.serving.fixtures import *  # noqa: F403
from tests.serving.running import memory, running

aiohttp = pytest.importorskip("aiohttp", reason="nox -s serve installs it")
from tests.serving.load import half_open, run  # noqa: E402
from tests.serving.test_server import replicas  # noqa: E402

pytestmark = pytest.mark.serve
REQUESTS = int(os.environ.get("KSN_REQUESTS", "2000"))
SOAK = float(os.environ.get("KSN_SOAK", "20"))
CONNECTIONS = 16
HALF_OPEN = 300
# From the death of a replica until the proxy knows: what is sent meanwhile may be lost.
NOTICED = 1.0


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "server.txt"
    with running(folder, log, "--replicas", "2") as server:
        yield server


def found(server) -> dict[int, str]:
    async def main():
        async with aiohttp.ClientSession() as session:
            return await replicas(session, server.url)

    return asyncio.run(main())


def test_no_answer_is_wrong_and_none_lost_but_with_the_replica_that_is_killed(
    server, images, expected
):
    before, killed = found(server), []
    victim = min(before)

    def going(load) -> bool:
        if not killed and load.sent >= REQUESTS // 2:
            os.kill(victim, signal.SIGKILL)
            killed.append(time.monotonic())
        return load.sent < REQUESTS

    load = asyncio.run(run(server.url, images, expected, going, CONNECTIONS))
    print(f"\n{load}")
    assert load.sent >= REQUESTS
    assert not load.wrong
    assert not load.accepted
    assert load.refused > REQUESTS // 20
    assert len(load.failed) <= CONNECTIONS
    for sent, status in load.failed:
        assert status >= 500
        assert sent < killed[0] + NOTICED
    assert wait_for_two(server).keys() - before.keys()


def wait_for_two(server) -> dict[int, str]:
    """The replicas, once the one that was killed has a successor."""
    end = time.monotonic() + 60
    while True:
        try:
            return found(server)
        except AssertionError:
            if time.monotonic() > end:
                raise


def test_half_open_connections_hold_nobody_up(server, images, expected):
    """Of more connections than there are places, in the midst of other requests."""

    async def main():
        async with half_open("127.0.0.1", server.port, HALF_OPEN) as answers:
            going = lambda load: load.sent < REQUESTS  # noqa: E731
            load = await run(server.url, images, expected, going, CONNECTIONS)
        return load, answers

    load, answers = asyncio.run(main())
    late = sum(answer.startswith(b"HTTP/1.1 408") for answer in answers)
    print(f"\n{load}; {len(answers)} half-open ones closed, {late} of them with 408")
    assert not load.wrong
    assert not load.accepted
    assert not load.failed
    assert np.percentile(load.seconds, 99) < 2


def test_memory_is_flat(server, images, expected):
    """Private memory of all its processes, after a fifth of the time and at its end."""
    begun = time.monotonic()
    samples: list[tuple[float, int]] = []
    ended = threading.Event()

    def sample():
        while not ended.wait(min(2.0, SOAK / 40)):
            total = sum(map(memory, server.processes()))
            samples.append((time.monotonic() - begun, total))

    thread = threading.Thread(target=sample)
    thread.start()
    going = lambda load: time.monotonic() - begun < SOAK  # noqa: E731
    try:
        load = asyncio.run(run(server.url, images, expected, going, CONNECTIONS))
    finally:
        ended.set()
        thread.join()
    first = [size for at, size in samples if 0.2 * SOAK < at < 0.3 * SOAK]
    last = [size for at, size in samples if at > 0.9 * SOAK]
    begin, end = sum(first) / len(first), sum(last) / len(last)
    print(f"\n{load}\nmemory {begin / 1e6:.0f} MB, then {end / 1e6:.0f} MB")
    assert not load.wrong
    assert not load.failed
    assert end < 1.05 * begin
