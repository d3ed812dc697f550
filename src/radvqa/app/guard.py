"""What stands between the network and the pages: host, origin, size of what is sent, and the headers of what is answered.

In: an ASGI app. Out: the same app, refusing what no page of ours would send.

    app.add_middleware(Guard, hosts={"127.0.0.1", "localhost"}, https=False)
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

SAFE = ("GET", "HEAD", "OPTIONS")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script or style, nothing from elsewhere, no frame of ours on another's page."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), usb=(), payment=()",
    "cache-control": "no-store",
}
"""Set on every answer unless it has its own."""
MAX_BODY, MAX_UPLOAD = 1 << 20, 64 << 20
"""Bytes of a request: of a form, of an upload."""
UPLOADS = ("/ask",)


class Guard:
    """ASGI middleware. hosts: the names this server answers to; others are refused (DNS rebinding).

    failed: the answer to a failure of ours. Nothing goes on to the server behind, which would write the failure's
    message, and with it perhaps a question's text, into its log.
    """

    def __init__(
        self, app: Any, *, hosts: Collection[str], failed: Callable[[Request, Exception], Any], https: bool = False
    ) -> None:
        self.app, self.hosts, self.failed, self.https = app, {host.lower() for host in hosts}, failed, https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        answer = _Answer(send, self.https)
        refusal = self._refusal(scope, headers)
        if refusal:
            await _refuse(answer, *refusal)
            return
        limit = MAX_UPLOAD if scope["path"] in UPLOADS else MAX_BODY
        try:
            await self.app(scope, _Body(receive, limit), answer)
        except Exception as error:  # the last door: what comes here is our fault
            response = await self.failed(Request(scope, receive), error)
            if not answer.started:
                await response(scope, receive, answer)

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if _host_name(host) not in self.hosts:
            return 421, "this server does not go by that name"
        if scope["method"] not in SAFE:
            if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return 403, "sent from another site"
            if headers.get("origin", "null") != "null" and urlsplit(headers["origin"]).netloc != host:
                return 403, "sent from another origin"
        length = headers.get("content-length", "0")
        if not re.fullmatch(r"[0-9]{1,18}", length):
            return 400, "a length that is not a number"
        if int(length) > (MAX_UPLOAD if scope["path"] in UPLOADS else MAX_BODY):
            return 413, "too large"
        return None


class _Body:
    """`receive`, counted: a body sent in pieces has no length to look at first."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self.receive, self.left = receive, limit

    async def __call__(self) -> MutableMapping[str, Any]:
        message = await self.receive()
        self.left -= len(message.get("body", b""))
        if self.left < 0:
            raise HTTPException(413, "too large")
        return message


class _Answer:
    """`send`, with the headers of every answer."""

    def __init__(self, send: Send, https: bool) -> None:
        self.send, self.https, self.started = send, https, False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            given = {name.lower() for name, _ in message.get("headers", [])}
            more = HEADERS | ({"strict-transport-security": "max-age=31536000"} if self.https else {})
            own = [(k.encode(), v.encode()) for k, v in more.items() if k.encode() not in given]
            message["headers"] = [*message.get("headers", []), *own]
        await self.send(message)


def _host_name(host: str) -> str:
    """The name in a Host header, without its port; `[::1]:8600` is `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if host.count(":") == 1 else host.lower()


async def _refuse(send: _Answer, status: int, said: str) -> None:
    body = said.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
