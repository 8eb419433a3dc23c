"""The model on Ray Serve: batches of images, sessions step by step, and a page.

Requests of the same moment become one batch. A session is a WebSocket: its state is a
local variable of the coroutine that serves it, so it lives on one replica, ends with
the connection, and no other session can reach it.
"""

import asyncio
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # replicas share the cores

import numpy as np
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import FileResponse, JSONResponse
from ray import serve
from ray.util import metrics

from examples.serving.classifier import ROWS, Classifier
from examples.serving.description import description
from examples.serving.gate import Gate, is_foreign
from examples.serving.limits import Limits
from examples.serving.messages import Refused, images_of, step_of

__all__ = ["application"]

PAGE = Path(__file__).with_name("page.html")
# The page is one file: it may load nothing, and talk to nobody but this server.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Codes of closing: 1009, 1011 and 1013 are the protocol's, those above 4000 ours.
TOO_BIG, FAILED, FULL, FOREIGN, EXPIRED, SPENT = 1009, 1011, 1013, 4403, 4408, 4429

api = FastAPI(openapi_url=None)
api.add_middleware(Gate)


def application(
    folder: Path, replicas: int, limits: Limits, variables: dict[str, str]
) -> serve.Application:
    """The deployment of a folder that `model.write` made.

    Args:
        folder: of the model.
        replicas: number of them.
        limits: of clients.
        variables: of the environment, for replicas that do not have them by
            themselves, as on a cluster.
    """
    environment = {"runtime_env": {"env_vars": variables}} if variables else {}
    return Server.options(
        num_replicas=replicas,
        ray_actor_options={"num_cpus": 1, **environment},
        max_ongoing_requests=limits.requests + limits.sessions,
        max_queued_requests=limits.queue,
    ).bind(str(folder.resolve()), limits)


@api.exception_handler(Refused)
async def refuse(_, refused: Refused) -> JSONResponse:
    return JSONResponse({"error": str(refused)}, refused.status)


# Ray copies the class and what it calls where it is decorated: these come before.


async def _end(socket: WebSocket, code: int, text: str) -> None:
    """Says why, then closes; the client may be gone already."""
    try:
        await socket.send_json({"error": text, "closing": code})
        await socket.close(code, text[:120])
    except RuntimeError:
        return


def _steps(first: int, evidence: np.ndarray, spikes: np.ndarray) -> str:
    fired = [np.flatnonzero(row).tolist() for row in spikes]
    return json.dumps(
        {"first": first, "evidence": evidence.tolist(), "spikes": fired},
        separators=(",", ":"),
    )


@serve.deployment(
    ray_actor_options={"num_cpus": 1},
    graceful_shutdown_wait_loop_s=0.5,
    graceful_shutdown_timeout_s=10,
    health_check_period_s=5,
)
@serve.ingress(api)
class Server:
    """One replica."""

    def __init__(self, folder: str, limits: Limits):
        self.model = Classifier(folder)
        self.limits = limits
        self.sessions = 0
        self.name = serve.get_replica_context().replica_id.unique_id
        self.images = metrics.Counter("ksn_images", "Images that were classified.")
        self.batches = metrics.Counter("ksn_batches", "Batches they made.")
        self.steps = metrics.Counter("ksn_session_steps", "Steps of all sessions.")
        self.refused = metrics.Counter(
            "ksn_refused", "Requests and messages refused.", tag_keys=("status",)
        )
        self.open = metrics.Gauge("ksn_sessions", "Sessions that are open.")
        self.model.predict(np.zeros((1, *self.model.shape)))  # traced before traffic

    def check_health(self) -> None:
        """Called by Ray, which replaces a replica where this raises."""
        self.model.advance(np.zeros(self.model.shape), 1, self.model.begin())

    # --- images ---------------------------------------------------------------------

    @api.post("/predict")
    async def answer(self, request: Request) -> dict:
        try:
            kind = request.headers.get("content-type", "")
            if kind.partition(";")[0].strip().lower() != "application/json":
                raise Refused(415, f"The body is application/json; received {kind!r}.")
            body = await request.body()
            images = images_of(body, self.model.shape, self.limits.images)
        except Refused as error:
            self.refused.inc(tags={"status": str(error.status)})
            raise
        evidence = await self.classify(images)
        classes = np.argmax(evidence, axis=1)
        return {"classes": classes.tolist(), "evidence": evidence.tolist()}

    @serve.batch(max_batch_size=ROWS, batch_wait_timeout_s=0.002)
    async def classify(self, requests: list[np.ndarray]) -> list[np.ndarray]:
        images = np.concatenate(requests)
        evidence = await asyncio.to_thread(self.model.predict, images)
        self.batches.inc()
        self.images.inc(len(images))
        ends = np.cumsum([len(request) for request in requests])
        return np.split(evidence, ends[:-1])

    # --- sessions -------------------------------------------------------------------

    @api.websocket("/session")
    async def session(self, socket: WebSocket) -> None:
        await socket.accept()
        if is_foreign(socket.scope):
            return await _end(socket, FOREIGN, "This is another site's page.")
        if self.sessions >= self.limits.sessions:
            text = f"{self.sessions} sessions are open here. Try again later."
            return await _end(socket, FULL, text)
        self.count(1)
        try:
            await self.converse(socket)
        except Exception:
            text = "The session failed; its state is lost. Begin a new one."
            await _end(socket, FAILED, text)
            raise
        finally:
            self.count(-1)

    async def converse(self, socket: WebSocket) -> None:
        """Steps the session's state along, message by message, until it ends."""
        limits, state, done = self.limits, self.model.begin(), 0
        while done < limits.session_steps:
            try:
                message = await asyncio.wait_for(socket.receive(), limits.idle)
            except TimeoutError:
                text = f"No message for {limits.idle:g} s: the session has ended."
                return await _end(socket, EXPIRED, text)
            if message["type"] == "websocket.disconnect":
                return None
            body = message.get("bytes") or (message.get("text") or "").encode()
            if len(body) > limits.body:
                text = f"A message has at most {limits.body} bytes, not {len(body)}."
                return await _end(socket, TOO_BIG, text)
            try:
                most = min(limits.message_steps, limits.session_steps - done)
                image, steps = step_of(body, self.model.shape, most)
            except Refused as error:  # the state stays as it was
                self.refused.inc(tags={"status": str(error.status)})
                await socket.send_json({"error": str(error), "status": error.status})
                continue
            evidence, spikes, state = await asyncio.to_thread(
                self.model.advance, image, steps, state
            )
            await socket.send_text(_steps(done, evidence, spikes))
            done += steps
            self.steps.inc(steps)
        return await _end(socket, SPENT, f"A session has at most {done} steps.")

    def count(self, change: int) -> None:
        self.sessions += change
        self.open.set(self.sessions)

    # --- about ----------------------------------------------------------------------

    @api.get("/")
    async def page(self) -> FileResponse:
        return FileResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    @api.get("/model")
    async def about(self) -> dict:
        shape, n_neurons = list(self.model.shape), self.model.n_neurons
        return {**self.model.notes, "shape": shape, "n_neurons": n_neurons}

    @api.get("/openapi.json")
    async def describe(self) -> dict:
        return description(self.model.shape, self.model.n_classes, self.limits)

    @api.get("/healthz")
    async def health(self) -> dict:
        who = {"replica": self.name, "pid": os.getpid()}
        return {"status": "ok", **who, "sessions": self.sessions}
