"""Checks of a request before it is answered: hosts, token, rate, concurrency, size, time; and headers of every answer.

Also the limits of a connection before there is a request.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import math
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from mlpipe.errors import problem

# Paths that reveal nothing about the model, and need no token.
OPEN = ("/", "/health")
# The minimum rate in bytes per second at which a client must take an answer, averaged over the timeout.
LEAST_RATE = 4096
# Asks the system how much sent data is not acknowledged yet; only some systems support it.
try:
    import fcntl
    import termios
except ImportError:
    fcntl = termios = None  # type: ignore[assignment]
# The number of addresses whose rate is remembered.
_ADDRESSES = 10_000
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def connections(timeout: float, most: int) -> type[H11Protocol]:
    """Limit the connections of a server: they end if no request begins, or no answer is taken, in time.

    Each connection takes a file descriptor of the process, so that idle ones would lock out all others.

    Args:
        timeout: Seconds until the headers of the next request must arrive, and in which the client must take
            `LEAST_RATE` times as many bytes of an answer, or all that is left of it.
        most: The maximum number of connections; further ones are closed at once.
    """

    class Connection(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None
        _full: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                transport.abort()
            else:
                self._waiting = self.loop.call_later(timeout, self._end)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_waiting()
            elif self._waiting is None:
                self._waiting = self.loop.call_later(timeout, self._end)

        def pause_writing(self) -> None:
            super().pause_writing()
            # A client that does not take its answer would occupy memory and one of the concurrent requests.
            self._full = self.loop.call_later(timeout, self._look, unsent_bytes(self.transport))

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._full is not None:
                self._full.cancel()
                self._full = None

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            if self._full is not None:
                self._full.cancel()
            super().connection_lost(exc)

        def _look(self, before: int) -> None:
            """End the connection if too little was taken since the last check; slow clients that make progress stay."""
            now = unsent_bytes(self.transport)
            if before - now < LEAST_RATE * timeout:
                self.transport.abort()
            else:
                self._full = self.loop.call_later(timeout, self._look, now)

        def _stop_waiting(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def _end(self) -> None:
            self._waiting = None
            # A request that arrived together with the one before is answered.
            if self.cycle is None or self.cycle.response_complete:
                self.transport.abort()

    return Connection


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Return the bytes that the client has not taken: those in this process, and in the system if it tells."""
    pending = transport.get_write_buffer_size()
    own: socket.socket | None = transport.get_extra_info("socket")
    if own is None or fcntl is None:
        return pending
    try:
        return pending + int.from_bytes(fcntl.ioctl(own.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return pending


@dataclass(frozen=True)
class Limits:
    """Limits of one request, of one client, and of all together.

    Attributes:
        most_bytes: The maximum size of a request in bytes.
        rate: Requests per second of one address, and the burst size; None: unlimited.
        concurrency: The maximum number of requests read or answered at the same time.
        timeout: The timeout for receiving a request, in seconds.
    """

    most_bytes: int
    rate: float | None
    concurrency: int
    timeout: float


class Refusal(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        sentence: The reason.
        headers: Further headers of the answer.
    """

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.sentence, self.headers = status, sentence, headers or {}
        super().__init__(sentence)


class Gate:
    """Pass complete requests on to an application, or refuse them with a sentence.

    The name in `Host` must be an address, `localhost` or a known name, so that a page of another name cannot be made to
    point here (DNS rebinding); pages of another origin cannot send anything either.

    Args:
        app: The application; it receives requests whose body has arrived.
        limits: The limits.
        hosts: Host names, beside addresses and `localhost`, for which requests are accepted.
        token: The required value of `Authorization: Bearer TOKEN`, except for the paths of `OPEN`; None: no token.
    """

    def __init__(self, app: ASGIApp, limits: Limits, hosts: Collection[str], token: str | None) -> None:
        self._app, self._limits, self._token = app, limits, token
        self._hosts = {"localhost", *(name.lower() for name in hosts)}
        self._rate = Rate(limits.rate) if limits.rate is not None else None
        self._busy = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        assert scope["type"] == "http", scope["type"]
        has_begun = False

        async def answer(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                header_names = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in own if pair[0] not in header_names)]
            await send(message)

        self._busy += 1
        try:
            self._check(scope)
            if scope["method"] == "POST":
                receive = _replay_body(await self._body(scope, receive), receive)
            if scope["method"] == "HEAD":
                # The answer is that of GET; the server leaves its body out.
                scope = {**scope, "method": "GET"}
            await self._app(scope, receive, answer)
        except Refusal as refusal:
            assert not has_begun
            await _refuse(answer, refusal)
        finally:
            self._busy -= 1

    def _check(self, scope: Scope) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not self._is_own(host := headers.get("host", "")):
            fix = "add its name to mode.hosts"
            raise Refusal(403, problem("Host", "is another host's", got=host, fix=fix))
        origin = headers.get("origin")
        if origin is not None and _origin_host(origin) != host.lower():
            raise Refusal(403, problem("Origin", "is another site's", got=origin, fix="open this server's own page"))
        is_open = scope["path"] in OPEN
        if self._rate is not None and scope["path"] != "/health":
            client = scope.get("client")
            if wait := self._rate.wait(client[0] if client else "", time.monotonic()):
                reason = f"more than {self._limits.rate:g} requests a second"
                raise Refusal(429, problem("rate", reason, fix="wait"), {"retry-after": str(math.ceil(wait))})
        if self._token is not None and not is_open:
            credentials = headers.get("authorization", "").encode()
            if not hmac.compare_digest(credentials, f"Bearer {self._token}".encode()):
                fix = "send the header 'Authorization: Bearer TOKEN'"
                raise Refusal(401, problem("token", "is missing or wrong", fix=fix), {"www-authenticate": "Bearer"})
        if self._busy > self._limits.concurrency and not is_open:
            reason = f"{self._limits.concurrency} are being answered already"
            raise Refusal(503, problem("concurrency", reason, fix="try again"), {"retry-after": "1"})
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Refusal(415, problem("Content-Encoding", "is not read", fix="send images as they are"))

    def _is_own(self, host: str) -> bool:
        name = host_name(host)
        return name is not None and (name in self._hosts or is_address(name))

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        most, parts, size = self._limits.most_bytes, list[bytes](), 0
        too_long = Refusal(413, problem("body", "is too large", fix=f"send at most {most:,} bytes"))
        lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
        if any(not value.isdigit() or len(value) > 20 or int(value) > most for value in lengths):
            raise too_long
        try:
            async with asyncio.timeout(self._limits.timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, problem("body", "did not arrive whole"))
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise too_long
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            reason = f"did not arrive in {self._limits.timeout:g} seconds"
            raise Refusal(408, problem("body", reason)) from None


class Rate:
    """Rate limit of each address: a token bucket that fills by `rate` per second, up to `rate`.

    Args:
        rate: Requests per second, above 0.
    """

    def __init__(self, rate: float) -> None:
        self._rate, self._most = rate, max(1.0, rate)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Take one request of an address.

        Args:
            address: The address; for IPv6, its /64 network counts, because one client has all of its addresses.
            now: The time in seconds.

        Returns:
            0 if the request is allowed, else the seconds until it would be.
        """
        key = _network(address)
        left, then = self._buckets.pop(key, (self._most, now))
        left = min(self._most, left + (now - then) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[key] = (left if wait else left - 1, now)
        if len(self._buckets) > _ADDRESSES:
            self._buckets.popitem(last=False)
        return wait


def host_name(host: str) -> str | None:
    """Return the name or address of a `Host` header, in lower case without its port; None if invalid."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018
    except ValueError:
        return None
    is_plain = not (parts.path or parts.query or parts.fragment or parts.username or parts.password)
    return parts.hostname if is_plain and "@" not in host else None


def is_address(name: str) -> bool:
    """Return whether a name is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _origin_host(origin: str) -> str:
    """Return the host and port of an `Origin` header, in lower case; empty if there is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a receive function that gives a body that has arrived, and then what the connection gives."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(send: Send, refusal: Refusal) -> None:
    body = json.dumps({"problems": [refusal.sentence]}).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        # The rest of what the client sends is not read.
        "connection": "close",
        **refusal.headers,
    }
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
