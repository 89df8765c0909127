"""Who is let through: by host, origin, token, rate, size and time; what every answer says to a browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

import uvicorn

from mlpipe.modes.serve import gate
from mlpipe.modes.serve.gate import Gate, Limits, Rate, Refusal
from tests.modes.serve.clients import ask

TOKEN = "a-token-of-many-letters"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that gives back the body."""
    body = (await receive())["body"] if scope["method"] == "POST" else b""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"SAMEORIGIN")]})
    await send({"type": "http.response.body", "body": body})


def made(*, token: str | None = None, hosts: tuple[str, ...] = (), app: Any = echo, **limits: Any) -> Gate:
    plain = {"most_bytes": 1000, "rate": None, "concurrency": 8, "timeout": 5.0}
    return Gate(app, Limits(**{**plain, **limits}), hosts, token)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "192.168.1.7", "Model.example:443"]
)
def test_a_host_that_is_ours(host: str) -> None:
    assert ask(made(hosts=("model.EXAMPLE",)), "GET", "/x", host=host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example", "a@localhost", "localhost/x", "[::1", "::1",
     "localhost:99999", "127.0.0.1#.evil.example", "127.1.evil"],
)  # fmt: skip
def test_a_host_that_somebody_pointed_here(host: str) -> None:
    answer = ask(made(), "GET", "/", host=host)
    assert answer.status_code == 403 and "Host: is another host's" in answer.json()["problems"][0]


def test_pages_of_other_origins_send_nothing() -> None:
    own = {"origin": "http://localhost:8000"}
    assert ask(made(), "POST", "/x", host="localhost:8000", headers=own).status_code == 200
    for origin in ("http://evil.example", "http://localhost:9000", "null", "", "http://["):
        answer = ask(made(), "POST", "/x", host="localhost:8000", headers={"origin": origin})
        assert answer.status_code == 403, origin
        assert "access-control-allow-origin" not in answer.headers


def test_the_token() -> None:
    closed = made(token=TOKEN)
    for headers in ({}, {"authorization": TOKEN}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": "Bearer "}):
        answer = ask(closed, "POST", "/predict", headers=headers)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert ask(closed, "GET", "/card").status_code == 401 == ask(closed, "GET", "/openapi.json").status_code
    assert ask(closed, "GET", "/health/").status_code == 401 == ask(closed, "GET", "/HEALTH").status_code
    assert ask(closed, "GET", "/").status_code == 200 == ask(closed, "GET", "/health").status_code
    assert ask(closed, "POST", "/predict", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_bytes_that_are_too_many_are_not_read() -> None:
    assert ask(made(), "POST", "/x", content=b"1" * 1000).content == b"1" * 1000
    assert ask(made(), "POST", "/x", content=b"1" * 1001).status_code == 413
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 100
            yield b"1" * 100

    assert ask(made(), "POST", "/x", content=endless()).status_code == 413
    assert sent <= 1200
    for length in ("-1", "1e3", "9" * 30):
        assert ask(made(), "POST", "/x", headers={"content-length": length}).status_code == 413


def test_a_body_that_does_not_arrive() -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"1"
        await asyncio.sleep(60)

    answer = ask(made(timeout=0.05), "POST", "/x", content=slow())
    assert answer.status_code == 408 and answer.headers["connection"] == "close"


def test_what_is_packed_is_not_unpacked() -> None:
    assert ask(made(), "POST", "/x", headers={"content-encoding": "gzip"}).status_code == 415


def test_the_rate_of_an_address() -> None:
    rated = made(rate=2.0)
    assert [ask(rated, "GET", "/x").status_code for _ in range(3)] == [200, 200, 429]
    assert int(ask(rated, "GET", "/x").headers["retry-after"]) == 1
    assert ask(rated, "GET", "/x", client="127.0.0.2").status_code == 200
    # Whoever looks whether the server lives does so every second.
    assert ask(rated, "GET", "/health").status_code == 200


def test_a_bucket_fills_by_the_rate() -> None:
    rate = Rate(0.5)
    assert rate.wait("a", 0.0) == 0.0
    assert rate.wait("a", 0.5) == pytest.approx(1.5)
    assert rate.wait("a", 1.9) == pytest.approx(0.1)
    assert rate.wait("a", 2.1) == 0.0
    # Never more than it holds, however long nothing came.
    assert [rate.wait("a", 1000.0), rate.wait("a", 1000.0)] == [0.0, pytest.approx(2.0)]
    # A network of IPv6 is one client; an address of IPv4 in IPv6 is itself.
    rate = Rate(1.0)
    assert rate.wait("2001:db8::1", 0.0) == 0.0 and rate.wait("2001:db8::ffff", 0.0) > 0
    assert rate.wait("::ffff:10.0.0.1", 0.0) == 0.0 == rate.wait("::ffff:10.0.0.2", 0.0)


def test_addresses_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_ADDRESSES", 10)
    rate = Rate(1.0)
    assert all(rate.wait(f"10.0.0.{number}", 0.0) == 0.0 for number in range(100))
    assert len(rate._buckets) == 10


def test_more_at_a_time_than_are_answered() -> None:
    async def asked() -> tuple[list[int], int]:
        go = asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await go.wait()
            await echo(scope, receive, send)

        closed, codes = made(app=slow, concurrency=2), list[int]()

        async def one(path: str) -> None:
            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b""}

            async def send(message: Any) -> None:
                if message["type"] == "http.response.start":
                    codes.append(message["status"])

            headers = [(b"host", b"localhost")]
            await closed({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send)

        running = [asyncio.create_task(one("/x")) for _ in range(3)] + [asyncio.create_task(one("/health"))]
        await asyncio.sleep(0.01)
        refused = list(codes)
        go.set()
        await asyncio.gather(*running)
        await one("/x")
        return refused, codes.count(200)

    assert asyncio.run(asked()) == ([503], 4)


def test_headers_of_every_answer() -> None:
    for answer in (ask(made(), "GET", "/x"), ask(made(), "GET", "/x", host="evil.example")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert not [name for name in answer.headers if name.startswith("access-control")]
    # What an answer says itself stays.
    assert ask(made(), "GET", "/x").headers.get_list("x-frame-options") == ["SAMEORIGIN"]


def test_an_application_may_refuse_too() -> None:
    async def refusing(scope: Any, receive: Any, send: Any) -> None:
        raise Refusal(418, "no", {"x-why": "tea"})

    answer = ask(made(app=refusing), "GET", "/x")
    assert (answer.status_code, answer.json(), answer.headers["x-why"]) == (418, {"problems": ["no"]}, "tea")


def test_connections_that_say_nothing_end_and_there_are_no_more_than_so_many() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.6)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

    async def held() -> list[bytes]:
        http = gate.connections(0.3, 3)
        server = uvicorn.Server(uvicorn.Config(app, http=http, ws="none", lifespan="off", port=0, log_config=None))
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        several = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        beyond = await asyncio.wait_for(_end_of(several[3][0]), 5)
        # One asks, one begins to ask, one says nothing.
        several[0][1].write(request)
        several[1][1].write(request[:20])
        answer = await asyncio.wait_for(several[0][0].readuntil(b"ok"), 5)
        slow, silent = [await asyncio.wait_for(_end_of(one), 5) for one, _ in several[1:3]]
        # A second request of one connection has its time as well.
        several[0][1].write(request)
        again = await asyncio.wait_for(several[0][0].readuntil(b"ok"), 5)
        last = await asyncio.wait_for(_end_of(several[0][0]), 10)
        server.should_exit = True
        await running
        return [beyond, answer, slow, silent, again, last]

    beyond, answer, slow, silent, again, last = asyncio.run(held())
    assert [beyond, slow, silent, last] == [b""] * 4
    assert b" 200 " in answer[:20] and b" 200 " in again[:20]


def test_who_does_not_take_an_answer_is_sent_away_and_makes_place_for_others() -> None:
    left = list[float]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        started = time.monotonic()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        left.append(time.monotonic() - started)

    async def asked() -> int:
        server = uvicorn.Server(
            uvicorn.Config(app, http=gate.connections(0.5, 3), ws="none", lifespan="off", port=0, log_config=None)
        )
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        words = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        silent = await asyncio.open_connection("127.0.0.1", port)
        silent[1].write(words)
        async with asyncio.timeout(20):
            while not left:
                await asyncio.sleep(0.05)
        reading = await asyncio.open_connection("127.0.0.1", port)
        reading[1].write(words)
        taken = len(await asyncio.wait_for(reading[0].read(), 20))
        silent[1].close()
        server.should_exit = True
        await running
        return taken

    assert asyncio.run(asked()) > 64 << 20
    assert 0.4 < left[0] < 15


async def _end_of(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


def test_who_takes_an_answer_slowly_and_goes_on_has_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen megabytes in pieces over four times the time in which a part of it must be taken."""
    size, timeout = 16 << 20, 0.5

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(size)})

    async def asked(pause: float, rate: int) -> int:
        monkeypatch.setattr(gate, "LEAST_RATE", rate)
        http = gate.connections(timeout, 3)
        server = uvicorn.Server(uvicorn.Config(app, http=http, ws="none", lifespan="off", port=0, log_config=None))
        running = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        taken = 0
        try:
            while piece := await asyncio.wait_for(reader.read(1 << 20), 20):
                taken += len(piece)
                if taken < size * 3 // 4:
                    await asyncio.sleep(pause * len(piece) / (1 << 20))
        except ConnectionResetError:
            pass
        writer.close()
        server.should_exit = True
        await running
        return taken

    # Twelve megabytes at six a second, of which four thousand bytes are asked for, and then a gigabyte.
    assert asyncio.run(asked(timeout / 3, 4096)) > size
    assert asyncio.run(asked(timeout / 3, 1 << 30)) < size
