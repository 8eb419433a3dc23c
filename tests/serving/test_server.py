"""The example's server: answers, sessions, refusals, the page, and how it stops."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_spiking_nengo as ksn
from tests.serving.fixtures import *  # noqa: F403
from tests.serving.running import ENV, ROOT, command, running
from tests.serving.test_streaming import changed

aiohttp = pytest.importorskip("aiohttp", reason="nox -s serve installs it")
from tests.serving.load import (  # noqa: E402
    JSON,
    MALFORMED,
    Load,
    half_open,
    post,
    refuse,
    run,
)

pytestmark = pytest.mark.serve
OPTIONS = ("--replicas", "2", "--max-idle", "3", "--max-sessions", "3")
OPTIONS += ("--max-head", "2", "--max-read", "2", "--host-name", "spikes.example.org")
STEPS = 500  # of a whole session
SCREENSHOT = Path("runs") / "serving.png"


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "server.txt"
    with running(folder, log, *OPTIONS, "--max-session-steps", str(STEPS)) as server:
        yield server


def client(server, talk):
    """Runs the coroutine `talk(session, url)`."""

    async def main():
        async with aiohttp.ClientSession() as session:
            return await asyncio.wait_for(talk(session, server.url), 60)

    return asyncio.run(main())


async def send(socket, image, steps):
    await socket.send_json({"image": image.tolist(), "steps": steps})
    return await socket.receive_json()


async def closing(socket) -> tuple[dict, int]:
    """The last message, and the code with which the server closed."""
    last = {}
    async for message in socket:
        last = json.loads(message.data)
    return last, socket.close_code


# --- images -----------------------------------------------------------------------


def test_answers_are_the_local_ones_to_the_last_bit(server, images, expected):
    async def talk(session, url):
        for n in (1, 7, 64):
            body = json.dumps({"images": images[:n].tolist()}).encode()
            status, answer = await post(session, url, body)
            assert status == 200
            np.testing.assert_array_equal(np.float32(answer["evidence"]), expected[:n])
            assert answer["classes"] == np.argmax(expected[:n], axis=1).tolist()

    client(server, talk)


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused_with_a_reason(server, name):
    async def talk(session, url):
        request = session.post(f"{url}/predict", data=MALFORMED[name], headers=JSON)
        async with request as response:
            assert 400 <= response.status < 500
            assert (await response.json())["error"]

    client(server, talk)


def test_a_thousand_malformed_requests_leave_it_alive(server, images, expected):
    async def talk(session, url):
        load = Load()
        names = list(MALFORMED) * 50
        for i in range(0, len(names), 20):
            await asyncio.gather(
                *(refuse(session, url, load, name) for name in names[i : i + 20])
            )
        assert (load.refused, load.accepted, load.failed) == (1000, [], [])
        return await run(url, images, expected, lambda load: load.sent < 50)

    load = client(server, talk)
    assert not load.wrong
    assert not load.failed


# --- sessions ---------------------------------------------------------------------


def test_sessions_beside_each_other_do_not_see_each_other(server, local, images):
    """More sessions than replicas, so that some share one."""

    async def talk(session, url):
        sockets = [await session.ws_connect(f"{url}/session") for _ in range(3)]
        states = [local.begin() for _ in sockets]
        rounds = np.random.RandomState(0).randint(len(images), size=(6, 3))
        for n, chosen in enumerate(rounds):
            answers = await asyncio.gather(
                *(send(s, images[i], 15) for s, i in zip(sockets, chosen, strict=True))
            )
            for k, i in enumerate(chosen):
                evidence, spikes, states[k] = local.advance(images[i], 15, states[k])
                assert answers[k]["first"] == 15 * n
                found = np.float32(answers[k]["evidence"])
                np.testing.assert_array_equal(found, evidence)
                fired = [np.flatnonzero(row).tolist() for row in spikes]
                assert answers[k]["spikes"] == fired
                assert any(fired)
        for socket in sockets:
            await socket.close()

    client(server, talk)


def test_a_bad_message_leaves_the_state_as_it_was(server, local, images):
    async def talk(session, url):
        async with session.ws_connect(f"{url}/session") as socket:
            await send(socket, images[0], 20)
            for bad in ({"image": 1, "steps": 1}, {"image": [[2.0] * 8] * 8}, []):
                await socket.send_json(bad)
                assert (await socket.receive_json())["status"] == 422
            answer = await send(socket, images[0], 20)
            state = local.begin()
            for _ in range(2):
                evidence, _, state = local.advance(images[0], 20, state)
            np.testing.assert_array_equal(np.float32(answer["evidence"]), evidence)

    client(server, talk)


def test_a_session_expires(server, images):
    async def talk(session, url):
        async with session.ws_connect(f"{url}/session") as socket:
            await send(socket, images[0], 1)
            last, code = await closing(socket)
            assert "No message for 3 s" in last["error"]
            assert code == last["closing"] == 4408

    client(server, talk)


def test_a_session_has_a_number_of_steps(server, images):
    async def talk(session, url):
        async with session.ws_connect(f"{url}/session") as socket:
            for _ in range(STEPS // 100):
                await send(socket, images[0], 100)
            last, code = await closing(socket)
            assert (last["closing"], code) == (4429, 4429)

    client(server, talk)


def test_a_session_sends_no_more_than_it_may(server):
    async def talk(session, url):
        async with session.ws_connect(f"{url}/session") as socket:
            await socket.send_str("x" * 1_000_001)
            last, code = await closing(socket)
            assert (last["closing"], code) == (1009, 1009)

    client(server, talk)


def test_sessions_beyond_the_limit_are_told_so(server, images):
    """Two replicas with three each: of seven one is refused, at least."""

    async def talk(session, url):
        sockets = [await session.ws_connect(f"{url}/session") for _ in range(7)]
        firsts = [await send(socket, images[0], 1) for socket in sockets]
        full = [first["closing"] for first in firsts if "error" in first]
        assert 1 <= len(full) <= 4
        assert {*full} == {1013}
        for socket in sockets:
            await socket.close()
        await asyncio.sleep(0.5)
        async with session.ws_connect(f"{url}/session") as socket:
            assert "evidence" in await send(socket, images[0], 1)

    client(server, talk)


@pytest.mark.parametrize("origin", ["http://example.org", "https://{}", "null"])
def test_another_site_cannot_open_a_session(server, origin):
    async def talk(session, url):
        headers = {"Origin": origin.format(server.host)}
        async with session.ws_connect(f"{url}/session", headers=headers) as socket:
            last, code = await closing(socket)
            assert (last["closing"], code) == (4403, 4403)

    client(server, talk)


# --- who may ask, and for how long --------------------------------------------------

ASKED = {
    "its own page": (200, {"Origin": "http://{}"}),
    "another name of it": (200, {"Host": "spikes.example.org"}),
    "another site's name": (400, {"Host": "example.org"}),
    "no name": (400, {"Host": ""}),
    "another site": (403, {"Origin": "http://example.org"}),
    "another scheme": (403, {"Origin": "https://{}"}),
    "another port": (403, {"Origin": "http://127.0.0.1:1"}),
    "nobody": (403, {"Origin": "null"}),
    "a form": (415, {"Content-Type": "text/plain"}),
    "a charset": (200, {"Content-Type": "application/json; charset=utf-8"}),
}


@pytest.mark.parametrize("name", ASKED)
def test_who_may_ask(server, images, name):
    status, headers = ASKED[name]
    headers = {key: value.format(server.host) for key, value in headers.items()}
    body = json.dumps({"images": images[:1].tolist()}).encode()

    async def talk(session, url):
        request = session.post(f"{url}/predict", data=body, headers=JSON | headers)
        async with request as response:
            assert response.status == status, await response.text()
        async with session.get(f"{url}/model", headers=headers) as response:
            assert response.status == (200 if status == 415 else status)

    client(server, talk)


def test_what_does_not_come_is_closed_and_holds_nobody_up(server, images, expected):
    """300 connections; there are 134 places."""

    async def talk(session, url):
        async with half_open("127.0.0.1", server.port, 300) as answers:
            load = await run(url, images, expected, lambda load: load.sent < 100)
            assert (load.wrong, load.failed, load.accepted) == ([], [], [])
            await asyncio.sleep(4)
        kinds = {answer.partition(b"\r\n")[0] for answer in answers}
        assert kinds == {b"", b"HTTP/1.1 408 Request Timeout"}
        assert len(answers) >= 300

    client(server, talk)


def test_a_session_whose_replica_died_is_closed_and_another_begins(server, images):
    async def talk(session, url):
        async with session.ws_connect(f"{url}/session") as socket:
            await send(socket, images[0], 1)
            for pid in await replicas(session, url):
                os.kill(pid, signal.SIGKILL)
            _, code = await closing(socket)
            assert code not in (None, 1000, 1005)
        for _ in range(100):
            try:
                async with session.ws_connect(f"{url}/session") as socket:
                    return await send(socket, images[0], 1)
            except (aiohttp.ClientError, TypeError):
                await asyncio.sleep(0.3)

    assert client(server, talk)["first"] == 0


async def replicas(session, url, count=2) -> dict[int, str]:
    """Names of the replicas, by the number of their process."""
    found = {}
    for _ in range(500):
        async with session.get(f"{url}/healthz") as response:
            if response.status == 200:
                answer = await response.json()
                found[answer["pid"]] = answer["replica"]
        if len(found) == count:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{count} replicas were expected; found {found}")


# --- about ------------------------------------------------------------------------


def test_it_is_healthy_and_counts(server, images):
    async def talk(session, url):
        async with session.get(f"{url}/healthz") as response:
            assert (await response.json())["status"] == "ok"
        body = json.dumps({"images": images[:5].tolist()}).encode()
        await post(session, url, body)
        await post(session, url, b"")

    client(server, talk)
    wanted = ["ksn_images", "ksn_refused", "ksn_sessions", "serve_num_http_requests"]
    end = time.monotonic() + 40  # Ray gathers them every few seconds
    while True:
        text = server.metrics()
        missing = [name for name in wanted if not re.search(rf"^\w*{name}", text, re.M)]
        if not missing:
            return
        assert time.monotonic() < end, f"{missing} not in {text[:3000]}"
        time.sleep(1)


def test_it_listens_on_loopback_only(server):
    """Ray's own ports, too, but for one of each replica, which Ray opens everywhere."""
    addresses = listening(server.processes())
    assert server.port in {port for _, port in addresses}
    assert server.metrics_port in {port for _, port in addresses}
    others = {(host, port) for host, port in addresses if host not in LOOPBACK}
    assert len(others) <= 2


def test_others_on_the_machine_cannot_enter_its_folder(server):
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in server.processes()]
    folders = {*re.findall(rb"/[^\0=:]*?/ksn-ray-\w+", b"\0".join(lines))}
    (folder,) = map(os.fsdecode, folders)
    assert Path(folder).stat().st_mode & 0o077 == 0


LOOPBACK = {"0100007F", "0" * 24 + "01000000", "0" * 16 + "FFFF00000100007F"}


def listening(processes) -> set[tuple[str, int]]:
    """Addresses, as the kernel writes them, and ports on which processes listen."""
    links = (link for pid in processes for link in Path(f"/proc/{pid}/fd").glob("*"))
    own = {os.readlink(link) for link in links if link.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, state, inode = (line.split()[k] for k in (1, 3, 9))
            if state == "0A" and f"socket:[{inode}]" in own:
                host, port = address.split(":")
                found.add((host, int(port, 16)))
    return found


def test_the_page_shows_spikes_and_evidence(server, local):
    """Seen in Chromium; look at the screenshot, runs/serving.png."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], headless=True
        )
        page = browser.new_page(viewport={"width": 1140, "height": 860})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: m.type == "error" and errors.append(m.text))
        page.goto(server.url)
        until(page, "document.body.dataset.time > 120")
        assert answer_of(page) == answer_to(local, 3)
        page.get_by_label("Image of 7").click()
        until(page, "document.body.dataset.time > 260")
        assert answer_of(page) == answer_to(local, 7)
        for canvas in ("raster", "evidence"):
            assert ink(page, canvas) > 500
        page.get_by_role("button", name="Clear").click()
        before = ink(page, "drawing")
        box = page.locator("#drawing").bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"]
        page.mouse.move(x, y + 10)
        page.mouse.down()
        page.mouse.move(x, y + box["height"] - 10, steps=12)
        page.mouse.up()
        assert ink(page, "drawing") > before
        until(page, "document.body.dataset.time > 380")
        SCREENSHOT.parent.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOT, full_page=True)
        until(page, "document.getElementById('status').textContent != ''")
        assert "at most 500 steps" in page.locator("#status").text_content()
        page.get_by_role("button", name="New session").click()
        until(page, "document.body.dataset.time < 300")
        browser.close()
    assert not errors


def until(page, condition: str) -> None:
    """Waits for a condition; Playwright's own way is what the page's policy forbids."""
    end = time.monotonic() + 30
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(30)


def answer_of(page) -> str:
    return page.locator("#answer").text_content()


def answer_to(local, example: int) -> str:
    image = np.float32(local.notes["examples"][example])
    return local.notes["classes"][int(np.argmax(local.predict(image[None])))]


def ink(page, canvas: str) -> int:
    """Number of pixels of a canvas that differ from the one in its corner."""
    return page.evaluate(
        """(id) => {
            const canvas = document.getElementById(id);
            const box = [0, 0, canvas.width, canvas.height];
            const all = canvas.getContext("2d").getImageData(...box).data;
            const data = new Uint32Array(all.buffer);
            return data.filter((pixel) => pixel !== data[0]).length;
        }""",
        canvas,
    )


# --- beginning and end ------------------------------------------------------------


def test_it_stops_after_the_requests_under_way(folder, tmp_path, images, expected):
    with running(folder, tmp_path / "log.txt") as server:
        body = json.dumps({"images": np.repeat(images[:1], 64, 0).tolist()}).encode()

        async def talk(session, url):
            under_way = [
                asyncio.create_task(post(session, url, body)) for _ in range(8)
            ]
            await asyncio.sleep(0.1)
            server.process.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*under_way)
            assert [status for status, _ in answers] == [200] * 8
            for _, answer in answers:
                np.testing.assert_array_equal(
                    np.float32(answer["evidence"]), np.repeat(expected[:1], 64, 0)
                )

        begun = server.processes()
        client(server, talk)
        assert server.stop() == 0
        left = {pid for pid in begun if Path(f"/proc/{pid}/exe").exists()}
        assert not left


FAULTS = ["truncated", "no folder", "another model", "notes", "reads a file"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_is_not_whole_is_not_served(folder, tmp_path, fault):
    copy = tmp_path / "copy"
    if fault != "no folder":
        shutil.copytree(folder, copy)
    if fault == "truncated":
        graph = copy / "stream" / "saved_model.pb"
        graph.write_bytes(graph.read_bytes()[:-100])
    if fault == "reads a file":
        changed(
            copy / "stream", lambda g: g.graph_def.node.add(name="a", op="ReadFile")
        )
    if fault == "notes":
        (copy / "model.json").write_text('{"classes": []}')
    if fault == "another model":
        layer = ksn.layers.Synapse(0.01, return_sequences=True)
        model = keras.Sequential([keras.Input((None, 2)), layer])
        shutil.rmtree(copy / "stream")
        ksn.export_streaming(model, copy / "stream")
    done = subprocess.run(
        command(copy), cwd=ROOT, env=ENV, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "Not served" in done.stderr
    assert str(copy) in done.stderr
    assert "Traceback" not in done.stderr


CLEAN = """
import sys
sys.modules["keras"] = sys.modules["nengo"] = None  # nobody can import them now
import numpy as np
from examples.serving.classifier import Classifier
evidence = Classifier(sys.argv[1]).predict(np.load(sys.argv[2]))
assert "keras_spiking_nengo" not in sys.modules
np.save(sys.argv[3], evidence)
"""


def test_a_replica_needs_neither_keras_nor_nengo(folder, tmp_path, images, expected):
    np.save(tmp_path / "x.npy", images)
    files = [str(folder), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    subprocess.run([sys.executable, "-c", CLEAN, *files], check=True, cwd=ROOT, env=ENV)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
