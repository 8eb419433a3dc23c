"""What stands before the server: who may ask, and how long a request may take to come.

A request takes a place at a replica only once all of it is there. So this runs in Ray's
proxy, which finds it by `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`, and once more in
each replica, for a cluster whose proxies were started without that.
"""

import asyncio
import json
import os
from dataclasses import asdict
from functools import cache

import uvicorn.config
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from examples.serving.limits import Limits
from examples.serving.messages import Refused

__all__ = ["Gate", "Patient", "environment", "is_foreign", "middlewares"]

# Where processes of Ray read what the command line said.
SETTINGS = "KSN_SERVING"
LOOPBACK = ("127.0.0.1", "localhost")


def environment(hosts: list[str], limits: Limits) -> dict[str, str]:
    """Variables for Ray's processes.

    Args:
        hosts: names by which the server may be called.
        limits: of a request.
    """
    return {
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": f"{__name__}:middlewares",
        SETTINGS: json.dumps({"hosts": hosts, "limits": asdict(limits)}),
    }


def middlewares() -> list[Middleware]:
    """What is passed on the way in, the last one first: called by Ray in its proxy."""
    # The names of uvicorn's protocols; Ray asks for "auto" and takes no other.
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:Patient"
    hosts, limits = _settings()
    return [
        Middleware(Gate, limits=limits),
        # Or a page whose name is made to mean this address could read the answers.
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
    ]


@cache
def _settings() -> tuple[list[str], Limits]:
    settings = json.loads(os.environ.get(SETTINGS, "{}"))
    return settings.get("hosts", [*LOOPBACK]), Limits(**settings.get("limits", {}))


def is_foreign(scope: Scope) -> bool:
    """Whether a browser asks for a page of another site, of another scheme, too."""
    headers = Headers(scope=scope)
    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    home = f"{scheme}://{headers.get('host', '')}".lower()
    return headers.get("origin", home).lower() != home


class Gate:
    """Passes on requests that are whole, and of this site.

    Args:
        app: what they are passed to.
        limits: of a body: its size, and the seconds in which it comes; and of all
            bodies together that are not there yet.
    """

    def __init__(self, app: ASGIApp, limits: Limits | None = None):
        self.app = app
        self.limits = limits or _settings()[1]
        self.coming = 0  # bytes of bodies that are not there yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                if is_foreign(scope):
                    raise Refused(403, "This is asked for by another site's page.")
                receive = _again(await self._body(receive), receive)
            except Refused as error:
                # What is still to come of the request is not read.
                answer = {"error": str(error)}
                closing = {"connection": "close"}
                return await JSONResponse(answer, error.status, closing)(
                    scope, receive, send
                )
        return await self.app(scope, receive, send)

    async def _body(self, receive: Receive) -> bytes:
        body, most = bytearray(), self.limits.body
        try:
            async with asyncio.timeout(self.limits.read):
                while True:
                    message = await receive()
                    chunk = message.get("body", b"")
                    self.coming += len(chunk)
                    body += chunk
                    if len(body) > most:
                        text = f"A request has at most {most} bytes. Send less."
                        raise Refused(413, text)
                    if self.coming > self.limits.coming:
                        text = "Too many requests are on their way. Try again later."
                        raise Refused(503, text)
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError as error:
            text = f"The request did not come within {self.limits.read:g} s."
            raise Refused(408, text) from error
        finally:
            self.coming -= len(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` of a body that was read before."""
    rest = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return rest.pop() if rest else await receive()

    return receive_again


class Patient(HttpToolsProtocol):
    """uvicorn's protocol, which waits so long for the head of a request, and no longer.

    uvicorn itself waits for ever, and connections are few.
    """

    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        if self.waiting is None:  # in a connection that had a request before
            self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._wait_no_more()
        super().on_headers_complete()

    def _wait(self) -> None:
        seconds = _settings()[1].head
        self.waiting = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _wait_no_more(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None
