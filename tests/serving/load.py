"""A load generator that compares every answer with a local prediction.

wrk and locust count answers; a wrong one would count as well. Here each of a number of
connections sends its next request when the last was answered, some of them malformed.
"""

import asyncio
import itertools
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import numpy as np

TIMEOUT = aiohttp.ClientTimeout(total=60)
JSON = {"Content-Type": "application/json"}
DEEP = b"[" * 50_000

# Bodies of POST /predict that are no request for images of 8x8 pixels.
MALFORMED = {
    "nothing": b"",
    "no JSON": b'{"images": [[[0.0,',
    "no text": b"\xff\xfe\x00",
    "no object": b"[1, 2]",
    "no images": b"{}",
    "another field": b'{"images": [[[0.0]]], "more": 1}',
    "an empty list": b'{"images": []}',
    "a number": b'{"images": 1}',
    "words": json.dumps({"images": [[["a"] * 8] * 8]}).encode(),
    "truths": json.dumps({"images": [[[True] * 8] * 8]}).encode(),
    "none": json.dumps({"images": [[[None] * 8] * 8]}).encode(),
    "another shape": json.dumps({"images": [[[0.0] * 7] * 8]}).encode(),
    "ragged": json.dumps({"images": [[[0.0] * 8] * 7 + [[0.0]]]}).encode(),
    "not a number": json.dumps({"images": [[[float("nan")] * 8] * 8]}).encode(),
    "infinity": json.dumps({"images": [[[float("inf")] * 8] * 8]}).encode(),
    "pixels of bytes": json.dumps({"images": [[[255] * 8] * 8]}).encode(),
    "a huge integer": b'{"images": [[[' + b"9" * 400 + b"]]]}",
    "deep nesting": b'{"images": ' + DEEP + b"}",
    "many images": json.dumps({"images": [[[0.0] * 8] * 8] * 65}).encode(),
    "many bytes": b'{"images": "' + b"x" * 1_000_001 + b'"}',
}


@dataclass
class Load:
    """What came of a load."""

    right: int = 0
    wrong: list = field(default_factory=list)
    refused: int = 0  # malformed, and answered 4xx
    accepted: list = field(default_factory=list)  # malformed, and not answered 4xx
    failed: list = field(default_factory=list)  # (time it was sent, status)
    seconds: list = field(default_factory=list)
    elapsed: float = 0.0

    @property
    def sent(self) -> int:
        others = len(self.wrong) + len(self.accepted) + len(self.failed)
        return self.right + self.refused + others

    def __str__(self):
        p50, p99 = np.percentile(self.seconds, [50, 99]) * 1000
        return (
            f"{self.sent} requests in {self.elapsed:.0f} s:"
            f" {self.sent / self.elapsed:.0f} a second, p50 {p50:.1f} ms,"
            f" p99 {p99:.1f} ms; {self.right} right, {len(self.wrong)} wrong,"
            f" {self.refused} malformed and refused, {len(self.failed)} failed"
        )


async def run(url, images, expected, going, connections=16, malformed=10) -> Load:
    """Sends requests of one image each while `going(load)`; every n-th is malformed."""
    load, numbers, bad = Load(), itertools.count(1), itertools.cycle(MALFORMED)
    bodies = [json.dumps({"images": [image.tolist()]}).encode() for image in images]
    begun = time.monotonic()

    async def client(session):
        while going(load):
            number = next(numbers)
            if number % malformed == 0:
                await refuse(session, url, load, next(bad))
            else:
                await ask(session, url, load, number % len(bodies))

    async def ask(session, url, load, i):
        sent = time.monotonic()
        status, answer = await post(session, url, bodies[i])
        load.seconds.append(time.monotonic() - sent)
        if status != 200:
            load.failed.append((sent, status))
        elif answer["evidence"] == [expected[i].tolist()]:
            load.right += 1
        else:
            load.wrong.append(i)

    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        await asyncio.gather(*(client(session) for _ in range(connections)))
    load.elapsed = time.monotonic() - begun
    return load


# What a connection may stop at: nothing, within the head, and within the body.
HALVES = [
    b"",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-",
    b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 1000\r\n\r\n{"images": [[[0.0,',
]


@asynccontextmanager
async def half_open(host: str, port: int, count: int):
    """So many connections that begin and never end; those that are closed begin anew.

    Gives a list of what came back before each was closed.
    """
    answers: list[bytes] = []

    async def begin(half):
        while True:
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(half)
                answers.append(await reader.read())
            except ConnectionError:
                answers.append(b"")
            finally:
                writer.close()

    halves = itertools.islice(itertools.cycle(HALVES), count)
    tasks = [asyncio.create_task(begin(half)) for half in halves]
    await asyncio.sleep(1)
    try:
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def refuse(session, url, load: Load, name: str) -> None:
    sent = time.monotonic()
    status, _ = await post(session, url, MALFORMED[name])
    if 400 <= status < 500:
        load.refused += 1
    elif status >= 500:
        load.failed.append((sent, status))
    else:
        load.accepted.append(name)


async def post(session, url, body: bytes) -> tuple[int, dict]:
    async with session.post(f"{url}/predict", data=body, headers=JSON) as response:
        text = await response.text()
        return response.status, json.loads(text) if response.status == 200 else {}
